/*
 * The runs of an index folder as they were at one time: an immutable list,
 * newest first, shared by reference count. Lookups hold one while the index
 * moves on to the next.
 */
#pragma once

#include "fs/base/cleanup.h"
#include "fs/store/index/run.h"

struct runset {
	_Atomic unsigned int refs;
	unsigned int count; /* constant, as are the runs */
	struct run *runs[];
};

/*
 * Opens all runs of the store; with `drop`, damaged ones are removed from the
 * folder, else skipped. Runs that another publisher merges away meanwhile are
 * found where they went.
 */
int runset_load(struct store *s, bool drop, struct runset **ret_set);
struct runset *runset_ref(struct runset *set);
void runset_unref(struct runset *set); /* accepts NULL */
DEFINE_CLEANUP(runset, struct runset *, runset_unref)

uint64_t runset_entries(const struct runset *set);

/* Numbers of the packs that the runs cover, ascending; the caller frees. */
int runset_packs(const struct runset *set, uint64_t **ret_packs,
		 size_t *ret_count);
