/*
 * A finished pack, open for reading: its fd and, once loaded, its slot table.
 *
 * Opening checks header and trailer; loading checks the slot table as a whole
 * (checksum) and each slot (inside the data area, length and codec that fit).
 * A pack is never mapped: a file cut short under us is an error to one
 * reader, never a SIGBUS to all.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/store/numbered.h"
#include "fs/store/source.h"
#include "pager/pack.h"

struct pack;

/* "000000000000002a.pack" */
#define PACK_NAME_MAX NUMBERED_NAME_MAX
void pack_name(uint64_t number, char buf[PACK_NAME_MAX]);

/* The number that a file name of that form carries, else -EINVAL. */
int pack_number_of(const char *name, uint64_t *ret_number);

/*
 * -ENOENT; -EBADMSG with the pack's name and what is wrong: cut short, a
 * foreign store's, another pack's number, hostile lengths; -ENOTSUP newer.
 */
int pack_open(int packs_fd, uint64_t number, const uint8_t store_id[16],
	      struct pack **ret_pack);

/* As pack_open(), of a file that is open; takes `fd` over in any case. */
int pack_open_fd(int fd, uint64_t number, const uint8_t store_id[16],
		 struct pack **ret_pack);
struct pack *pack_ref(struct pack *p);
void pack_unref(struct pack *p); /* accepts NULL */
DEFINE_CLEANUP(pack, struct pack *, pack_unref)

uint64_t pack_number(const struct pack *p);
uint32_t pack_slots(const struct pack *p);
uint64_t pack_digests(const struct pack *p);
uint64_t pack_stored_bytes(const struct pack *p); /* size of the file */

/* Reads and checks the slot table; a second call does nothing. Blocks. */
int pack_load(struct pack *p);

/* Bytes of memory that the slot table takes once loaded. */
size_t pack_table_bytes(const struct pack *p);

/*
 * -EAGAIN before pack_load(), -ENOENT past the last slot or a gone one. The
 * place borrows the pack: its `owner` is `p`, no reference is taken.
 */
int pack_locate(struct pack *p, uint32_t slot, struct block_place *ret_place);

/*
 * Reads `count` entries of the digest table from `first` on, unverified: the
 * caller checks them by pack_check_digests() at the end or compares bytes.
 */
int pack_read_digests(struct pack *p, uint64_t first, uint64_t count,
		      struct pager_digest_entry *ret_entries);

/* Reads the whole digest table against its checksum and its order. */
int pack_check_digests(struct pack *p);
