/*
 * Making packs for tests: good ones through the writer, bad ones by changing
 * a part of a good one and, where a checksum covers the part, that too.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "fs/store/pack/packwriter.h"
#include "fs/store/store.h"

/* Appends scratch_page(seed), or a page as it is. */
int packfile_append(struct packwriter *w, struct store *s, uint64_t seed,
		    uint64_t *ret_block);
int packfile_append_page(struct packwriter *w, struct store *s,
			 const uint8_t *page, enum pager_codec codec,
			 uint64_t *ret_block);

/* One finished pack with scratch_page(first .. first + count - 1). */
uint64_t packfile_make(struct store *s, uint64_t first, unsigned int count);

/* The pages of a pack that packfile_make() made; false where one is wrong. */
bool packfile_holds(struct store *s, uint64_t pack, uint64_t first,
		    unsigned int count);

const char *packfile_path(struct store *s, uint64_t pack);

/* A pack's file in memory, its parts copied out of it. */
struct packfile {
	struct pager_pack_header header;
	uint8_t *data; /* the slots' bytes */
	size_t data_len;
	struct pager_slot *slots;
	size_t slot_count;
	struct pager_digest_entry *digests;
	size_t digest_count;
	struct pager_pack_trailer trailer;
};

void packfile_read(const char *path, struct packfile *ret_file);

/* The parts one behind the other, whatever the trailer says. */
void packfile_write(const char *path, const struct packfile *f);
void packfile_release(struct packfile *f);

/* Makes all checksums of header, tables and trailer match what they cover. */
void packfile_seal(struct packfile *f);
