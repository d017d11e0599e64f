/*
 * Many traces of other seeds than the one that the policy's numbers were
 * chosen by: what one trace says of two policies may be chance.
 */
#pragma once

#include "tests/bench/report.h"

/*
 * Fleets at 10 %, as aims, and restores in turn at each size, as rows: fault
 * misses against each other policy's, the geometric mean over the seeds.
 */
int many_compare(struct report *report);
