/*
 * The pack: an append-only file of compressed blocks. See FORMAT.md for the
 * rules; this is the layout.
 *
 *   header      64 bytes
 *   slots       back to back, each compressed by itself
 *   slot table  slots x 16 bytes, in slot order
 *   digests     digests x 24 bytes, sorted by digest, then by block
 *   trailer     80 bytes, the end of the file
 */
#pragma once

#include <stdint.h>

#include "pager/block.h"

#define PAGER_PACK_MAGIC	 "PAGRPACK"
#define PAGER_PACK_TRAILER_MAGIC "PAGRPEND"
#define PAGER_PACK_VERSION	 1

/* Slots end below this; the tables come behind. */
#define PAGER_PACK_DATA_MAX  (UINT64_C(256) << 20)
#define PAGER_PACK_SLOTS_MAX (UINT32_C(1) << 20)

struct pager_pack_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t reserved0;
	uint64_t pack;	      /* its own number */
	uint8_t store[16];    /* the store's id */
	uint64_t reserved[2]; /* zero */
	uint64_t checksum;    /* XXH3-64 of the 56 bytes before */
};

enum pager_codec {
	PAGER_CODEC_RAW = 0, /* length is 4096 */
	PAGER_CODEC_ZSTD = 1,
	PAGER_CODEC_LZ4 = 2,
	PAGER_CODEC_GONE = 255, /* reclaimed: no bytes, never read */
};

struct pager_slot {
	uint32_t offset; /* from the start of the file */
	uint16_t length; /* stored bytes, 1..4096; 0 only where gone */
	uint8_t codec;	 /* enum pager_codec */
	uint8_t kind;	 /* enum pager_kind */
	/* XXH3-64 of the 4096 plain bytes, seeded with the block id. */
	uint64_t checksum;
};

/* An entry of a pack's digest table, and of an index run. */
struct pager_digest_entry {
	struct pager_digest digest;
	uint64_t block;
};

struct pager_pack_trailer {
	uint8_t magic[8];
	uint32_t version;
	uint32_t slots;
	uint64_t pack;
	uint64_t slot_table;	  /* offset */
	uint64_t digest_table;	  /* offset: slot_table + slots * 16 */
	uint64_t digests;	  /* entries; at most slots */
	uint64_t slot_checksum;	  /* XXH3-64 of the slot table */
	uint64_t digest_checksum; /* XXH3-64 of the digest table */
	uint64_t reserved;	  /* zero */
	uint64_t checksum;	  /* XXH3-64 of the 72 bytes before */
};

_Static_assert(sizeof(struct pager_pack_header) == 64, "layout");
_Static_assert(sizeof(struct pager_slot) == 16, "layout");
_Static_assert(sizeof(struct pager_digest_entry) == 24, "layout");
_Static_assert(sizeof(struct pager_pack_trailer) == 80, "layout");
