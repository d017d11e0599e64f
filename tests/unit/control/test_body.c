#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "pagerd/control/http/body.h"

struct values {
	const char *name;
	const char *other;
	uint32_t id;
};

static const struct body_field fields[] = {
	{"name", BODY_STRING, true, offsetof(struct values, name)},
	{"other", BODY_STRING, false, offsetof(struct values, other)},
	{"id", BODY_ID32, false, offsetof(struct values, id)},
	{0},
};

static void values_and_defaults(void **state)
{
	static const char text[] =
		" {\"id\": 4294967294, \"name\": \"\\u00e4\"}";
	struct values v = {.id = 7};
	json_t *object;

	(void)state;
	assert_int_equal(body_read(text, strlen(text), fields, &v, &object), 0);
	assert_string_equal(v.name, "ä");
	assert_null(v.other);
	assert_int_equal(v.id, 4294967294);
	json_decref(object);
	v.id = 7;
	assert_int_equal(body_read("{\"name\":\"x\"}", 12, fields, &v, &object),
			 0);
	assert_int_equal(v.id, 7);
	json_decref(object);
}

static void wrong_bodies_are_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "the body is no JSON: "},
		{"{", "the body is no JSON: "},
		{"{\"name\":\"x\"} x", "the body is no JSON: "},
		{"{\"name\":\"x\",\"name\":\"y\"}",
		 "the body is no JSON: duplicate object key"},
		{"{\"name\":\"a\\u0000b\"}", "the body is no JSON: "},
		{"{\"name\":\"\xff\"}", "the body is no JSON: "},
		{"{\"name\":\"x\",\"id\":9223372036854775808}",
		 "the body is no JSON: too big integer"},
		{"[]", "the body is no JSON object"},
		{"{}", "'name' is missing"},
		{"{\"name\":null}", "'name' must be a string"},
		{"{\"name\":[\"x\"]}", "'name' must be a string"},
		{"{\"name\":\"x\",\"prefetch\":true}",
		 "'prefetch' is not supported by this version"},
		{"{\"name\":\"x\",\"id\":-1}",
		 "'id' must be a number from 0 to 4294967294"},
		{"{\"name\":\"x\",\"id\":4294967295}",
		 "'id' must be a number from 0 to 4294967294"},
		{"{\"name\":\"x\",\"id\":1.0}",
		 "'id' must be a number from 0 to 4294967294"},
		{"{\"name\":\"x\",\"id\":\"1\"}",
		 "'id' must be a number from 0 to 4294967294"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct values v = {0};
		json_t *object = NULL;
		int r = body_read(cases[i].text, strlen(cases[i].text), fields,
				  &v, &object);

		assert_int_equal(r, -EINVAL);
		assert_null(object);
		assert_ptr_equal(strstr(err_text(r), cases[i].says),
				 err_text(r));
	}
}

static void no_body_is_refused(void **state)
{
	struct values v = {0};
	json_t *object = NULL;

	(void)state;
	assert_int_equal(body_read(NULL, 0, fields, &v, &object), -EINVAL);
	assert_null(object);
}

static void depth_is_bounded(void **state)
{
	size_t depth = 400000;
	char *text = malloc(depth);
	struct values v = {0};
	json_t *object = NULL;

	(void)state;
	assert_non_null(text);
	memset(text, '[', depth);
	assert_int_equal(body_read(text, depth, fields, &v, &object), -EINVAL);
	assert_non_null(strstr(err_text(-EINVAL), "maximum parsing depth"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_and_defaults),
		cmocka_unit_test(wrong_bodies_are_refused),
		cmocka_unit_test(no_body_is_refused),
		cmocka_unit_test(depth_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
