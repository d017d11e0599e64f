/*
 * A session's private bytes in RUNTIME/sessions/ID.overlay, for the daemon
 * after us: without them its pages would be the image's. Written once, before
 * the journal that says that they are there. pager/RUNTIME.md gives its bytes.
 */
#pragma once

#include "pagerd/uffd/memory/overlay.h"

#define OVERLAYFILE_SUFFIX ".overlay"

/* Makes or replaces the file. -ENOSPC, -EIO, -ENOMEM. */
int overlayfile_write(const char *path, const struct overlay *o);

/* -EBADMSG: not whole, or not for an image of that size; -ENOENT, -ENOMEM. */
int overlayfile_read(const char *path, uint64_t image_size,
		     struct overlay **ret_overlay);

/* The same of a file's bytes; -EINVAL, too, where they are not for it. */
int overlayfile_decode(const uint8_t *file, size_t len, uint64_t image_size,
		       struct overlay **ret_overlay);
