/* The cache's figures as text. Each returns the exit status. */
#pragma once

#include <jansson.h>

#include "pagerd/ctl/cli/parse.h"

/* What GET /v1/cache gives. */
int cacheshow_stats(const struct invocation *inv, const json_t *stats);

/* What GET /v1/cache/curve gives: a table and a plot. */
int cacheshow_curve(const struct invocation *inv, const json_t *curve);
