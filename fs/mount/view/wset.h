/*
 * The text `working-set` of a snapshot: the pages that restores touched first,
 * a page number a line, in the order in which they are installed ahead of a
 * guest. It belongs to the image, so snapshots of equal images show the same.
 *
 * A working set comes, changes and goes while the snapshot stays, so its text
 * is known by a hash: another text is another node (tree.h). One that nobody
 * recorded is no file. Nothing leases it.
 *
 * All calls are safe from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "fs/mount/view/snaps.h"

struct wset {
	char *text; /* the caller frees; no NUL */
	size_t len;
	uint64_t hash;
	struct timespec recorded;
};

/* -ENOENT: none; -EBADMSG, -ENOTSUP: damaged or newer; -EIO and the like. */
int wset_read(const struct view *v, const struct snap *snap,
	      struct wset *ret_wset);

/* Whether there is one, by a look at its name alone. */
bool wset_exists(const struct view *v, const struct snap *snap);
