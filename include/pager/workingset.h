/*
 * A working set: the pages that a restored VM touched first, in their order.
 * One file an image, `working-sets/IMAGE_DIGEST` with the digest in
 * lower-case hex. It is a hint, no part of any snapshot: it may be lost or
 * removed at any time, and is recorded again.
 *
 *   header   72 bytes
 *   entries  count x 16, in the order of the touches, no page twice
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PAGER_WORKINGSET_MAGIC	 "PAGRWSET"
#define PAGER_WORKINGSET_VERSION 1

/* Limits that a reader enforces. */
#define PAGER_WORKINGSET_ENTRIES_MAX (1u << 20)
#define PAGER_WORKINGSET_SCORE_MAX   255u

struct pager_workingset_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t count; /* entries, at least 1 */
	uint8_t store[16];
	uint8_t image_digest[16];
	uint64_t pages;		 /* of the image */
	uint64_t entries_digest; /* XXH3-64 of the entries */
	uint64_t checksum;	 /* XXH3-64 of the 64 bytes before */
};

struct pager_workingset_entry {
	uint64_t page;	    /* of the image, below `pages` */
	uint32_t score;	    /* 1..255: how regularly it was touched */
	uint32_t reserved0; /* zero */
};

_Static_assert(sizeof(struct pager_workingset_header) == 72, "layout");
_Static_assert(offsetof(struct pager_workingset_header, checksum) == 64,
	       "layout");
_Static_assert(sizeof(struct pager_workingset_entry) == 16, "layout");
