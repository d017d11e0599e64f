/*
 * The digest of a whole file: the same content and size give the same digest
 * in one store, wherever the blocks lie and however they were encoded.
 *
 * The digest of a unit (512 pages, what one leaf node maps) is XXH3-128, with
 * the store's secret, of its pages' digests in order, 16 zero bytes for a zero
 * page; and 16 zero bytes where all of its pages are zero. The file's digest
 * is XXH3-128, with the store's secret, of its units' digests in order and of
 * its exact size as a little-endian u64. All are in canonical form.
 *
 * Units are added in ascending order, by one thread at a time; a gap is zeros.
 */
#pragma once

#include <stdint.h>

#include "fs/store/store.h"
#include "pager/pagetable.h"

struct imagedigest;

/* The digest of a unit of `count` pages, not all of them zero. Any thread. */
void imagedigest_unit(const struct store *s, const struct pager_digest *pages,
		      unsigned int count, struct pager_digest *ret_digest);

/* NULL when out of memory. Borrows the store for its life. */
struct imagedigest *imagedigest_new(const struct store *s);
void imagedigest_free(struct imagedigest *d); /* accepts NULL */

void imagedigest_add(struct imagedigest *d, uint64_t unit,
		     const struct pager_digest *digest);

/* The digest is spent then. */
void imagedigest_finish(struct imagedigest *d, uint64_t size,
			struct pager_digest *ret_digest);
