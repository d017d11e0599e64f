/*
 * A request's JSON body, read by a table of the keys that it may have. What
 * is not in the table is refused by name, so that no client believes that an
 * option had an effect.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define BODY_MAX (1u << 20)

enum body_type {
	BODY_STRING, /* const char *, NULL where absent; lives as the object */
	/* Untouched where absent: */
	BODY_ID32,   /* uid_t or gid_t: 0 to 2^32 - 2 */
	BODY_NUMBER, /* uint64_t: 0 to 2^63 - 1 */
	BODY_FLAG,   /* bool */
	BODY_LIST,   /* const json_t *, an array; lives as the object */
	BODY_TABLE,  /* const json_t *, an object of strings; likewise */
};

struct body_field {
	const char *name;
	enum body_type type;
	bool required;
	size_t offset; /* of the member that takes it */
};

/*
 * Parses, and fills the struct at `ret_values`, in which the defaults stand.
 * The caller drops the object when done with the strings. -EINVAL, with a
 * line for the client: no JSON object, a key twice, an unknown key, a value
 * of the wrong type or out of bounds, a required key that is missing.
 */
int body_read(const char *text, size_t length, const struct body_field *fields,
	      void *ret_values, json_t **ret_object);
