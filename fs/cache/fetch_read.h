/*
 * Fetching a block with the thread that wants it.
 */
#pragma once

#include <stdint.h>

#include "fs/cache/cache.h"
#include "fs/store/source.h"

/*
 * The blocking side, for mounts, commands and the control thread: the block
 * through the cache into `ret_page`, joining a fill that is under way.
 * `ret_kind` may be NULL. Any thread; one that holds no pin of this cache.
 * Errors as block_source_read() gives them.
 */
int fetch_read(struct cache *cache, const struct block_source *source,
	       uint64_t block, enum cache_class class, uint8_t *ret_page,
	       uint8_t *ret_kind);

/* An error as a result: -EAGAIN, which means "later" to a waiter, is none. */
int fetch_result(int error, uint64_t block);
