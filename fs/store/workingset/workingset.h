/*
 * A working set in memory, and its bytes; pager/workingset.h and FORMAT.md
 * give the format. Plain data, owned by whoever holds it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pager/block.h"
#include "pager/workingset.h"

struct workingset {
	struct pager_digest image;
	uint64_t pages;				/* of the image */
	struct pager_workingset_entry *entries; /* by first touch */
	size_t count;
};

void workingset_release(struct workingset *w);

/* The caller frees. `w` has 1 to PAGER_WORKINGSET_ENTRIES_MAX entries. */
int workingset_encode(const struct workingset *w, const uint8_t store_id[16],
		      uint8_t **ret_bytes, size_t *ret_len);

/*
 * Checks all: -EBADMSG damaged or of another store, -ENOTSUP newer, -ESTALE
 * recorded for another image than `image` of `pages` pages.
 */
int workingset_decode(const uint8_t *bytes, size_t len,
		      const uint8_t store_id[16],
		      const struct pager_digest *image, uint64_t pages,
		      struct workingset *ret_set);

/*
 * What a new recording makes of an old set (one without entries for none):
 * first the pages that were touched now, in their order, then those of the old
 * set that were not. Who was touched gains score, who was not loses half of
 * it and leaves below WORKINGSET_SCORE_MIN, so a page that is touched no more
 * is gone after three recordings at most. No more than `most` pages, those of
 * the lowest scores and latest places left out. Pages past the image and those
 * told twice are passed over. `ret_set` may have no entries. -ENOMEM.
 */
#define WORKINGSET_SCORE_MIN 32u
#define WORKINGSET_SCORE_NEW 128u
int workingset_merge(const struct workingset *old, const uint64_t *touched,
		     size_t count, size_t most, struct workingset *ret_set);
