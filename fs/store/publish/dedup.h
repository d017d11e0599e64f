/*
 * Finding a content in the store, or putting it there: the one place that
 * decides that two blocks are the same. A digest only names candidates; a
 * block is shared when its kind and all of its 4096 bytes are equal.
 *
 * A candidate that cannot be read, or is damaged, is passed over: the content
 * is then stored anew, and the new copy is found before the damaged one. At
 * most DEDUP_CANDIDATES_MAX candidates a lookup are compared, so contents of
 * colliding digests cost linear time; what lies beyond is stored twice.
 */
#pragma once

#include <stdint.h>

#include "fs/store/pack/packwriter.h"
#include "fs/store/store.h"

#define DEDUP_CANDIDATES_MAX PACKWRITER_CHAIN_MAX

struct dedup;
struct dedup_scratch;

/* One content on its way into the store. */
struct dedup_item {
	/* The caller's: 4096 bytes, what they are, and their store_digest(). */
	const uint8_t *plain;
	const struct pager_digest *digest;
	enum pager_kind kind;

	uint64_t block; /* where it is in the store */

	/* As dedup_encode() left it; length 0 before. */
	const uint8_t *stored;
	uint32_t length;
	enum pager_codec codec;

	/* What dedup_find() has compared, so as not to do it again. */
	uint64_t compared;  /* no block of the open pack behind this one */
	unsigned int seals; /* packs sealed at that time */
};

/* Opens index and pack writer for one publish. */
int dedup_open(struct store *s, enum pager_codec codec,
	       struct dedup **ret_dedup);
void dedup_close(struct dedup *d); /* accepts NULL; drops what is unfinished */

/* Makes all that was stored durable; see packwriter_finish(). */
int dedup_finish(struct dedup *d);
uint64_t dedup_stored_bytes(const struct dedup *d);

/* What one thread needs for itself. NULL when out of memory. */
struct dedup_scratch *dedup_scratch_new(void);
void dedup_scratch_free(struct dedup_scratch *s); /* accepts NULL */
uint64_t dedup_compares(const struct dedup_scratch *s);

/* Looks an item up: true and its block. Any thread, with its own scratch. */
bool dedup_find(struct dedup *d, struct dedup_scratch *s,
		struct dedup_item *item);

/*
 * Encodes an item into `out`, which has room for PAGER_PAGE_SIZE bytes and
 * lives until the item is stored. Returns its length. Any thread.
 */
uint32_t dedup_encode(struct dedup *d, struct dedup_scratch *s,
		      struct dedup_item *item, uint8_t *out);

/*
 * Looks an item up once more, among what was stored since dedup_find(), and
 * appends it where it still is not there, encoding it if need be: 1 when it
 * was appended, 0 when it was found. One thread at a time.
 */
int dedup_store(struct dedup *d, struct dedup_scratch *s,
		struct dedup_item *item);
