/*
 * What becomes of recorded touches: a thread of the pool's merges them into
 * the store's working sets, since a worker must not wait for a disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/store/snapshot/snapshot.h"

struct keeper;

/*
 * The pages that one VM touched first. It holds the store, but no lease on the
 * snapshot, which may be removed meanwhile.
 */
struct touches {
	struct store *store;
	char *snapshot; /* its name, for the log */
	struct pager_digest image;
	uint64_t image_pages;
	uint64_t *pages;
	size_t count, room;
	size_t most; /* pages of the working set that comes of it */
};

/* NULL when out of memory. */
struct touches *touches_new(const struct snapshot *snapshot, size_t most);
void touches_free(struct touches *t); /* accepts NULL */

/* False where no more are taken: `most` are there, or memory is short. */
bool touches_add(struct touches *t, uint64_t page);

/* -ENOMEM, or what pthread_create() said. */
int keeper_new(struct keeper **ret_keeper);

/* Saves what it was given, then ends. Accepts NULL. */
void keeper_free(struct keeper *k);

/*
 * Of the clones of one image that run at once one records is enough: true for
 * the first, until its touches are saved or dropped. Any thread.
 */
bool keeper_claim(struct keeper *k, const struct touches *t);

/* Both take the touches over. Any thread; neither blocks. */
void keeper_save(struct keeper *k, struct touches *t);
void keeper_drop(struct keeper *k, struct touches *t);
