/*
 * Opening the files that a client names, within folders that the operator has
 * chosen, whatever the client writes and whoever moves things meanwhile.
 *
 * A path must begin with one of the folders as it was given, or as it resolves
 * to. The rest is resolved below that folder by openat2(2), RESOLVE_BENEATH
 * and RESOLVE_NO_MAGICLINKS: "..", symbolic links that lead out, and
 * /proc/PID/fd do not get past it. Where the kernel has no openat2 (before
 * 5.6, or a seccomp filter around us) the path is walked name by name, and no
 * symbolic link and no ".." is followed at all.
 *
 * What is found is looked at before it is opened, so that no fifo blocks and
 * no device notices, and the very file that was looked at is then opened.
 * Hard links are beyond this: who may make them in such a folder is for
 * fs.protected_hardlinks to say.
 *
 * Immutable once made: all calls are safe from any thread.
 */
#pragma once

#include <stddef.h>

#include "fs/base/cleanup.h"

struct confine;

/*
 * Opens the folders; none is possible, and then nothing may be opened. -ENOENT
 * and so on with the folder's name, -ENOMEM.
 */
int confine_new(const char *const *folders, size_t count,
		struct confine **ret_confine);
void confine_free(struct confine *c); /* accepts NULL */
DEFINE_CLEANUP(confine, struct confine *, confine_free)

/*
 * A regular file for reading; the fd is the caller's. -EXDEV: the path is
 * below none of the folders, or leads out of it; -EINVAL: no absolute path, or
 * no regular file; else what opening it gave. All with a line.
 */
int confine_open(const struct confine *c, const char *path, int *ret_fd);

/*
 * Any file anywhere as a place (O_PATH), to be looked at and not to be read;
 * through no /proc/PID/fd. -EINVAL: no absolute path; else as above.
 */
int confine_look(const char *path, int *ret_fd);
