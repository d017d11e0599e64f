/*
 * The packs of a store, by number, opened when first asked for and kept under
 * two bounds: open files and bytes of slot tables. It is the store's
 * block_source. Any thread; a pack in use is pinned by its reference.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/store/source.h"

struct packset;
struct pack;

struct packset_limits {
	size_t table_bytes; /* of loaded slot tables; default 64 MiB */
	unsigned int files; /* open at a time; default 512 */
};

/* Borrows `packs_fd` and `store_id` for its life. */
int packset_new(int packs_fd, const uint8_t *store_id,
		const struct packset_limits *limits, struct packset **ret_set);
void packset_free(struct packset *set);

/* A loaded pack, referenced for the caller. May block. */
int packset_get(struct packset *set, uint64_t number, struct pack **ret_pack);

/* The next to ask for it opens its file anew, which may be another by now. */
void packset_forget(struct packset *set, uint64_t number);

/* The calls of struct block_source_ops; ctx is the packset. */
extern const struct block_source_ops packset_source_ops;
