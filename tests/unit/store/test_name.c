#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/store/snapshot/name.h"

static void good_names_pass(void **state)
{
	static const char *const good[] = {
		"a",
		"web-1",
		"with space",
		".hidden",
		"...",
		"gr\xc3\xbc\xc3\x9f",
		"\xf0\x9f\x98\x80",
		"-rf",
		"a\\b",
		"\xc2\xa0",
		"100%s%n",
		"~",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_int_equal(name_check("the name", good[i]), 0);
}

static void bad_names_are_refused_in_words(void **state)
{
	static const struct {
		const char *name, *why;
	} bad[] = {
		{"", "the name is empty"},
		{".", "the name cannot be '.' or '..'"},
		{"..", "the name cannot be '.' or '..'"},
		{"/", "the name has a '/' in it"},
		{"a/b", "the name has a '/' in it"},
		{"../x", "the name has a '/' in it"},
		{"a\nb", "the name has a control character in it"},
		{"\x1b[2J", "the name has a control character in it"},
		{"a\x7f", "the name has a control character in it"},
		{"\xc2\x9b", "the name has a control character in it"},
		{"\xff", "the name is not UTF-8"},
		{"\xc3", "the name is not UTF-8"},
		{"\xc0\xaf", "the name is not UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(name_check("the name", bad[i].name), -EINVAL);
		assert_string_equal(err_text(-EINVAL), bad[i].why);
	}
}

static void length_ends_at_255_bytes(void **state)
{
	char name[301];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	assert_int_equal(name_check("the name", name), 0);
	name[255] = 'n';
	name[256] = '\0';
	assert_int_equal(name_check("the name", name), -EINVAL);
	name[256] = 'n';
	name[300] = '\0';
	assert_int_equal(name_check("the name", name), -EINVAL);
	assert_string_equal(err_text(-EINVAL),
			    "the name is longer than 255 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_names_pass),
		cmocka_unit_test(bad_names_are_refused_in_words),
		cmocka_unit_test(length_ends_at_255_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
