/*
 * A pack is checked from its end: the trailer says where the tables are, and
 * what it says has to add up to the size of the file to the byte. After that
 * every offset that a lookup uses has been checked against the area it
 * belongs to; only the slots' contents are left, which their checksums cover.
 */
#include "fs/store/pack/pack.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/io/file.h"
#include "fs/store/numbered.h"
#include "fs/store/pack/digests.h"

#define PACK_MAGIC	0x5041434bu
#define NAME_SUFFIX	".pack"
#define DIGESTS_AT_ONCE 512u /* on the stack: 12 KiB */

struct pack {
	uint32_t magic;
	_Atomic unsigned int refs;
	/* Constant once open. */
	int fd;
	uint64_t number;
	uint64_t size;
	struct pager_pack_trailer trailer;

	struct lock lock; /* held over loading, so that it is done once */
	/* Set once, under the lock, when `table` is whole and checked. */
	atomic_bool loaded;
	struct pager_slot *table; /* constant once `loaded` */
};

void pack_name(uint64_t number, char buf[PACK_NAME_MAX])
{
	numbered_name(number, NAME_SUFFIX, buf);
}

int pack_number_of(const char *name, uint64_t *ret_number)
{
	uint64_t number;
	int r = numbered_parse(name, NAME_SUFFIX, &number);

	if (r < 0 || number > PAGER_PACK_NUMBER_MAX)
		return -EINVAL;
	*ret_number = number;
	return 0;
}

static int damaged(const struct pack *p, const char *why)
{
	return err_set(-EBADMSG, "pack %016" PRIx64 " is damaged: %s",
		       p->number, why);
}

static int newer(const struct pack *p, uint32_t version)
{
	return err_set(-ENOTSUP,
		       "pack %016" PRIx64 " has format %" PRIu32
		       ", this program reads %d: use a newer pagerd",
		       p->number, version, PAGER_PACK_VERSION);
}

/* A read of the header, the trailer or a table. */
static int read_part(const struct pack *p, void *buf, size_t len,
		     uint64_t offset)
{
	int r = file_pread(p->fd, buf, len, offset, INJECT_TABLE_READ);

	if (r == -ENODATA)
		return damaged(p, "cut short");
	if (r < 0)
		return err_set(r, "pack %016" PRIx64 ": cannot read: %s",
			       p->number, strerror(-r));
	return 0;
}

static int check_header(const struct pack *p, const uint8_t *store_id)
{
	struct pager_pack_header h;
	int r = read_part(p, &h, sizeof(h), 0);

	if (r < 0)
		return r;
	if (memcmp(h.magic, PAGER_PACK_MAGIC, sizeof(h.magic)) != 0)
		return damaged(p, "it does not begin as a pack does");
	if (h.version > PAGER_PACK_VERSION)
		return newer(p, h.version);
	if (h.checksum !=
	    XXH3_64bits(&h, offsetof(struct pager_pack_header, checksum)))
		return damaged(p, "the header's checksum does not match");
	if (h.version != PAGER_PACK_VERSION || h.reserved0 || h.reserved[0] ||
	    h.reserved[1])
		return damaged(p, "header fields that no program writes");
	if (memcmp(h.store, store_id, sizeof(h.store)) != 0)
		return damaged(p, "it belongs to another store");
	if (h.pack != p->number)
		return damaged(p, "its header has another pack's number");
	return 0;
}

/* Where the tables are: no gap, no overlap, nothing behind the trailer. */
static int check_lengths(const struct pack *p)
{
	const struct pager_pack_trailer *t = &p->trailer;

	if (t->slots == 0 || t->slots > PAGER_PACK_SLOTS_MAX)
		return damaged(p, "a number of slots out of range");
	if (t->digests > t->slots)
		return damaged(p, "more digests than slots");
	if (t->slot_table < sizeof(struct pager_pack_header) ||
	    t->slot_table > PAGER_PACK_DATA_MAX)
		return damaged(p, "the slot table's place is out of range");
	/* All terms are bounded by now: nothing can overflow. */
	if (t->digest_table !=
	    t->slot_table + t->slots * sizeof(struct pager_slot))
		return damaged(p, "the digest table is not where it has to be");
	if (p->size != t->digest_table +
			       t->digests * sizeof(struct pager_digest_entry) +
			       sizeof(*t))
		return damaged(p, "the tables do not add up to the file");
	return 0;
}

static int check_trailer(struct pack *p)
{
	struct pager_pack_trailer *t = &p->trailer;
	int r;

	if (p->size < sizeof(struct pager_pack_header) + sizeof(*t))
		return damaged(p, "cut short");
	r = read_part(p, t, sizeof(*t), p->size - sizeof(*t));
	if (r < 0)
		return r;
	if (memcmp(t->magic, PAGER_PACK_TRAILER_MAGIC, sizeof(t->magic)) != 0)
		return damaged(p, "cut short: it does not end as a pack does");
	if (t->version > PAGER_PACK_VERSION)
		return newer(p, t->version);
	if (t->checksum !=
	    XXH3_64bits(t, offsetof(struct pager_pack_trailer, checksum)))
		return damaged(p, "the trailer's checksum does not match");
	if (t->version != PAGER_PACK_VERSION || t->reserved)
		return damaged(p, "trailer fields that no program writes");
	if (t->pack != p->number)
		return damaged(p, "its trailer has another pack's number");
	return check_lengths(p);
}

static int check_file(struct pack *p, const uint8_t *store_id)
{
	struct stat st;
	int r;

	if (fstat(p->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return damaged(p, "it is no file");
	p->size = (uint64_t)st.st_size;
	r = check_header(p, store_id);
	if (r < 0)
		return r;
	return check_trailer(p);
}

int pack_open_fd(int fd, uint64_t number, const uint8_t store_id[16],
		 struct pack **ret_pack)
{
	struct pack *p cleanup(cleanup_pack) = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		close_quietly(fd);
		return -ENOMEM;
	}
	p->magic = PACK_MAGIC;
	atomic_init(&p->refs, 1);
	atomic_init(&p->loaded, false);
	lock_init(&p->lock, "pack");
	p->fd = fd;
	p->number = number;
	r = check_file(p, store_id);
	if (r < 0)
		return r;
	*ret_pack = steal_ptr(p);
	return 0;
}

int pack_open(int packs_fd, uint64_t number, const uint8_t store_id[16],
	      struct pack **ret_pack)
{
	char name[PACK_NAME_MAX];
	int fd;

	pack_name(number, name);
	/* O_NONBLOCK: a fifo in our place must not hang us. */
	fd = openat(packs_fd, name,
		    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return err_set(-ENOENT, "pack %016" PRIx64 " is missing",
			       number);
	if (fd < 0)
		return err_set(-errno, "pack %016" PRIx64 ": cannot open: %s",
			       number, strerror(errno));
	return pack_open_fd(fd, number, store_id, ret_pack);
}

struct pack *pack_ref(struct pack *p)
{
	assert(p->magic == PACK_MAGIC);
	atomic_fetch_add(&p->refs, 1);
	return p;
}

void pack_unref(struct pack *p)
{
	if (!p)
		return;
	assert(p->magic == PACK_MAGIC);
	if (atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	close_quietly(p->fd);
	lock_release(&p->lock);
	free(p->table);
	p->magic = 0;
	free(p);
}

uint64_t pack_number(const struct pack *p)
{
	return p->number;
}

uint32_t pack_slots(const struct pack *p)
{
	return p->trailer.slots;
}

uint64_t pack_digests(const struct pack *p)
{
	return p->trailer.digests;
}

uint64_t pack_stored_bytes(const struct pack *p)
{
	return p->size;
}

size_t pack_table_bytes(const struct pack *p)
{
	return p->trailer.slots * sizeof(struct pager_slot);
}

static const char *slot_fault(const struct pack *p, const struct pager_slot *s)
{
	if (s->codec == PAGER_CODEC_GONE)
		return s->length ? "is gone, but has a length" : NULL;
	if (s->codec > PAGER_CODEC_LZ4)
		return "has an unknown codec";
	if (s->kind > PAGER_KIND_NODE_MAX)
		return "has an unknown kind";
	if (s->length == 0 || s->length > PAGER_PAGE_SIZE ||
	    (s->codec == PAGER_CODEC_RAW && s->length != PAGER_PAGE_SIZE))
		return "has an impossible length";
	if (s->offset < sizeof(struct pager_pack_header) ||
	    (uint64_t)s->offset + s->length > p->trailer.slot_table)
		return "is outside of the slots' area";
	return NULL;
}

static int check_slots(const struct pack *p, const struct pager_slot *table)
{
	if (XXH3_64bits(table, pack_table_bytes(p)) != p->trailer.slot_checksum)
		return damaged(p, "the slot table's checksum does not match");
	for (uint32_t i = 0; i < p->trailer.slots; i++) {
		const char *fault = slot_fault(p, &table[i]);

		if (fault)
			return err_set(-EBADMSG,
				       "pack %016" PRIx64
				       " is damaged: slot %" PRIu32 " %s",
				       p->number, i, fault);
	}
	return 0;
}

int pack_load(struct pack *p)
{
	_cleanup_free_ struct pager_slot *table = NULL;
	int r;

	LOCK_GUARD(&p->lock);
	if (p->loaded)
		return 0;
	table = malloc(pack_table_bytes(p));
	if (!table)
		return -ENOMEM;
	r = read_part(p, table, pack_table_bytes(p), p->trailer.slot_table);
	if (r == 0)
		r = check_slots(p, table);
	if (r < 0)
		return r;
	p->table = steal_ptr(table);
	p->loaded = true;
	return 0;
}

int pack_locate(struct pack *p, uint32_t slot, struct block_place *ret_place)
{
	const struct pager_slot *s;

	if (!p->loaded)
		return -EAGAIN;
	if (slot >= p->trailer.slots)
		return err_set(-ENOENT, "the pack has %" PRIu32 " slots",
			       p->trailer.slots);
	s = &p->table[slot];
	if (s->codec == PAGER_CODEC_GONE)
		return err_set(-ENOENT, "the slot was reclaimed");
	*ret_place = (struct block_place){
		.block = pager_block_id(p->number, slot),
		.fd = p->fd,
		.offset = s->offset,
		.length = s->length,
		.slot = *s,
		.owner = p,
	};
	return 0;
}

int pack_read_digests(struct pack *p, uint64_t first, uint64_t count,
		      struct pager_digest_entry *ret_entries)
{
	assert(first <= p->trailer.digests &&
	       count <= p->trailer.digests - first);
	return read_part(p, ret_entries, count * sizeof(*ret_entries),
			 p->trailer.digest_table +
				 first * sizeof(*ret_entries));
}

/* `before` is the entry in front of the first one; NULL at the beginning. */
static int check_entries(const struct pack *p,
			 const struct pager_digest_entry *entries,
			 uint64_t count,
			 const struct pager_digest_entry *before)
{
	for (uint64_t i = 0; i < count; before = &entries[i++]) {
		if (before && digests_compare(before, &entries[i]) >= 0)
			return damaged(p, "its digests are out of order");
		if (pager_block_pack(entries[i].block) != p->number ||
		    pager_block_slot(entries[i].block) >= p->trailer.slots)
			return damaged(p, "a digest of a block it has not");
	}
	return 0;
}

static int check_digests_with(struct pack *p, XXH3_state_t *sum)
{
	struct pager_digest_entry buf[DIGESTS_AT_ONCE], before;
	uint64_t count = p->trailer.digests;
	int r = 0;

	(void)XXH3_64bits_reset(sum);
	for (uint64_t done = 0; r == 0 && done < count;) {
		uint64_t left = count - done;
		uint64_t n = left < DIGESTS_AT_ONCE ? left : DIGESTS_AT_ONCE;

		r = pack_read_digests(p, done, n, buf);
		if (r < 0)
			return r;
		(void)XXH3_64bits_update(sum, buf, n * sizeof(*buf));
		r = check_entries(p, buf, n, done ? &before : NULL);
		before = buf[n - 1];
		done += n;
	}
	if (r == 0 && XXH3_64bits_digest(sum) != p->trailer.digest_checksum)
		r = damaged(p, "the digest table's checksum does not match");
	return r;
}

int pack_check_digests(struct pack *p)
{
	XXH3_state_t *sum = XXH3_createState();
	int r;

	if (!sum)
		return -ENOMEM;
	r = check_digests_with(p, sum);
	(void)XXH3_freeState(sum);
	return r;
}
