#include "pagerd/ctl/term/table.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

struct table {
	unsigned int columns, right;
	size_t count, capacity; /* of cells */
	char **cells;		/* row by row */
};

struct table *table_new(unsigned int columns, unsigned int right)
{
	struct table *t = calloc(1, sizeof(*t));

	assert(columns > 0 && columns <= TABLE_COLUMNS_MAX);
	if (t) {
		t->columns = columns;
		t->right = right;
	}
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

static int make_room(struct table *t)
{
	size_t capacity = t->capacity ? 2 * t->capacity : 64;
	char **cells;

	if (t->count + t->columns <= t->capacity)
		return 0;
	cells = reallocarray(t->cells, capacity, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	t->cells = cells;
	t->capacity = capacity;
	return 0;
}

int table_add_cells(struct table *t, const char *const *cells)
{
	int r = make_room(t);

	if (r < 0)
		return r;
	for (unsigned int i = 0; i < t->columns; i++) {
		char *cell = strdup(cells[i]);

		if (!cell) {
			while (i-- > 0)
				free(t->cells[--t->count]);
			return -ENOMEM;
		}
		for (char *c = cell; *c; c++)
			if ((unsigned char)*c < ' ' || *c == 0x7f)
				*c = '?';
		t->cells[t->count++] = cell;
	}
	return 0;
}

/* Code points of UTF-8: close enough to columns for names. */
static int width(const char *s)
{
	int columns = 0;

	for (; *s; s++)
		columns += ((unsigned char)*s & 0xc0) != 0x80;
	return columns;
}

void table_print(const struct table *t, FILE *out)
{
	int widths[TABLE_COLUMNS_MAX] = {0};

	for (size_t i = 0; i < t->count; i++) {
		int w = width(t->cells[i]);

		if (w > widths[i % t->columns])
			widths[i % t->columns] = w;
	}
	for (size_t i = 0; i < t->count; i++) {
		unsigned int column = (unsigned int)(i % t->columns);
		int pad = widths[column] - width(t->cells[i]);
		bool last = column == t->columns - 1;

		if (t->right & 1u << column)
			(void)fprintf(out, "%*s%s", pad, "", t->cells[i]);
		else
			(void)fprintf(out, "%s%*s", t->cells[i], last ? 0 : pad,
				      "");
		(void)fputs(last ? "\n" : "  ", out);
	}
}
