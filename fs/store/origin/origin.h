/*
 * Origins: which file a snapshot's image was read from, so that a file that
 * has not changed since is known to be published. FORMAT.md gives the rule.
 *
 * A publisher takes the origin before it reads, waits for origin_settle(), and
 * takes it again when it has read all: where the two are equal it stands for
 * what was read.
 */
#pragma once

#include <stdbool.h>

#include "fs/store/snapshot/manifest.h"
#include "fs/store/store.h"

/*
 * Of an open file (O_PATH will do). -EINVAL: no regular one, or of numbers
 * that have no place in a manifest; else what fstat(2) says.
 */
int origin_of(int fd, struct manifest_origin *ret_origin);

bool origin_equal(const struct manifest_origin *a,
		  const struct manifest_origin *b);

/*
 * Waits, 20 ms at most, until a change of the file is certain to show in its
 * mtime. False: it never will be, as the mtime lies in the future.
 */
bool origin_settle(const struct manifest_origin *o);

/*
 * A snapshot with that origin; its name. -ENOENT: none has it. Opens one
 * manifest after the other, and passes over those that cannot be read.
 */
int origin_find(struct store *s, const struct manifest_origin *o,
		char ret_name[PAGER_NAME_MAX + 1]);
