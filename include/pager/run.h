/*
 * The index run: sorted digest entries of one or more packs, mapped by
 * publishers. Runs can always be made again from the packs.
 *
 *   header   4096 bytes
 *   packs    packs x u64, ascending, then zeros up to a multiple of 4096
 *   fan-out  65537 x u64: entries whose digest's first two bytes are below
 *            the index, zeros up to a multiple of 4096
 *   entries  entries x 24 bytes, sorted by digest, then by block
 */
#pragma once

#include <stdint.h>

#include "pager/pack.h"

#define PAGER_RUN_MAGIC	  "PAGRINDX"
#define PAGER_RUN_VERSION 1
#define PAGER_RUN_FANOUT  65537u

struct pager_run_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t reserved0;
	uint8_t store[16];
	uint64_t packs;	  /* how many packs it covers */
	uint64_t entries; /* how many entries */
	/* XXH3-64 of packs and fan-out; the entries are hints, unverified. */
	uint64_t tables_checksum;
	uint64_t checksum; /* XXH3-64 of the 56 bytes before */
};

_Static_assert(sizeof(struct pager_run_header) == 64, "layout");
