/*
 * What a benchmark found: facts about its input, rows of measurements and
 * aims with what was reached. Printed as tables or as one JSON document.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct report;

/* NULL when out of memory. */
struct report *report_new(const char *name);
void report_free(struct report *r); /* accepts NULL */

/* Takes the reference to `value`. */
void report_fact(struct report *r, const char *what, json_t *value);

/*
 * A row: an object of numbers and strings whose keys are the columns, in
 * their order. Rows of the same `table` share one table. Takes the reference.
 */
void report_row(struct report *r, const char *table, json_t *row);

/* An aim: `value` should be at most (or at least) `limit`. */
void report_aim(struct report *r, const char *what, double value, double limit,
		bool at_most);

void report_print(const struct report *r, bool json);
