#include "fs/io/base64.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "abcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const uint8_t *bytes, size_t len)
{
	char *text = malloc(BASE64_LENGTH(len) + 1), *to = text;

	for (size_t i = 0; text && i < len; i += 3) {
		size_t have = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)bytes[i] << 16;

		if (have > 1)
			bits |= (uint32_t)bytes[i + 1] << 8;
		if (have > 2)
			bits |= bytes[i + 2];
		for (unsigned int k = 0; k < 4; k++)
			*to++ = k <= have ? letters[bits >> (18 - 6 * k) & 63]
					  : '=';
	}
	if (text)
		*to = '\0';
	return text;
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* Four letters, the last `pads` of them '=', to 3 - pads bytes. */
static int decode_group(const char *text, unsigned int pads, uint8_t *to)
{
	uint32_t bits = 0;

	for (unsigned int i = 0; i < 4; i++) {
		int value = i < 4 - pads ? value_of(text[i]) : 0;

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
	}
	if (bits & ((1u << 8 * pads) - 1))
		return -EINVAL;
	for (unsigned int i = 0; i < 3 - pads; i++)
		to[i] = (uint8_t)(bits >> (16 - 8 * i));
	return 0;
}

static unsigned int pads_of(const char *text, size_t len)
{
	if (len == 0 || text[len - 1] != '=')
		return 0;
	return text[len - 2] == '=' ? 2 : 1;
}

int base64_decode(const char *text, size_t len, uint8_t **ret_bytes,
		  size_t *ret_len)
{
	_cleanup_free_ uint8_t *bytes = malloc(len / 4 * 3 + 1);
	unsigned int pads;

	if (!bytes)
		return -ENOMEM;
	if (len % 4)
		return err_set(-EINVAL, "base64 of %zu letters", len);
	pads = pads_of(text, len);
	for (size_t i = 0; i < len; i += 4) {
		bool last = i + 4 == len;

		if (decode_group(text + i, last ? pads : 0, bytes + i / 4 * 3) <
		    0)
			return err_set(-EINVAL, "no base64 near letter %zu", i);
	}
	*ret_len = len / 4 * 3 - pads;
	*ret_bytes = steal_ptr(bytes);
	return 0;
}
