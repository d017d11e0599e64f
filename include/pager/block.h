/*
 * Blocks: the distinct 4 KiB contents of a store, and what names them.
 *
 * A block id says where the block is: pack number and slot. It is the block's
 * identity and never changes. 0 is the zero page, or a zero subtree, of which
 * nothing is stored. A digest only finds candidates: bytes decide.
 *
 * Numbers on disk are little-endian everywhere, and the structs of these
 * headers are read and written as they stand in memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* userfaultfd's users are little-endian; a port to others converts. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "on-disk order");

#define PAGER_PAGE_SIZE 4096u

#define PAGER_SLOT_BITS 24
#define PAGER_SLOT_MASK ((UINT64_C(1) << PAGER_SLOT_BITS) - 1)

/* Pack numbers run from 1 and are never used twice in a store. */
#define PAGER_PACK_NUMBER_MAX ((UINT64_C(1) << 39) - 1)

/* Block ids therefore stay below 2^63 and fit a JSON integer. */
static inline uint64_t pager_block_id(uint64_t pack, uint32_t slot)
{
	return pack << PAGER_SLOT_BITS | slot;
}

static inline uint64_t pager_block_pack(uint64_t block)
{
	return block >> PAGER_SLOT_BITS;
}

static inline uint32_t pager_block_slot(uint64_t block)
{
	return (uint32_t)(block & PAGER_SLOT_MASK);
}

/*
 * What a block is: a page, or a page-table node of a level. Pages and nodes
 * never share a block, and nor do nodes of two levels, so that a table
 * which points at the wrong thing is refused by kind and cannot loop.
 */
enum pager_kind {
	PAGER_KIND_PAGE = 0,
	PAGER_KIND_NODE_1 = 1, /* a leaf node: its entries are pages */
	PAGER_KIND_NODE_MAX = 5,
};

/*
 * XXH3-128 of the 4096 bytes with the store's 192-byte secret, in canonical
 * (big-endian) form, with the kind XORed into the last byte.
 */
#define PAGER_DIGEST_SIZE 16
#define PAGER_SECRET_SIZE 192

struct pager_digest {
	uint8_t bytes[PAGER_DIGEST_SIZE];
};
