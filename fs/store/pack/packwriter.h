/*
 * Writing packs: blocks in, pack files out.
 *
 * Appends encoded blocks to the current pack and hands out block ids. A full
 * pack is finished (tables, fdatasync, rename, fsync of the folder) and the
 * next begun with the next block. Blocks of the current pack can be found and
 * read back until it is finished and `sealed` was called for it, so there is
 * no instant at which a block is known neither here nor there. The writer
 * belongs to one publish; append and finish are called by one thread at a
 * time, find and read by any (it locks inside).
 *
 * Any failure of a write, a sync or of `sealed` is final for the writer:
 * after a failed fsync nobody knows what the disk holds. Every later append
 * or finish returns the same error, and nothing gets a name any more.
 *
 * The caller holds STORE_LOCK_PUBLISH, since the files are made in tmp/.
 */
#pragma once

#include <stdint.h>

#include "fs/store/store.h"

struct packwriter;

/* What a finished pack tells: its digest entries, sorted, for the index. */
typedef int packwriter_sealed_fn(void *arg, uint64_t pack,
				 const struct pager_digest_entry *entries,
				 uint64_t count);

/* `sealed` is called for each pack after it has its name; may be NULL. */
int packwriter_new(struct store *s, packwriter_sealed_fn *sealed, void *arg,
		   struct packwriter **ret_writer);

/* Drops what has no name yet. Accepts NULL. */
void packwriter_free(struct packwriter *w);

struct packwriter_block {
	const struct pager_digest *digest;
	const uint8_t *plain;  /* 4096 bytes, for the checksum */
	const uint8_t *stored; /* as encoded */
	uint32_t length;
	enum pager_codec codec;
	enum pager_kind kind;
};

int packwriter_append(struct packwriter *w, const struct packwriter_block *b,
		      uint64_t *ret_block);

/*
 * Blocks of the pack that is being written whose digest is `digest`: up to
 * `max` ids into `ret_blocks`, oldest first; returns how many. No digest
 * has more than PACKWRITER_CHAIN_MAX ids remembered, so that colliding pages
 * cost linear time.
 */
#define PACKWRITER_CHAIN_MAX 8
unsigned int packwriter_find(struct packwriter *w,
			     const struct pager_digest *digest,
			     unsigned int max, uint64_t *ret_blocks);

/* The page and kind of a block of the unfinished pack; else -ENOENT. */
int packwriter_read(struct packwriter *w, uint64_t block, uint8_t *ret_page,
		    uint8_t *ret_kind);

/* Finishes the current pack, if it has a slot. Needed before a commit. */
int packwriter_finish(struct packwriter *w);

/* Bytes of pack files finished so far, tables counted. */
uint64_t packwriter_stored_bytes(const struct packwriter *w);
