/*
 * Where blocks come from: the seam between the cache above and the packs
 * below. The cache and the fault path know blocks by id and by the place to
 * read, nothing of packs; tests put a source in memory behind the same calls.
 *
 * A read is: locate, read `length` bytes of `fd` at `offset` in any way that
 * suits (pread, io_uring), decode, release. Decoding verifies; bytes that it
 * did not return 0 for must never be shown to anybody.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pager/pack.h"

/* Where the stored bytes of one block are. Filled by locate. */
struct block_place {
	uint64_t block;
	int fd; /* borrowed: valid until release */
	uint64_t offset;
	uint32_t length; /* 1..4096 */
	struct pager_slot slot;
	void *owner; /* the source's own: keeps fd open */
};

enum block_suspect {
	BLOCK_UNKNOWN = 0,  /* nothing speaks against it */
	BLOCK_TRY_ONCE = 1, /* it failed before: one try is enough */
	BLOCK_TRY_ALL =
		2, /* likewise, but while no VM waited, as one does now */
};

struct block_source_ops {
	/*
	 * Never blocks. 0; -EAGAIN: call prepare, then again; -ENOENT: no
	 * such pack or slot; -EBADMSG: the pack is damaged.
	 */
	int (*locate)(void *ctx, uint64_t block, struct block_place *ret_place);

	/*
	 * May block for disk reads: gets ready to locate blocks of the same
	 * pack. What it loads may be dropped again under pressure, so a
	 * caller loops over both a few times.
	 */
	int (*prepare)(void *ctx, uint64_t block);

	/*
	 * `stored` holds place->length bytes. Writes 4096 bytes to `ret_page`
	 * also on failure: the caller must not show them then. -EBADMSG where
	 * bytes do not decode or fail the checksum. Any thread.
	 */
	int (*decode)(void *ctx, const struct block_place *place,
		      const uint8_t *stored, uint8_t *ret_page);

	void (*release)(void *ctx, struct block_place *place);

	/*
	 * A source that remembers blocks which could not be read has the
	 * three below; else they are NULL. suspect and verdict never block.
	 *
	 * suspect, before a read: a value of enum block_suspect, or the error
	 * that the last one ended with, with its text: it is not to be tried.
	 */
	int (*suspect)(void *ctx, uint64_t block, bool awaited);

	/*
	 * A read has ended after its last try: with an error, whose text
	 * stays, or with 0 where the block was suspect.
	 */
	void (*verdict)(void *ctx, uint64_t block, bool awaited, int error);

	/*
	 * After a verdict with an error: looks for another copy, and may
	 * block. 0: locate is worth a try; else the verdict's error.
	 */
	int (*rescue)(void *ctx, uint64_t block);
};

struct block_source {
	const struct block_source_ops *ops;
	void *ctx;
};

/* The calls of that name, of whatever source: see there. */
int block_source_suspect(const struct block_source *source, uint64_t block,
			 bool awaited);
void block_source_verdict(const struct block_source *source, uint64_t block,
			  bool awaited, int error);

/*
 * The blocking read: locate, pread, decode, release, with up to two more
 * tries after a failure that may pass, and at last one of another copy.
 * `ret_kind` may be NULL.
 */
int block_source_read(const struct block_source *source, uint64_t block,
		      uint8_t *ret_page, uint8_t *ret_kind);
