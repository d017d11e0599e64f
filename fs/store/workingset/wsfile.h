/*
 * The working sets of a store: the folder `working-sets`, which is made when
 * the first one is written. They are hints: a store that cannot be written
 * has none, a damaged one is as good as none, and any may be removed.
 *
 * Safe from any thread; all calls block.
 */
#pragma once

#include <sys/stat.h>

#include "fs/store/store.h"
#include "fs/store/workingset/workingset.h"

#define WSFILE_FOLDER "working-sets"

/*
 * The working set of an image of `pages` pages. -ENOENT: none was recorded;
 * else what workingset_decode() says, -EPERM where somebody else may write to
 * the folder, -EIO.
 */
int wsfile_load(struct store *s, const struct pager_digest *image,
		uint64_t pages, struct workingset *ret_set);

/* Of its file; -ENOENT, -EPERM as above. */
int wsfile_stat(struct store *s, const struct pager_digest *image,
		struct stat *ret_stat);

/*
 * Writes one in place of the one that was there: readers see the old or the
 * new, a crash leaves either. Also on a store that was opened with STORE_READ.
 * -EBUSY: another process is writing it right now; -EROFS, -EACCES, -ENOSPC.
 */
int wsfile_save(struct store *s, const struct workingset *w);
