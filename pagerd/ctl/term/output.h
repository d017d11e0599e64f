/*
 * What pagerctl prints: one line for an error on stderr, one JSON document or
 * text on stdout. Text from elsewhere (names, a daemon's messages) is printed
 * with its control characters replaced, so a line stays one line and nothing
 * reaches the terminal as a command to it.
 */
#pragma once

#include <jansson.h>

#include "pagerd/ctl/cli/parse.h"

/*
 * "pagerctl: WHAT: WHY" for r < 0, with err_text(r) for why and what to do
 * where that is not said yet. Returns the exit status.
 */
int output_error(const char *what, int r);

/* The line of a command line that could not be parsed, "WHAT: WHY". */
int output_unparsed(int r);

/* Likewise for wrong usage that only the command itself can see. */
int output_usage(const struct invocation *inv, const char *why);

/*
 * Prints the document and drops the reference; NULL stands for out of memory.
 * Returns the exit status, as do the others.
 */
int output_json(const struct invocation *inv, json_t *document);

/*
 * The same with one more member `key`, an array that may be long: its rows
 * are asked for one by one, until NULL, and printed a line each.
 */
typedef json_t *output_row_fn(void *arg);
int output_json_rows(const struct invocation *inv, json_t *document,
		     const char *key, output_row_fn *next, void *arg);

/* Each value of a JSON object on a line of its own: "cache.hits  17". */
int output_fields(const struct invocation *inv, const json_t *object);

/* One line of text on stdout. */
void output_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Whether everything reached stdout. Call once at the end; `status` is
 * returned where it did, or where it tells of a failure already.
 */
int output_finish(int status);
