/*
 * Merging: one index run out of several runs and of the digest tables of
 * several packs, as a stream; memory does not grow with their sizes.
 */
#pragma once

#include "fs/base/cleanup.h"
#include "fs/store/index/run.h"
#include "fs/store/pack/pack.h"

struct merge;

/* NULL when out of memory. */
struct merge *merge_new(void);
void merge_free(struct merge *m); /* accepts NULL */
DEFINE_CLEANUP(merge, struct merge *, merge_free)

/* Take a reference of their own. The pack's digests must have been checked. */
int merge_add_run(struct merge *m, struct run *run);
int merge_add_pack(struct merge *m, struct pack *pack);

/* How many inputs were added. */
unsigned int merge_inputs(const struct merge *m);

/*
 * Writes the run; the merge is used up. Entries that inputs have in common
 * are written once. -EBADMSG: the entries of a run are out of order.
 */
int merge_write(struct merge *m, struct store *s);
