#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pagerd/control/http/route.h"

static void paths_match_whole(void **state)
{
	static const struct {
		const char *method, *path;
		int result;
		const char *parameter;
	} cases[] = {
		{"GET", "/v1/health", 0, ""},
		{"GET", "/health", 0, ""},
		{"GET", "/v1/sessions", 0, ""},
		{"GET", "/v1/sessions/abc", 0, "abc"},
		{"DELETE", "/v1/sessions/..", 0, ".."},
		{"POST", "/sessions/a b/close", 0, "a b"},
		{"GET", "/v1/health/", -ENOENT, NULL},
		{"GET", "/v1/sessions/", -ENOENT, NULL},
		{"GET", "/v1/sessions/../x", -ENOENT, NULL},
		{"GET", "//v1/health", -ENOENT, NULL},
		{"GET", "/v1/healthy", -ENOENT, NULL},
		{"GET", "/v1", -ENOENT, NULL},
		{"GET", "/", -ENOENT, NULL},
		{"GET", "", -ENOENT, NULL},
		{"OPTIONS", "*", -ENOENT, NULL},
		{"POST", "/v1/health", -EOPNOTSUPP, NULL},
		{"get", "/v1/health", -EOPNOTSUPP, NULL},
		{"PUT", "/v1/sessions/abc", -EOPNOTSUPP, NULL},
		{"GET", "/sessions/abc/close", -EOPNOTSUPP, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char parameter[ROUTE_PARAMETER_MAX];
		const struct route *route = NULL;

		assert_int_equal(route_find(cases[i].method, cases[i].path,
					    &route, parameter),
				 cases[i].result);
		if (cases[i].result < 0) {
			assert_null(route);
			continue;
		}
		assert_string_equal(route->method, cases[i].method);
		assert_string_equal(parameter, cases[i].parameter);
	}
}

static void long_segments_name_nothing(void **state)
{
	char path[2 * ROUTE_PARAMETER_MAX] = "/v1/sessions/";
	char parameter[ROUTE_PARAMETER_MAX];
	const struct route *route;
	size_t len = strlen(path);

	(void)state;
	memset(path + len, 'a', ROUTE_PARAMETER_MAX - 1);
	assert_int_equal(route_find("GET", path, &route, parameter), 0);
	assert_int_equal(strlen(parameter), ROUTE_PARAMETER_MAX - 1);
	path[len + ROUTE_PARAMETER_MAX - 1] = 'a';
	assert_int_equal(route_find("GET", path, &route, parameter), -ENOENT);
}

static void allowed_methods(void **state)
{
	char methods[REPLY_ALLOW_MAX];

	(void)state;
	route_allowed("/v1/sessions", methods);
	assert_string_equal(methods, "GET, POST");
	route_allowed("/v1/sessions/x", methods);
	assert_string_equal(methods, "GET, DELETE");
	route_allowed("/nowhere", methods);
	assert_string_equal(methods, "");
}

/* The row with this method (in lower case) and path, or NULL. */
static const struct route *find_row(const char *method, const char *path)
{
	for (size_t i = 0; i < route_count; i++)
		if (strcasecmp(routes[i].method, method) == 0 &&
		    strcmp(routes[i].path, path) == 0)
			return &routes[i];
	return NULL;
}

static FILE *open_description(void)
{
	const char *fixtures = getenv("PAGER_TEST_FIXTURES");
	char path[4096];
	FILE *f;

	assert_non_null(fixtures);
	(void)snprintf(path, sizeof(path), "%s/../../contrib/openapi.yaml",
		       fixtures);
	f = fopen(path, "r");
	assert_non_null(f);
	return f;
}

/*
 * Paths stand two columns in, methods four, a method's summary next to it.
 * "parameters:" four columns in is no method.
 */
static void description_has_the_same_rows(void **state)
{
	char line[256], path[128] = "", method[32], doc[128];
	const struct route *row = NULL;
	size_t described = 0;
	FILE *f = open_description();

	(void)state;
	while (fgets(line, sizeof(line), f) &&
	       strcmp(line, "components:\n") != 0) {
		if (sscanf(line, "  /%126[^:]:", path + 1) == 1) {
			path[0] = '/';
		} else if (strncmp(line, "      summary: ", 15) == 0) {
			assert_non_null(row);
			(void)sscanf(line + 15, "%127[^\n]", doc);
			assert_string_equal(doc, row->doc);
			described++;
			row = NULL;
		} else if (path[0] && strncmp(line, "    ", 4) == 0 &&
			   sscanf(line + 4, "%31[a-z]:", method) == 1 &&
			   strcmp(method, "parameters") != 0) {
			row = find_row(method, path);
			if (!row)
				fail_msg("%s %s has no route", method, path);
		}
	}
	assert_int_equal(fclose(f), 0);
	assert_int_equal(described, route_count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_match_whole),
		cmocka_unit_test(long_segments_name_nothing),
		cmocka_unit_test(allowed_methods),
		cmocka_unit_test(description_has_the_same_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
