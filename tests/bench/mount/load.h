/* The ways in which a file is read, each measured by itself. */
#pragma once

#include "tests/bench/bench.h"

enum load_kind {
	LOAD_SEQUENTIAL, /* GiB/s of read(2), 1 MiB each, to the end */
	LOAD_RANDOM_1,	 /* pread(2) of 4 KiB a second, by one thread */
	LOAD_RANDOM_8,	 /* by eight */
	LOAD_FAULTS,	 /* touches of a private mapping a second */
	LOAD_KINDS
};

struct load {
	const char *name, *unit;
};

extern const struct load loads[LOAD_KINDS];

/*
 * The file's rate. `seed` chooses the pages, no page twice: whoever is to be
 * compared gets the same.
 */
int load_run(enum load_kind kind, const char *path, uint64_t seed,
	     double *ret_rate);

/* Reads both to their ends: -EILSEQ where they differ. */
int load_compare(const char *path, const char *other);
