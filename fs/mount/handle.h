/*
 * An open file of the tree, whatever its kind. Any number of threads read it
 * at once. An open file of a snapshot leases the snapshot.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/mount/read/gather.h"
#include "fs/mount/tree/tree.h"

struct handle;

/*
 * -EISDIR for a folder and -ELOOP for a symlink; else what image_open() or
 * reading the store gave.
 */
int handle_open(struct tree *t, const struct node *n,
		struct handle **ret_handle);
void handle_close(struct handle *h); /* accepts NULL */
DEFINE_CLEANUP(handle, struct handle *, handle_close)

/* Its size and bytes are not those of the last open: not to be cached. */
bool handle_is_live(const struct handle *h);

/* As image_read(); the bytes are valid until the gather's next use. */
int handle_read(const struct handle *h, struct gather *g, uint64_t offset,
		size_t size, const uint8_t **ret_data, size_t *ret_len);

/* `whence` is SEEK_DATA or SEEK_HOLE; -ENXIO as image_seek_data() has it. */
int handle_seek(const struct handle *h, int whence, uint64_t offset,
		uint64_t *ret_offset);

/* True for the first caller: a failing file is told of once. */
bool handle_tell_failure(struct handle *h);
