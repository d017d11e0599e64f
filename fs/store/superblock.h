/*
 * The bytes of the store's file `format`, made and checked. See
 * pager/superblock.h for the layout and FORMAT.md for the rules.
 */
#pragma once

#include <stddef.h>

#include "pager/superblock.h"

/* Fills magic, version and checksum; store, created, secret are set. */
void superblock_seal(struct pager_superblock *sb);

/*
 * Checks the `len` bytes of a `format` file, which may be hostile. `path`
 * names the store in the error's line. -EMEDIUMTYPE: not ours at all;
 * -ENOTSUP: newer than this program; -EBADMSG: damaged.
 */
int superblock_decode(const char *path, const uint8_t *bytes, size_t len,
		      struct pager_superblock *ret_sb);
