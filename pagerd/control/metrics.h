/*
 * GET /metrics: every counter and gauge of the daemon, one row each, in
 * Prometheus' text format 0.0.4.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "pagerd/control/stats.h"

struct metric {
	const char *name;
	const char *type; /* NULL: belongs to the family of the row before */
	const char *unit; /* "seconds", "bytes"; NULL: plain numbers */
	const char *help;
	const char *label; /* NULL: one sample, without a label */
	const char *(*label_value)(int i);
	double (*value)(const struct stats *s, int i);
	int samples; /* values of the label; unused without one */
	int index;   /* what value() gets where there is no label */
};

extern const struct metric metric_rows[];
extern const size_t metric_count;

void metrics_print(FILE *out, const struct stats *s);
