/*
 * Another copy of a block whose bytes are lost.
 *
 * The store keeps a content once, but for this: a publish that meets a
 * damaged block stores the content anew. Then the pack's own digest table
 * still tells the digest of what was lost, and packfind.h the other slots
 * that have it.
 *
 * There are no bytes to compare with. A copy is taken where it has the same
 * kind, and its bytes have the digest (128 bits, keyed with the store's
 * secret) and the checksum of the lost slot (64 bits, seeded with its id):
 * more than what a read of the slot itself would be checked by. Where the
 * pack's tables are lost too, or the whole pack, nothing is looked for: to
 * find a digest by its block the whole index would have to be read, at every
 * such fault.
 *
 * Blocks for as long as the packs take: some 20 us each.
 */
#pragma once

#include <stdint.h>

#include "fs/store/store.h"

/* -ENOENT: there is none. Others: the lost block's tables cannot be read. */
int copies_find(struct store *s, uint64_t block, uint64_t *ret_copy);
