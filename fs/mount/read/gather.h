/*
 * Gathering pages: many blocks into many places, through the cache. What the
 * cache lacks is read in the order in which it lies in the packs, neighbours
 * with one read.
 *
 * A gather is one thread's means of reading: scratch memory, and the buffer
 * in which a reply is put together. It belongs to one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/cache/cache.h"
#include "fs/mount/view/view.h"
#include "pager/block.h"

/*
 * The largest read that is answered, and room for it at any offset. A quarter
 * of what is read ahead, so that several threads work for one reader, and
 * small enough to stay in a processor's own cache between its two copies.
 */
#define GATHER_READ_MAX	   (256u << 10)
#define GATHER_BUFFER_SIZE (GATHER_READ_MAX + PAGER_PAGE_SIZE)

/* Blocks asked of the cache at once, so slots that are held at once. */
#define GATHER_BATCH 32u

struct gather;

int gather_open(struct gather **ret_gather); /* -ENOMEM */
void gather_close(struct gather *g);	     /* accepts NULL */
DEFINE_CLEANUP(gather, struct gather *, gather_close)

/* The memory that one takes. */
size_t gather_bytes(void);

/* GATHER_BUFFER_SIZE bytes, page-aligned. */
uint8_t *gather_buffer(struct gather *g);

struct gather_want {
	uint64_t block; /* of a page; not 0 */
	uint8_t *page;	/* where its 4096 bytes go */
};

/*
 * One block of any kind, copied: what somebody needs and what therefore has
 * to be there. A missing pack or slot is damage, -EBADMSG, not -ENOENT, which
 * would tell a reader that there is no such file. Any thread.
 */
int gather_block(const struct view *v, uint64_t block, enum cache_class class,
		 uint8_t *ret_page, uint8_t *ret_kind);

/*
 * The same without a copy: `ret_ref` is pinned, for cache_unpin(), soon. Does
 * not wait: -EBUSY where somebody else fills the block or no slot is free.
 */
int gather_pin(const struct view *v, uint64_t block, enum cache_class class,
	       struct cache_ref *ret_ref);

/*
 * All of them, or a negative errno with what is wrong (-EBADMSG, -EIO ...);
 * the pages' bytes are undefined then and must not be shown to anybody.
 * `count` is at most GATHER_BUFFER_SIZE / PAGER_PAGE_SIZE. Holds no pin on
 * return.
 */
int gather_pages(struct gather *g, const struct view *v,
		 const struct gather_want *wants, size_t count);

/* Room for that many wants, for the caller to fill. */
struct gather_want *gather_wants(struct gather *g);
