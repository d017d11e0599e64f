/*
 * Private bytes that lie over a session's image: at any offset, of any
 * length, across pages. Immutable once made, so any thread may read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of one session. */
#define OVERLAY_PIECES_MAX 1024u
#define OVERLAY_BYTES_MAX  (UINT64_C(64) << 20)

struct overlay_piece {
	uint64_t offset; /* in the image */
	uint64_t size;
	const uint8_t *data;
};

struct overlay;

/*
 * Copies the pieces, in any order. -EINVAL with the reason: an empty one, one
 * that ends past the image, two that overlap, more than the limits; -ENOMEM.
 * Without pieces `ret_overlay` is NULL, which all calls below take for "none".
 */
int overlay_new(const struct overlay_piece *pieces, size_t count,
		uint64_t image_size, struct overlay **ret_overlay);
void overlay_free(struct overlay *o);

/* Some byte, or every byte, of the 4096 of `page` is private. */
bool overlay_touches(const struct overlay *o, uint64_t page);
bool overlay_covers(const struct overlay *o, uint64_t page);

/* Lays the private bytes of `page` over its 4096 at `bytes`. */
void overlay_apply(const struct overlay *o, uint64_t page, uint8_t *bytes);

/* How many pages from `page` on, at most `max`, have no private byte. */
uint64_t overlay_clear_run(const struct overlay *o, uint64_t page,
			   uint64_t max);

/*
 * The pieces as they were kept, ascending and disjoint, for whoever writes
 * them down; `ret_count` of them. Valid as long as the overlay.
 */
const struct overlay_piece *overlay_pieces(const struct overlay *o,
					   size_t *ret_count);
