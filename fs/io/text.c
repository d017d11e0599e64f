#include "fs/io/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char units[] = "KMGT";

/* The power of 1024 that a suffix stands for, or -EINVAL. */
static int suffix_shift(const char *s)
{
	const char *unit;
	int shift = 0;

	if (*s && (unit = strchr(units, toupper((unsigned char)*s)))) {
		shift = 10 * (int)(unit - units + 1);
		s++;
		if (strcasecmp(s, "iB") == 0)
			return shift;
	}
	return *s == '\0' || strcasecmp(s, "B") == 0 ? shift : -EINVAL;
}

int text_parse_size(const char *s, uint64_t *ret_bytes)
{
	long double bytes;
	size_t len = strspn(s, "0123456789.");
	char *end;
	int shift;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	bytes = strtold(s, &end);
	if (end != s + len)
		return -EINVAL;
	shift = suffix_shift(end);
	if (shift < 0)
		return shift;
	bytes *= (long double)(1ull << shift);
	if (bytes >= 9223372036854775808.0L)
		return -ERANGE;
	*ret_bytes = (uint64_t)bytes;
	return 0;
}

int text_parse_u64(const char *s, uint64_t *ret_value)
{
	unsigned long long value;
	char *end;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	value = strtoull(s, &end, 10);
	if (errno)
		return -errno;
	if (*end)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

const char *text_size(uint64_t bytes, char buf[TEXT_SIZE_MAX])
{
	double value = (double)bytes;
	int unit = -1;

	while (value >= 1024 && units[unit + 1]) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		(void)snprintf(buf, TEXT_SIZE_MAX, "%llu B",
			       (unsigned long long)bytes);
	else
		(void)snprintf(buf, TEXT_SIZE_MAX, "%.1f %ciB", value,
			       units[unit]);
	return buf;
}

void text_to_hex(const uint8_t *bytes, size_t len, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 15];
	}
	hex[2 * len] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int text_from_hex(const char *hex, size_t len, uint8_t *ret_bytes)
{
	if (strnlen(hex, 2 * len + 1) != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < 2 * len; i++)
		if (hex_value(hex[i]) < 0)
			return -EINVAL;
	for (size_t i = 0; i < len; i++)
		ret_bytes[i] = (uint8_t)(hex_value(hex[2 * i]) << 4 |
					 hex_value(hex[2 * i + 1]));
	return 0;
}

/* The length of the sequence at `s`, or 0 where there is none. */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {
		{0x80, 0x00, 0},
		{0xe0, 0xc0, 0x80},
		{0xf0, 0xe0, 0x800},
		{0xf8, 0xf0, 0x10000},
	};

	for (size_t n = 0; n < 4; n++) {
		uint32_t cp = s[0] & (unsigned char)~forms[n].mask;

		if ((s[0] & forms[n].mask) != forms[n].lead)
			continue;
		if (n >= len)
			return 0;
		for (size_t i = 1; i <= n; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			cp = cp << 6 | (s[i] & 0x3f);
		}
		if (cp < forms[n].least || cp > 0x10ffff ||
		    (cp >= 0xd800 && cp <= 0xdfff))
			return 0;
		return n + 1;
	}
	return 0;
}

bool text_is_utf8(const char *s, size_t len)
{
	while (len) {
		size_t n = utf8_sequence((const unsigned char *)s, len);

		if (n == 0)
			return false;
		s += n;
		len -= n;
	}
	return true;
}
