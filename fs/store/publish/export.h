/*
 * Export: a snapshot's file, byte for byte, as a sparse file of mode 0600.
 * Written to a temporary name beside the target, synced and renamed, so a
 * failed or interrupted export leaves nothing; "-" or a pipe or device is
 * written as it is, zeros included. Checks every block; damage ends it with
 * -EBADMSG.
 */
#pragma once

#include "fs/store/snapshot/snapshot.h"

struct export_options {
	const char *key;  /* "memory", "vmstate" ... */
	const char *path; /* replaced if it is a regular file; "-": stdout */

	/* Called from one thread at a time, now and then; may be NULL. */
	void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
	void *progress_arg;

	/* Set by another thread or a signal handler to stop; may be NULL. */
	const volatile int *cancelled;
};

/*
 * -ENOENT no file of that key, -EISDIR, -ECANCELED, -EBADMSG, or what writing
 * says: -ENOSPC, -EPIPE ...
 */
int export_file(struct snapshot *snap, const struct export_options *options);
