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
	const char *piece; /* of what the server's CPU time is told for */
};

struct load_result {
	double rate;   /* in the load's unit */
	double pieces; /* that were read */
};

extern const struct load loads[LOAD_KINDS];

/*
 * `seed` chooses the pages, no page twice: whoever is to be
 * compared gets the same.
 */
int load_run(enum load_kind kind, const char *path, uint64_t seed,
	     struct load_result *ret_result);

/* Reads both to their ends: -EILSEQ where they differ. */
int load_compare(const char *path, const char *other);
