/*
 * The counter of packs: the file `sequence` (pager/superblock.h). The caller
 * holds STORE_LOCK_SEQUENCE.
 */
#pragma once

#include <stdint.h>

#define SEQUENCE_FILE_NAME "sequence"

/* Sets the next number, durably. */
int sequence_write(int top_fd, uint64_t next);

/*
 * Draws the next number, which no pack ever had; durable before it returns.
 * -EOVERFLOW past the last.
 */
int sequence_draw(int top_fd, int packs_fd, uint64_t *ret_pack);
