#include "tests/bench/report.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"

struct report {
	json_t *root; /* bench, facts, tables, aims */
};

#define CELL_MAX 64

struct report *report_new(const char *name)
{
	struct report *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->root = json_pack("{s:s, s:{}, s:{}, s:[]}", "bench", name, "facts",
			    "tables", "aims");
	assert(r->root);
	return r;
}

void report_free(struct report *r)
{
	if (!r)
		return;
	json_decref(r->root);
	free(r);
}

void report_fact(struct report *r, const char *what, json_t *value)
{
	(void)json_object_set_new(json_object_get(r->root, "facts"), what,
				  value);
}

void report_row(struct report *r, const char *table, json_t *row)
{
	json_t *tables = json_object_get(r->root, "tables");
	json_t *rows = json_object_get(tables, table);

	if (!rows) {
		rows = json_array();
		(void)json_object_set_new(tables, table, rows);
	}
	(void)json_array_append_new(rows, row);
}

void report_aim(struct report *r, const char *what, double value, double limit,
		bool at_most)
{
	bool met = at_most ? value <= limit : value >= limit;

	(void)json_array_append_new(
		json_object_get(r->root, "aims"),
		json_pack("{s:s, s:f, s:f, s:s, s:b}", "what", what, "value",
			  value, "limit", limit, "sense",
			  at_most ? "at most" : "at least", "met", met));
}

static void cell(const json_t *value, char buf[CELL_MAX])
{
	if (json_is_string(value))
		(void)snprintf(buf, CELL_MAX, "%s", json_string_value(value));
	else if (json_is_integer(value))
		(void)snprintf(buf, CELL_MAX, "%lld",
			       (long long)json_integer_value(value));
	else if (json_is_real(value))
		(void)snprintf(buf, CELL_MAX, "%.3f", json_real_value(value));
	else
		(void)snprintf(buf, CELL_MAX, "-");
}

/* The widest cell of a column, its head counted. */
static int column_width(const json_t *rows, const char *column)
{
	size_t width = strlen(column), i;
	char buf[CELL_MAX];
	json_t *row;

	json_array_foreach(rows, i, row)
	{
		cell(json_object_get(row, column), buf);
		if (strlen(buf) > width)
			width = strlen(buf);
	}
	return (int)width;
}

static void print_table(const char *name, const json_t *rows)
{
	json_t *head = json_array_get(rows, 0), *row, *value;
	char buf[CELL_MAX];
	const char *column;
	size_t i;

	(void)printf("\n%s\n", name);
	json_object_foreach(head, column, value)(void)
		printf("  %*s",
		       json_is_string(value) ? -column_width(rows, column)
					     : column_width(rows, column),
		       column);
	(void)printf("\n");
	json_array_foreach(rows, i, row)
	{
		json_object_foreach(head, column, value)
		{
			int width = column_width(rows, column);

			cell(json_object_get(row, column), buf);
			(void)printf("  %*s",
				     json_is_string(value) ? -width : width,
				     buf);
		}
		(void)printf("\n");
	}
}

static void print_text(const struct report *r)
{
	json_t *value, *aim;
	char buf[CELL_MAX];
	const char *key;
	size_t i;

	json_object_foreach(json_object_get(r->root, "facts"), key, value)
	{
		cell(value, buf);
		(void)printf("%s: %s\n", key, buf);
	}
	json_object_foreach(json_object_get(r->root, "tables"), key, value)
		print_table(key, value);
	json_array_foreach(json_object_get(r->root, "aims"), i, aim)(void)
		printf("%s%-6s %s: %.3f (%s %.3f)\n", i ? "" : "\n",
		       json_is_true(json_object_get(aim, "met")) ? "met"
								 : "MISSED",
		       json_string_value(json_object_get(aim, "what")),
		       json_real_value(json_object_get(aim, "value")),
		       json_string_value(json_object_get(aim, "sense")),
		       json_real_value(json_object_get(aim, "limit")));
}

void report_print(const struct report *r, bool json)
{
	if (!json) {
		print_text(r);
		return;
	}
	(void)json_dumpf(r->root, stdout, JSON_INDENT(2));
	(void)printf("\n");
}
