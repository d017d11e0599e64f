/*
 * The store's superblock: the file `format` in its top folder, 512 bytes,
 * written once by init and never changed. Mode 0600: it holds the secret.
 */
#pragma once

#include <stdint.h>

#include "pager/block.h"

#define PAGER_STORE_MAGIC   "PAGRSTOR"
#define PAGER_STORE_VERSION 1

struct pager_superblock {
	uint8_t magic[8];
	uint32_t version;
	uint32_t reserved0;
	uint8_t store[16];		   /* random */
	uint64_t created;		   /* seconds since 1970 */
	uint8_t secret[PAGER_SECRET_SIZE]; /* random: keys the digests */
	uint8_t reserved[272];		   /* zero */
	uint64_t checksum;		   /* XXH3-64 of the 504 bytes before */
};

/*
 * The file `sequence`, 16 bytes, rewritten in place: the number of the next
 * pack. A reader that cannot trust it makes it again from the packs.
 */
struct pager_sequence {
	uint64_t next;
	uint64_t checksum; /* XXH3-64 of `next`, seeded with PAGER_SEQUENCE_SEED
			    */
};

/* A seed, so that 16 zero bytes are no counter. */
#define PAGER_SEQUENCE_SEED UINT64_C(0x5041475253455131)

_Static_assert(sizeof(struct pager_sequence) == 16, "layout");
_Static_assert(sizeof(struct pager_superblock) == 512, "layout");
