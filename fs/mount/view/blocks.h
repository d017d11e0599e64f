/*
 * Blocks by their digest, for blocks/ of the mount. A digest names no block
 * for certain: where several blocks have it, the one in the oldest pack is
 * shown. What is shown has the digest, for its bytes are checked against it.
 * Nothing leases a block: one that no snapshot needs may be gone at the next
 * garbage collection.
 *
 * The packs' own digest tables are asked, each by a search on disk, and not
 * the index: that needs no write access, cannot be out of date, and maps
 * nothing that could be cut short under us. It costs some 20 us a pack.
 *
 * All calls are safe from any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/mount/view/view.h"
#include "pager/block.h"

/* -ENOENT; -EBADMSG, -EIO where what was found cannot be read. */
int blocks_find(const struct view *v, const struct pager_digest *digest,
		uint64_t *ret_block);

/*
 * All digests that begin with that byte, sorted, each once; damaged packs are
 * left out. The caller frees.
 */
int blocks_list(const struct view *v, uint8_t first,
		struct pager_digest **ret_digests, size_t *ret_count);
