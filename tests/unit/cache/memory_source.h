/*
 * Blocks for tests, from a memfd behind block_source_ops. Block content is
 * derived from the id, so any page can be checked without keeping it, and is
 * stored raw. Faults are set per block or for all, and everything that is
 * called is counted.
 *
 * Ids: memory_source_block(n), n counting from 0, MEMORY_PACK_SLOTS to a
 * pack. Any thread, but for making and freeing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/store/source.h"

#define MEMORY_PACK_SLOTS 64

enum memory_fault {
	MEMORY_OK,
	MEMORY_ABSENT,	   /* locate: -ENOENT */
	MEMORY_DAMAGED,	   /* locate: -EBADMSG */
	MEMORY_UNREADABLE, /* the read fails with -EBADF */
	MEMORY_TRUNCATED,  /* the file ends inside the block */
	MEMORY_FLIPPED,	   /* one bit is wrong when it is decoded */
	/*
	 * The read does not end before memory_source_let_go(): by the
	 * asynchronous path only, as it reads a pipe then.
	 */
	MEMORY_STUCK,
};

struct memory_source;

struct memory_source *memory_source_new(uint32_t blocks);
void memory_source_free(struct memory_source *m);
const struct block_source *memory_source_ops(struct memory_source *m);

uint64_t memory_source_block(uint32_t n);

/* The bytes of a block, and its kind. */
void memory_source_content(uint64_t block, uint8_t *ret_page);
uint8_t memory_source_kind(uint64_t block);
bool memory_source_is_content(uint64_t block, const uint8_t *page);

/* The next `times` tries of the block meet the fault. */
void memory_source_fault(struct memory_source *m, uint64_t block,
			 enum memory_fault fault, uint32_t times);

/* Ends the read of the one block that is stuck. */
void memory_source_let_go(struct memory_source *m, uint64_t block);

/*
 * From now on locate says -EAGAIN until the block's pack is prepared, and
 * prepare fails with `error` where that is not 0.
 */
void memory_source_need_prepare(struct memory_source *m, int error);

/* While the gate is shut prepare does not return. */
void memory_source_shut_gate(struct memory_source *m);
void memory_source_open_gate(struct memory_source *m);

/* Calls since the start. Each decode is one finished read. */
uint64_t memory_source_decodes(struct memory_source *m);
uint64_t memory_source_prepares(struct memory_source *m);
/* Places that were located and not released. */
uint64_t memory_source_places(struct memory_source *m);
