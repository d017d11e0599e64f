#include "pagerd/control/http/body.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "fs/base/err.h"

/* The largest is (uid_t)-1, which chown(2) takes for "leave it". */
#define ID32_MAX (UINT32_MAX - 1)

static const struct body_field *find_field(const struct body_field *fields,
					   const char *name)
{
	for (; fields->name; fields++)
		if (strcmp(fields->name, name) == 0)
			return fields;
	return NULL;
}

static int read_string(const struct body_field *f, const json_t *value,
		       void *to)
{
	const char *text = json_string_value(value);

	if (!text)
		return err_set(-EINVAL, "'%s' must be a string", f->name);
	memcpy(to, &text, sizeof(text));
	return 0;
}

static int read_id32(const struct body_field *f, const json_t *value, void *to)
{
	json_int_t number = json_integer_value(value);
	uint32_t id = (uint32_t)number;

	if (!json_is_integer(value) || number < 0 || number > ID32_MAX)
		return err_set(-EINVAL, "'%s' must be a number from 0 to %u",
			       f->name, ID32_MAX);
	memcpy(to, &id, sizeof(id));
	return 0;
}

static int read_number(const struct body_field *f, const json_t *value,
		       void *to)
{
	json_int_t number = json_integer_value(value);
	uint64_t n = (uint64_t)number;

	if (!json_is_integer(value) || number < 0)
		return err_set(-EINVAL, "'%s' must be a number of at least 0",
			       f->name);
	memcpy(to, &n, sizeof(n));
	return 0;
}

static int read_flag(const struct body_field *f, const json_t *value, void *to)
{
	bool flag = json_is_true(value);

	if (!json_is_boolean(value))
		return err_set(-EINVAL, "'%s' must be true or false", f->name);
	memcpy(to, &flag, sizeof(flag));
	return 0;
}

static int read_list(const struct body_field *f, const json_t *value, void *to)
{
	if (!json_is_array(value))
		return err_set(-EINVAL, "'%s' must be a list", f->name);
	memcpy(to, &value, sizeof(value));
	return 0;
}

static int read_table(const struct body_field *f, const json_t *value, void *to)
{
	const json_t *one;
	const char *key;

	if (!json_is_object(value))
		return err_set(-EINVAL, "'%s' must be an object", f->name);
	json_object_foreach((json_t *)value, key, one)
	{
		if (!json_is_string(one))
			return err_set(-EINVAL,
				       "'%.64s' in '%s' must be a string", key,
				       f->name);
	}
	memcpy(to, &value, sizeof(value));
	return 0;
}

static int read_field(const struct body_field *f, const json_t *value,
		      void *values)
{
	void *to = (char *)values + f->offset;

	switch (f->type) {
	case BODY_STRING:
		return read_string(f, value, to);
	case BODY_ID32:
		return read_id32(f, value, to);
	case BODY_NUMBER:
		return read_number(f, value, to);
	case BODY_LIST:
		return read_list(f, value, to);
	case BODY_TABLE:
		return read_table(f, value, to);
	default:
		return read_flag(f, value, to);
	}
}

static int read_fields(json_t *object, const struct body_field *fields,
		       void *values)
{
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		const struct body_field *f = find_field(fields, name);
		int r;

		if (!f)
			return err_set(-EINVAL,
				       "'%.64s' is not supported by this "
				       "version",
				       name);
		r = read_field(f, value, values);
		if (r < 0)
			return r;
	}
	for (const struct body_field *f = fields; f->name; f++)
		if (f->required && !json_object_get(object, f->name))
			return err_set(-EINVAL, "'%s' is missing", f->name);
	return 0;
}

/* jansson bounds the depth, and refuses integers past 64 bits. */
static int parse(const char *text, size_t length, json_t **ret_object)
{
	json_error_t error;
	json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);

	if (!json)
		return err_set(-EINVAL, "the body is no JSON: %s, byte %d",
			       error.text, error.position);
	if (!json_is_object(json)) {
		json_decref(json);
		return err_set(-EINVAL, "the body is no JSON object");
	}
	*ret_object = json;
	return 0;
}

int body_read(const char *text, size_t length, const struct body_field *fields,
	      void *ret_values, json_t **ret_object)
{
	json_t *object = NULL;
	int r = parse(text ?: "", length, &object);

	if (r < 0)
		return r;
	r = read_fields(object, fields, ret_values);
	if (r < 0) {
		json_decref(object);
		return r;
	}
	*ret_object = object;
	return 0;
}
