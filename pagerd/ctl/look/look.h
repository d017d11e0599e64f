/*
 * The commands that look into snapshots by their page tables. They read the
 * store themselves, with or without a daemon. Each returns the exit status.
 */
#pragma once

#include <stdint.h>

struct invocation;

int look_diff(const struct invocation *inv);
int look_map(const struct invocation *inv);

/*
 * For both: a pagetable_read_fn whose `arg` is the store's block source. A
 * missing pack or slot is damage, not a snapshot that is not found.
 */
int look_read_node(void *arg, uint64_t block, uint8_t *ret_page,
		   uint8_t *ret_kind);
