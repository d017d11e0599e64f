/*
 * A mounted store: a FUSE session over the tree, with threads of its own, for
 * pagerfs and for the daemon.
 *
 *   mount_new()    mounts, but nothing answers yet: nobody may touch the
 *                  mount point before
 *   mount_start()  starts the threads
 *   mount_ended_fd()  readable once the mount has ended by itself, because
 *                  somebody has unmounted it
 *   mount_detach() takes it off its path, without waiting for anybody
 *   mount_free()   stops the threads and unmounts; files that are open in it
 *                  give their users ENOTCONN from then on
 *
 * These calls belong to one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "fs/mount/tree/tree.h"

struct mount;

struct mount_options {
	struct view view; /* copied; what it points at is borrowed */
	struct tree_status status;
	const char *path;     /* the mount point, a folder */
	unsigned int threads; /* 0: as many as processors, but 4 to 8 */
	/*
	 * Of the threads, added to the process's: scans of the mount give way
	 * to whatever else the process does.
	 */
	int nice;
	size_t readahead; /* bytes; 0: the kernel's. Needs root to be more */
	/*
	 * Files open at the same time; one more is ENFILE. Each takes a
	 * descriptor of ours. 0: as many as there may be.
	 */
	unsigned int most_open;
	bool allow_other; /* other users too, as far as modes let them */
	bool rdwr_open;	  /* see ops.h */
	uid_t uid;	  /* owner of everything */
	gid_t gid;
};

/*
 * -ENOENT, -ENOTDIR: no such folder; -EBUSY: a store is mounted there, and
 * somebody answers; -EPERM, -EACCES and whatever mounting gave, with a line
 * that says what. A mount of ours there whose process has
 * died is taken away first, as far as we may (root).
 */
int mount_new(const struct mount_options *options, struct mount **ret_mount);
int mount_start(struct mount *m);
int mount_ended_fd(const struct mount *m);

/*
 * To be called when mount_ended_fd() is readable: whether every thread has
 * ended by now, so that mount_free() waits for none of them.
 */
bool mount_is_over(struct mount *m);

/*
 * Nobody finds it at its path any more. What is open in it works on, until
 * mount_free() or the end of the process.
 */
void mount_detach(struct mount *m);
void mount_free(struct mount *m); /* accepts NULL */
