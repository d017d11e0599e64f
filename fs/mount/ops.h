/*
 * The mount's answers to the kernel: libfuse's low-level calls over the tree
 * and its open files. Every request gets exactly one reply; every change is
 * refused with EROFS.
 */
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <stdbool.h>

#include "fs/mount/opens.h"
#include "fs/mount/read/gather.h"
#include "fs/mount/tree/tree.h"

/* The session's user data; tree and rdwr_open are set before it runs. */
struct ops_context {
	struct tree *tree;
	struct opens opens;
	/*
	 * Files of snapshots may be opened O_RDWR, for programs that do so
	 * even for a private mapping. Nothing can be written all the same.
	 */
	bool rdwr_open;
};

extern const struct fuse_lowlevel_ops ops_table;

/* Before a thread serves requests: what it reads with. Borrowed. */
void ops_enter_thread(struct gather *g);
