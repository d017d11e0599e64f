/* Text in aligned columns. */
#pragma once

#include <stdio.h>

#include "fs/base/cleanup.h"

#define TABLE_COLUMNS_MAX 8

struct table;

/*
 * Columns whose bit is set in `right` are aligned to the right. NULL: out of
 * memory.
 */
struct table *table_new(unsigned int columns, unsigned int right);
void table_free(struct table *t); /* accepts NULL */
DEFINE_CLEANUP(table, struct table *, table_free)

/* A row: a text for each column, copied, control characters replaced. */
int table_add_cells(struct table *t, const char *const *cells);

#define table_add(t, ...) table_add_cells(t, (const char *const[]){__VA_ARGS__})

/* Columns two spaces apart, lines without trailing space. */
void table_print(const struct table *t, FILE *out);
