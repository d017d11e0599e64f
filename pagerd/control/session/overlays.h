/*
 * The "overlays" of a request: a list of {"offset", and "data_base64" or
 * "path"}, as bytes in memory. A path is read by the daemon, with its rights,
 * and only below the folders that its operator allows.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "fs/io/confine.h"
#include "pagerd/uffd/memory/overlay.h"

struct overlays {
	struct overlay_piece *pieces; /* own their data */
	size_t count;
};

/*
 * `list` is an array, or NULL: none. -EINVAL with the reason for the client:
 * not of that form, more than OVERLAY_PIECES_MAX or OVERLAY_BYTES_MAX, a path
 * that is no absolute one of a regular file that can be read; -EXDEV: one that
 * is not allowed; -ENOMEM.
 */
int overlays_read(const json_t *list, const struct confine *allowed,
		  struct overlays *ret_overlays);
void overlays_release(struct overlays *o);
