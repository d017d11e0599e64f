/* Folders of the store: listing them, and opening what only we may write. */
#pragma once

/*
 * Calls `fn` for each name in `name` below `at` ("." for `at` itself), "."
 * and ".." left out, in no order. `fn` may unlink what it is told of; a
 * result that is not 0 ends the listing and is returned. Else 0 or -errno.
 */
typedef int folder_name_fn(void *arg, const char *name);
int folder_list(int at, const char *name, folder_name_fn *fn, void *arg);

/*
 * Opens the folder `name` below `at`, no symlink: its fd, or -errno. -EPERM:
 * it is somebody else's, not root's or ours, or others may write to it.
 */
int folder_open_private(int at, const char *name);
