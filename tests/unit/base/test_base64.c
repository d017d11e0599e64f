/* Base64, and what only looks like it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/io/base64.h"

static int decode(const char *text, uint8_t **ret_bytes, size_t *ret_len)
{
	return base64_decode(text, strlen(text), ret_bytes, ret_len);
}

static void the_vectors_of_rfc_4648(void **state)
{
	static const struct {
		const char *text, *bytes;
	} vectors[] = {
		{"", ""},
		{"Zg==", "f"},
		{"Zm8=", "fo"},
		{"Zm9v", "foo"},
		{"Zm9vYg==", "foob"},
		{"Zm9vYmE=", "fooba"},
		{"Zm9vYmFy", "foobar"},
	};
	uint8_t *bytes;
	char *text;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		assert_int_equal(decode(vectors[i].text, &bytes, &len), 0);
		assert_int_equal(len, strlen(vectors[i].bytes));
		assert_memory_equal(bytes, vectors[i].bytes, len);
		free(bytes);
		text = base64_encode((const uint8_t *)vectors[i].bytes, len);
		assert_non_null(text);
		assert_string_equal(text, vectors[i].text);
		assert_int_equal(strlen(text), BASE64_LENGTH(len));
		free(text);
	}
}

static void every_letter_has_its_value(void **state)
{
	static const char text[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
				   "opqrstuvwxyz0123456789+/";
	uint8_t *bytes;
	size_t len;

	(void)state;
	assert_int_equal(decode(text, &bytes, &len), 0);
	assert_int_equal(len, 48);
	for (unsigned int i = 0; i < 64; i++) {
		unsigned int bit = 6 * i, at = bit / 8;
		unsigned int two = (unsigned int)bytes[at] << 8 |
				   (at + 1 < len ? bytes[at + 1] : 0);

		assert_int_equal(two >> (10 - bit % 8) & 63, i);
	}
	free(bytes);
}

static void what_is_none_is_refused(void **state)
{
	static const char *const texts[] = {
		"A",	"AA",	"AAA",	"AAAAA", "A===",     "====",
		"=AAA", "AA=A", "AAA*", "AA\nA", "Zg==Zg==", "Zh==",
		"Zm9=", "-_AA", "AAA ", "AA A",
	};
	uint8_t *bytes;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(decode(texts[i], &bytes, &len), -EINVAL);
	assert_int_equal(base64_decode("AA\0A", 4, &bytes, &len), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_rfc_4648),
		cmocka_unit_test(every_letter_has_its_value),
		cmocka_unit_test(what_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
