#include "pagerd/ctl/term/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pagerd/ctl/term/table.h"

#define LINE_MAX_BYTES 4096

static const struct {
	int code;
	enum status status;
	const char *hint; /* what to do; "" where the line always says it */
} meanings[] = {
	{-ENOENT, STATUS_NOT_FOUND, ""},
	{-EBUSY, STATUS_IN_USE, ""},
	{-EBADMSG, STATUS_DAMAGED, ""},
	{-ENOSPC, STATUS_FAILED, "; make room and try again"},
	{-EDQUOT, STATUS_FAILED, "; make room and try again"},
};

static void one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
}

static void print_error(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

static void print_error(const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	one_line(line);
	(void)fprintf(stderr, "pagerctl: %s\n", line);
}

int output_error(const char *what, int r)
{
	enum status status = STATUS_FAILED;
	const char *hint = "";

	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].code == r) {
			status = meanings[i].status;
			hint = meanings[i].hint;
		}
	print_error("%s: %s%s", what, err_text(r), hint);
	return status;
}

int output_unparsed(int r)
{
	print_error("%s", err_text(r));
	return STATUS_USAGE;
}

int output_usage(const struct invocation *inv, const char *why)
{
	print_error("%s: %s; see 'pagerctl %s --help'", inv->command->name, why,
		    inv->command->name);
	return STATUS_USAGE;
}

int output_json(const struct invocation *inv, json_t *document)
{
	int r;

	if (!document)
		return output_error(inv->command->name, -ENOMEM);
	r = json_dumpf(document, stdout,
		       JSON_INDENT(2) | JSON_ENCODE_ANY |
			       JSON_REAL_PRECISION(9));
	json_decref(document);
	if (r < 0)
		return output_error(inv->command->name, -EIO);
	(void)fputc('\n', stdout);
	return STATUS_DONE;
}

int output_json_rows(const struct invocation *inv, json_t *document,
		     const char *key, output_row_fn *next, void *arg)
{
	_cleanup_free_ char *text = json_dumps(document, JSON_INDENT(2));
	const char *separator = "\n";
	json_t *row;
	char *end;

	json_decref(document);
	/* The array stands in front of the document's closing brace. */
	end = text ? strrchr(text, '}') : NULL;
	if (!end)
		return output_error(inv->command->name, -ENOMEM);
	(void)fprintf(stdout, "%.*s,\n  \"%s\": [", (int)(end - text - 1), text,
		      key);
	while ((row = next(arg))) {
		(void)fprintf(stdout, "%s    ", separator);
		(void)json_dumpf(row, stdout, 0);
		json_decref(row);
		separator = ",\n";
	}
	(void)fprintf(stdout, "%s]\n}\n", *separator == ',' ? "\n  " : "");
	return STATUS_DONE;
}

/* "a.b.3"; the result is freed by the caller. NULL: out of memory. */
static char *join(const char *path, const char *key)
{
	char *joined;

	return asprintf(&joined, "%s%s%s", path, *path ? "." : "", key) < 0
		       ? NULL
		       : joined;
}

static int add_fields(struct table *t, const char *path, const json_t *value);

static int add_child(struct table *t, const char *path, const char *key,
		     const json_t *value)
{
	_cleanup_free_ char *joined = join(path, key);

	return joined ? add_fields(t, joined, value) : -ENOMEM;
}

static int add_scalar(struct table *t, const char *path, const json_t *value)
{
	_cleanup_free_ char *text = NULL;

	if (json_is_string(value))
		return table_add(t, path, json_string_value(value));
	if (json_is_null(value))
		return table_add(t, path, "-");
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
	return text ? table_add(t, path, text) : -ENOMEM;
}

static int add_fields(struct table *t, const char *path, const json_t *value)
{
	const json_t *child;
	const char *key;
	char number[24];
	size_t i;
	int r = 0;

	if (json_is_object(value)) {
		json_object_foreach((json_t *)value, key, child) if (r == 0)
			r = add_child(t, path, key, child);
		return r;
	}
	if (!json_is_array(value))
		return add_scalar(t, path, value);
	json_array_foreach(value, i, child)
	{
		(void)snprintf(number, sizeof(number), "%zu", i);
		if (r == 0)
			r = add_child(t, path, number, child);
	}
	return r;
}

int output_fields(const struct invocation *inv, const json_t *object)
{
	struct table *t cleanup(cleanup_table) = table_new(2, 0);
	int r = t ? add_fields(t, "", object) : -ENOMEM;

	if (r < 0)
		return output_error(inv->command->name, r);
	table_print(t, stdout);
	return STATUS_DONE;
}

void output_line(const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	one_line(line);
	(void)fprintf(stdout, "%s\n", line);
}

int output_finish(int status)
{
	int broken = ferror(stdout) ? EIO : 0;

	errno = 0;
	if (fflush(stdout) != 0)
		broken = errno ?: EIO;
	if (!broken || status != STATUS_DONE)
		return status;
	return output_error("standard output", -broken);
}
