/*
 * A hash table of packs by number, and a list of them by last use. A pack is
 * put in when it is open and its table loaded, never before; so what locate
 * finds is ready, and the disk is read with no lock held. Two threads that
 * prepare one pack at once both read it, and one of them finds the other's in
 * the table and drops its own: rare, harmless, and simpler than waiting.
 *
 * Over a bound, the packs used longest ago leave the table. Whoever reads
 * from one holds a reference: it is closed when the last of them is done.
 */
#include "fs/store/pack/packset.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/list.h"
#include "fs/base/lock.h"
#include "fs/store/pack/codec.h"
#include "fs/store/pack/pack.h"

#define BUCKETS 1024u

struct member {
	struct pack *pack;
	struct member *next;  /* of its bucket */
	struct list_node use; /* in packset.by_use */
};

struct packset {
	/* Constant. */
	int packs_fd;
	const uint8_t *store_id;
	struct packset_limits limits;

	struct lock lock;
	/* All below is protected by the lock. */
	struct member *buckets[BUCKETS];
	struct list_node by_use; /* used last first */
	unsigned int files;
	size_t table_bytes;
};

static const struct packset_limits default_limits = {
	.table_bytes = (size_t)64 << 20,
	.files = 512,
};

int packset_new(int packs_fd, const uint8_t *store_id,
		const struct packset_limits *limits, struct packset **ret_set)
{
	struct packset *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	set->packs_fd = packs_fd;
	set->store_id = store_id;
	set->limits = limits ? *limits : default_limits;
	lock_init(&set->lock, "packset");
	list_init(&set->by_use);
	*ret_set = set;
	return 0;
}

static struct member **place_of(struct packset *set, uint64_t number)
{
	struct member **at = &set->buckets[number % BUCKETS];

	while (*at && pack_number((*at)->pack) != number)
		at = &(*at)->next;
	return at;
}

static void remove_member(struct packset *set, struct member *m)
{
	struct member **at = place_of(set, pack_number(m->pack));

	assert(*at == m);
	*at = m->next;
	list_remove(&m->use);
	set->files--;
	set->table_bytes -= pack_table_bytes(m->pack);
	pack_unref(m->pack);
	free(m);
}

static struct member *member_of(struct list_node *n)
{
	return container_of(n, struct member, use);
}

void packset_free(struct packset *set)
{
	if (!set)
		return;
	list_foreach_safe (n, &set->by_use)
		remove_member(set, member_of(n));
	lock_release(&set->lock);
	free(set);
}

/* A reference to the pack where it is ready, else NULL. */
static struct pack *find_ready(struct packset *set, uint64_t number)
{
	struct member *m;

	LOCK_GUARD(&set->lock);
	m = *place_of(set, number);
	if (!m)
		return NULL;
	list_remove(&m->use);
	list_insert(&set->by_use, &m->use);
	return pack_ref(m->pack);
}

/* The newest stays, however large: somebody is about to use it. */
static void keep_bounds(struct packset *set)
{
	lock_assert_held(&set->lock);
	while (set->files > 1 && (set->files > set->limits.files ||
				  set->table_bytes > set->limits.table_bytes))
		remove_member(set, member_of(set->by_use.prev));
}

/* Takes `p` over; returns a reference to what the set has now. */
static int insert(struct packset *set, struct pack *p, struct pack **ret_pack)
{
	struct member **at, *m = malloc(sizeof(*m));

	if (!m) {
		pack_unref(p);
		return -ENOMEM;
	}
	LOCK_GUARD(&set->lock);
	at = place_of(set, pack_number(p));
	if (*at) {
		free(m);
		pack_unref(p);
		*ret_pack = pack_ref((*at)->pack);
		return 0;
	}
	*m = (struct member){.pack = p};
	*at = m;
	list_insert(&set->by_use, &m->use);
	set->files++;
	set->table_bytes += pack_table_bytes(p);
	keep_bounds(set);
	*ret_pack = pack_ref(p);
	return 0;
}

int packset_get(struct packset *set, uint64_t number, struct pack **ret_pack)
{
	struct pack *p cleanup(cleanup_pack) = find_ready(set, number);
	int r;

	if (p) {
		*ret_pack = steal_ptr(p);
		return 0;
	}
	r = pack_open(set->packs_fd, number, set->store_id, &p);
	if (r == 0)
		r = pack_load(p);
	if (r < 0)
		return r;
	return insert(set, steal_ptr(p), ret_pack);
}

void packset_forget(struct packset *set, uint64_t number)
{
	struct member *m;

	LOCK_GUARD(&set->lock);
	m = *place_of(set, number);
	if (m)
		remove_member(set, m);
}

static bool impossible(uint64_t block)
{
	uint64_t number = pager_block_pack(block);

	return number == 0 || number > PAGER_PACK_NUMBER_MAX;
}

static int packset_locate(void *ctx, uint64_t block,
			  struct block_place *ret_place)
{
	struct pack *p cleanup(cleanup_pack) = NULL;
	int r;

	if (impossible(block))
		return err_set(-ENOENT, "no pack can have that number");
	p = find_ready(ctx, pager_block_pack(block));
	if (!p)
		return -EAGAIN;
	r = pack_locate(p, pager_block_slot(block), ret_place);
	if (r == 0)
		(void)steal_ptr(p); /* the place's owner now */
	return r;
}

static int packset_prepare(void *ctx, uint64_t block)
{
	struct pack *p;
	int r = packset_get(ctx, pager_block_pack(block), &p);

	if (r == 0)
		pack_unref(p);
	return r;
}

static int packset_decode(void *ctx, const struct block_place *place,
			  const uint8_t *stored, uint8_t *ret_page)
{
	struct coder *c = coder_of_thread();
	int r;

	(void)ctx;
	if (!c)
		return -ENOMEM;
	r = coder_decode(c, place->slot.codec, stored, place->length, ret_page);
	if (r < 0)
		return r;
	if (XXH3_64bits_withSeed(ret_page, PAGER_PAGE_SIZE, place->block) !=
	    place->slot.checksum)
		return err_set(-EBADMSG, "its checksum does not match");
	return 0;
}

static void packset_release(void *ctx, struct block_place *place)
{
	(void)ctx;
	pack_unref(place->owner);
	place->owner = NULL;
	place->fd = -1;
}

const struct block_source_ops packset_source_ops = {
	.locate = packset_locate,
	.prepare = packset_prepare,
	.decode = packset_decode,
	.release = packset_release,
};
