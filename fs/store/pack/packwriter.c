/*
 * The pack that is being written, in memory: its slot table, the digest of
 * each slot, a hash of those, and the slots' bytes that are not yet in the
 * file. A full pack of 2^20 slots costs 40 MiB here and 48 MiB more while its
 * digests are sorted; one of 256 MiB at the usual 1.3 KiB a slot, a fifth.
 *
 * Who may touch what: the appending thread alone changes the current pack, so
 * it reads without the lock; it takes the lock to change what other threads
 * read (the tables, the buffer, the descriptor). No disk write or sync
 * happens under the lock. Sealing changes nothing that readers see until the
 * pack has its name and its index run; then one step forgets it all.
 *
 * Slots go through a buffer of BUFFER_SIZE. The kernel is asked to start
 * writing each full buffer at once, so that the disk works while the next
 * pages are compressed and the fdatasync at the end finds little to do.
 *
 * The hash remembers no more than PACKWRITER_CHAIN_MAX slots of one digest: a
 * guest that fills its memory with colliding pages costs a few compares a
 * page, and loses sharing only among those pages. What is not remembered is
 * not in the pack's digest table either.
 */
#include "fs/store/pack/packwriter.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/io/file.h"
#include "fs/store/pack/digests.h"
#include "fs/store/pack/pack.h"
#include "fs/store/pack/packset.h"

#define BUFFER_SIZE    ((size_t)1 << 20)
#define SLOTS_AT_FIRST 1024u

/* Links of the hash are slot + 1; 0 ends a chain. */
#define NO_LINK	    0u
#define NOT_IN_HASH UINT32_MAX

struct packwriter {
	/* Constant. */
	struct store *store;
	packwriter_sealed_fn *sealed;
	void *arg;
	uint8_t *buffer; /* BUFFER_SIZE */

	/* The appending thread's own. */
	int error; /* sticky; 0 while all is well */
	char error_text[ERR_TEXT_MAX];
	char temp[FILE_TEMP_NAME_MAX];
	uint32_t remembered;	       /* slots that the hash knows */
	_Atomic uint64_t stored_bytes; /* counter: read by any */

	struct lock lock;
	/* Changed by the appending thread under the lock. */
	int fd;		  /* -1: no pack is begun */
	uint64_t pack;	  /* its number */
	uint64_t end;	  /* offset of the next slot */
	uint64_t flushed; /* offset up to which the file has the bytes */
	uint32_t slots;
	uint32_t room; /* of the next three arrays; a power of two */
	struct pager_slot *table;
	struct pager_digest *digests;
	uint32_t *links; /* of slot: the next of its chain */
	uint32_t *heads; /* `room` chains */
};

int packwriter_new(struct store *s, packwriter_sealed_fn *sealed, void *arg,
		   struct packwriter **ret_writer)
{
	struct packwriter *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->buffer = malloc(BUFFER_SIZE);
	if (!w->buffer) {
		free(w);
		return -ENOMEM;
	}
	lock_init(&w->lock, "packwriter");
	w->store = store_ref(s);
	w->sealed = sealed;
	w->arg = arg;
	w->fd = -1;
	*ret_writer = w;
	return 0;
}

static void drop_file(struct packwriter *w)
{
	if (w->fd < 0)
		return;
	/* A sweep removes what cannot be removed now. */
	(void)unlinkat(store_folder_fd(w->store, STORE_TMP), w->temp, 0);
	close_quietly(steal_fd(w->fd));
}

void packwriter_free(struct packwriter *w)
{
	if (!w)
		return;
	drop_file(w);
	lock_release(&w->lock);
	store_unref(w->store);
	free(w->buffer);
	free(w->table);
	free(w->digests);
	free(w->links);
	free(w->heads);
	free(w);
}

/* Notes the first failure, for good. */
static int fail(struct packwriter *w, int code, const char *what)
{
	w->error = err_set(code, "pack %016" PRIx64 ": cannot %s: %s", w->pack,
			   what, strerror(-code));
	err_copy(code, w->error_text);
	return code;
}

/* There is no number to tell yet; `code` may have words of its own. */
static int fail_to_begin(struct packwriter *w, int code)
{
	w->error = err_wrap(code, "cannot begin a pack");
	err_copy(code, w->error_text);
	return code;
}

static int failed_before(const struct packwriter *w)
{
	return err_restore(w->error, w->error_text);
}

/* -- the hash of digests ------------------------------------------------- */

static uint32_t *chain_of(const struct packwriter *w,
			  const struct pager_digest *d)
{
	uint64_t key;

	memcpy(&key, d->bytes, sizeof(key));
	return &w->heads[key & (w->room - 1)];
}

static bool same_digest(const struct pager_digest *a,
			const struct pager_digest *b)
{
	return memcmp(a->bytes, b->bytes, PAGER_DIGEST_SIZE) == 0;
}

/* Puts `slot` at its chain's end: find then answers with the oldest first. */
static void remember(struct packwriter *w, uint32_t slot)
{
	uint32_t *at = chain_of(w, &w->digests[slot]);
	unsigned int same = 0;

	for (; *at != NO_LINK; at = &w->links[*at - 1])
		if (same_digest(&w->digests[*at - 1], &w->digests[slot]))
			same++;
	if (same >= PACKWRITER_CHAIN_MAX) {
		w->links[slot] = NOT_IN_HASH;
		return;
	}
	w->links[slot] = NO_LINK;
	*at = slot + 1;
	w->remembered++;
}

static void remember_again(struct packwriter *w)
{
	memset(w->heads, 0, w->room * sizeof(*w->heads));
	w->remembered = 0;
	for (uint32_t i = 0; i < w->slots; i++)
		remember(w, i);
}

static int grow_array(void *array, size_t count, size_t size)
{
	void **p = array, *grown = reallocarray(*p, count, size);

	if (!grown)
		return -ENOMEM;
	*p = grown;
	return 0;
}

/* Arrays that have grown when a later one cannot stay so: `room` decides. */
static int grow(struct packwriter *w)
{
	uint32_t room = w->room ? w->room * 2 : SLOTS_AT_FIRST;
	int r;

	LOCK_GUARD(&w->lock);
	r = grow_array(&w->table, room, sizeof(*w->table));
	if (r == 0)
		r = grow_array(&w->digests, room, sizeof(*w->digests));
	if (r == 0)
		r = grow_array(&w->links, room, sizeof(*w->links));
	if (r == 0)
		r = grow_array(&w->heads, room, sizeof(*w->heads));
	if (r < 0)
		return r;
	w->room = room;
	remember_again(w);
	return 0;
}

unsigned int packwriter_find(struct packwriter *w,
			     const struct pager_digest *digest,
			     unsigned int max, uint64_t *ret_blocks)
{
	unsigned int found = 0;

	LOCK_GUARD(&w->lock);
	if (w->slots == 0)
		return 0;
	for (uint32_t at = *chain_of(w, digest); at != NO_LINK && found < max;
	     at = w->links[at - 1])
		if (same_digest(&w->digests[at - 1], digest))
			ret_blocks[found++] = pager_block_id(w->pack, at - 1);
	return found;
}

/* -- appending ----------------------------------------------------------- */

static int create_file(struct packwriter *w)
{
	int r = inject_pass(INJECT_PACK_CREATE, NULL);

	if (r < 0)
		return r;
	return file_create_temp(store_folder_fd(w->store, STORE_TMP), "pack",
				w->temp);
}

static int begin(struct packwriter *w)
{
	struct pager_pack_header h = {
		.magic = PAGER_PACK_MAGIC,
		.version = PAGER_PACK_VERSION,
	};
	uint64_t number;
	int fd, r;

	err_clear(); /* an older line is not about what fails here */
	r = store_next_pack(w->store, &number);
	if (r < 0)
		return r;
	fd = create_file(w);
	if (fd < 0)
		return fd;
	memcpy(h.store, store_id(w->store), sizeof(h.store));
	h.pack = number;
	h.checksum =
		XXH3_64bits(&h, offsetof(struct pager_pack_header, checksum));
	memcpy(w->buffer, &h, sizeof(h));
	LOCK_GUARD(&w->lock);
	w->fd = fd;
	w->pack = number;
	w->flushed = 0;
	w->end = sizeof(h);
	return 0;
}

/* Readers may look at the buffer meanwhile: it is only read here. */
static int flush(struct packwriter *w)
{
	size_t len = (size_t)(w->end - w->flushed);
	int r = file_pwrite(w->fd, w->buffer, len, w->flushed,
			    INJECT_PACK_WRITE);

	if (r < 0)
		return r;
	/* A hint to start early: fdatasync is what counts, and tells errors. */
	(void)sync_file_range(w->fd, (off_t)w->flushed, (off_t)len,
			      SYNC_FILE_RANGE_WRITE);
	LOCK_GUARD(&w->lock);
	w->flushed = w->end;
	return 0;
}

static bool is_full(const struct packwriter *w, uint32_t length)
{
	return w->slots == PAGER_PACK_SLOTS_MAX ||
	       w->end + length > PAGER_PACK_DATA_MAX;
}

/* Makes sure that a pack is begun and has room for `length` bytes more. */
static int make_room(struct packwriter *w, uint32_t length)
{
	int r;

	if (w->fd >= 0 && is_full(w, length)) {
		r = packwriter_finish(w);
		if (r < 0)
			return r;
	}
	if (w->fd < 0) {
		r = begin(w);
		if (r < 0)
			return fail_to_begin(w, r);
	}
	if (w->end - w->flushed + length > BUFFER_SIZE) {
		r = flush(w);
		if (r < 0)
			return fail(w, r, "write it");
	}
	if (w->slots == w->room) {
		r = grow(w);
		if (r < 0)
			return fail(w, r, "go on with it");
	}
	return 0;
}

static void add_slot(struct packwriter *w, const struct packwriter_block *b,
		     uint64_t checksum)
{
	LOCK_GUARD(&w->lock);
	w->table[w->slots] = (struct pager_slot){
		.offset = (uint32_t)w->end,
		.length = (uint16_t)b->length,
		.codec = (uint8_t)b->codec,
		.kind = (uint8_t)b->kind,
		.checksum = checksum,
	};
	memcpy(w->buffer + (w->end - w->flushed), b->stored, b->length);
	w->digests[w->slots] = *b->digest;
	remember(w, w->slots);
	w->end += b->length;
	w->slots++;
}

int packwriter_append(struct packwriter *w, const struct packwriter_block *b,
		      uint64_t *ret_block)
{
	uint64_t block;
	int r;

	assert(b->length && b->length <= PAGER_PAGE_SIZE);
	if (w->error)
		return failed_before(w);
	r = make_room(w, b->length);
	if (r < 0)
		return r;
	block = pager_block_id(w->pack, w->slots);
	add_slot(w, b, XXH3_64bits_withSeed(b->plain, PAGER_PAGE_SIZE, block));
	*ret_block = block;
	return 0;
}

/* -- reading back -------------------------------------------------------- */

/* The stored bytes, from the buffer or from the file. */
static int read_stored(struct packwriter *w, uint64_t block,
		       struct pager_slot *ret_slot, uint8_t *ret_stored)
{
	const struct pager_slot *s;
	uint32_t slot = pager_block_slot(block);

	LOCK_GUARD(&w->lock);
	if (pager_block_pack(block) != w->pack || slot >= w->slots)
		return -ENOENT;
	s = &w->table[slot];
	*ret_slot = *s;
	if (s->offset >= w->flushed) {
		memcpy(ret_stored, w->buffer + (s->offset - w->flushed),
		       s->length);
		return 0;
	}
	/* Under the lock, which keeps the file open; the page cache has it. */
	return file_pread(w->fd, ret_stored, s->length, s->offset,
			  INJECT_PACK_READ);
}

int packwriter_read(struct packwriter *w, uint64_t block, uint8_t *ret_page,
		    uint8_t *ret_kind)
{
	uint8_t stored[PAGER_PAGE_SIZE];
	struct block_place place = {.block = block};
	int r = read_stored(w, block, &place.slot, stored);

	if (r < 0)
		return r;
	place.length = place.slot.length;
	r = packset_source_ops.decode(NULL, &place, stored, ret_page);
	if (r < 0)
		return r;
	*ret_kind = place.slot.kind;
	return 0;
}

/* -- sealing ------------------------------------------------------------- */

/* The digest table: what the hash remembers, sorted. */
static int sorted_digests(const struct packwriter *w,
			  struct pager_digest_entry **ret_entries)
{
	_cleanup_free_ struct pager_digest_entry *entries =
		malloc(w->remembered * sizeof(*entries));
	uint32_t n = 0;

	if (!entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->slots; i++)
		if (w->links[i] != NOT_IN_HASH)
			entries[n++] = (struct pager_digest_entry){
				.digest = w->digests[i],
				.block = pager_block_id(w->pack, i),
			};
	assert(n == w->remembered);
	digests_sort(entries, n);
	*ret_entries = steal_ptr(entries);
	return 0;
}

static int write_at(const struct packwriter *w, const void *buf, size_t len,
		    uint64_t *offset)
{
	int r = file_pwrite(w->fd, buf, len, *offset, INJECT_PACK_WRITE);

	*offset += len;
	return r;
}

/* Tables and trailer behind the slots. */
static int write_tables(struct packwriter *w,
			const struct pager_digest_entry *entries,
			uint64_t *ret_size)
{
	size_t slot_bytes = w->slots * sizeof(*w->table);
	size_t digest_bytes = w->remembered * sizeof(*entries);
	uint64_t at = w->end;
	struct pager_pack_trailer t = {
		.magic = PAGER_PACK_TRAILER_MAGIC,
		.version = PAGER_PACK_VERSION,
		.slots = w->slots,
		.pack = w->pack,
		.slot_table = w->end,
		.digest_table = w->end + slot_bytes,
		.digests = w->remembered,
		.slot_checksum = XXH3_64bits(w->table, slot_bytes),
		.digest_checksum = XXH3_64bits(entries, digest_bytes),
	};
	int r = write_at(w, w->table, slot_bytes, &at);

	if (r == 0)
		r = write_at(w, entries, digest_bytes, &at);
	t.checksum =
		XXH3_64bits(&t, offsetof(struct pager_pack_trailer, checksum));
	if (r == 0)
		r = write_at(w, &t, sizeof(t), &at);
	if (r == 0)
		*ret_size = at;
	return r;
}

/* Gives the synced file its name, durably. */
static int name_file(struct packwriter *w)
{
	int packs = store_folder_fd(w->store, STORE_PACKS);
	char name[PACK_NAME_MAX];
	int r = inject_pass(INJECT_PACK_RENAME, NULL);

	if (r < 0)
		return r;
	pack_name(w->pack, name);
	if (renameat2(store_folder_fd(w->store, STORE_TMP), w->temp, packs,
		      name, RENAME_NOREPLACE) < 0)
		return -errno;
	r = inject_pass(INJECT_PACK_COMMIT, NULL);
	if (r < 0)
		return r;
	return file_sync_dir(packs);
}

/* The pack is known elsewhere now. */
static void forget(struct packwriter *w)
{
	LOCK_GUARD(&w->lock);
	close_quietly(steal_fd(w->fd));
	w->slots = 0;
	w->remembered = 0;
	memset(w->heads, 0, w->room * sizeof(*w->heads));
}

static int tell_sealed(struct packwriter *w,
		       const struct pager_digest_entry *entries)
{
	int r = w->sealed ? w->sealed(w->arg, w->pack, entries, w->remembered)
			  : 0;

	if (r < 0) { /* its own words say more than ours */
		w->error = r;
		err_copy(r, w->error_text);
	}
	return r;
}

int packwriter_finish(struct packwriter *w)
{
	_cleanup_free_ struct pager_digest_entry *entries = NULL;
	uint64_t size;
	int r;

	if (w->error)
		return failed_before(w);
	if (w->fd < 0)
		return 0;
	r = sorted_digests(w, &entries);
	if (r < 0)
		return fail(w, r, "sort its digests");
	r = flush(w);
	if (r == 0)
		r = write_tables(w, entries, &size);
	if (r < 0)
		return fail(w, r, "write it");
	r = file_sync(w->fd, INJECT_PACK_SYNC);
	if (r < 0)
		return fail(w, r, "sync it");
	r = name_file(w);
	if (r < 0)
		return fail(w, r, "give it its name");
	atomic_fetch_add(&w->stored_bytes, size);
	r = tell_sealed(w, entries);
	if (r < 0)
		return r;
	forget(w);
	return 0;
}

uint64_t packwriter_stored_bytes(const struct packwriter *w)
{
	return atomic_load(&w->stored_bytes);
}
