/*
 * The cache proper: shards, and whoever waits in them.
 *
 * Two mappings are made at the start, and nothing is allocated after: the
 * arena, and the tables of all shards. Both are only reserved; links and
 * bitmaps are laid out so that zeroed memory means empty, and slots are given
 * out from the lowest, so that memory is used as the cache fills. The
 * capacity follows from the limit: as many slots as fit beside their own
 * metadata, about 70 bytes a slot, all of which counts from the start.
 *
 * Invariants, each under the shard's lock:
 * 1. A block has at most one slot, and a slot that is filling has exactly one
 *    filler. Hence one read a block, however many ask.
 * 2. What is filling or pinned is never evicted, so that bytes behind a ref
 *    do not change: the lock orders fill, reads and the next fill.
 * 3. A waiter is in one list, of an entry or of its shard, with `queued` set;
 *    or it was taken out by the one thread that now calls wake(), or by
 *    cache_cancel(). So each is woken or cancelled, never both.
 * 4. While a slot waiter stands in the shard nothing there is free or
 *    evictable; each step that ends this (the last unpin of an entry, a
 *    failed fill) wakes them all.
 * 5. A failed fill leaves nothing behind.
 *
 * A mutex and not atomics on the hit path: it costs two uncontended locked
 * instructions a call, the shards keep it uncontended, and every rule above
 * is plain to see.
 */
#include "fs/cache/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/cache/shard/hash.h"
#include "fs/cache/shard/shard.h"
#include "pager/block.h"

#define CACHE_MAGIC UINT32_C(0x43414348)

/*
 * A shard is worth its own lock from 4 MiB on: two threads that hit at random
 * cost each other 200 ns a hit with 16 shards, 130 ns with 64.
 */
#define SLOTS_PER_SHARD 1024

#define DROP_STEP 256

struct cache {
	uint32_t magic;
	uint32_t slots; /* of each shard */
	unsigned int shard_count;
	struct shard *shards; /* with their tables: the metadata's mapping */
	size_t metadata;      /* bytes of that */
	uint8_t *arena;
	size_t arena_bytes;
	size_t limit;
};

static size_t metadata_bytes(unsigned int shards, uint32_t slots)
{
	size_t bytes = shards * (sizeof(struct shard) + shard_bytes(slots));

	return (bytes + PAGER_PAGE_SIZE - 1) / PAGER_PAGE_SIZE *
	       PAGER_PAGE_SIZE;
}

static unsigned int choose_shards(size_t limit)
{
	unsigned int shards = 1;

	while (shards < CACHE_SHARDS_MAX &&
	       limit / PAGER_PAGE_SIZE / SLOTS_PER_SHARD >= 2 * shards)
		shards *= 2;
	return shards;
}

/* The most slots a shard that all fit into the limit with their metadata. */
static uint32_t slots_within(size_t limit, unsigned int shards)
{
	size_t fixed = sizeof(struct cache) + PAGER_PAGE_SIZE +
		       shards * (sizeof(struct shard) + 128);
	size_t each = PAGER_PAGE_SIZE + sizeof(struct entry) + 24;
	size_t slots = fixed < limit ? (limit - fixed) / each / shards : 0;

	return slots < UINT32_MAX / 2 ? (uint32_t)slots : UINT32_MAX / 2;
}

/* NULL, with the error noted, where there is not so much to be had. */
static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		(void)err_set(-ENOMEM, "cache: cannot reserve %zu bytes: %m",
			      bytes);
		return NULL;
	}
	/* Guests' memory has no place in a core file. */
	(void)madvise(p, bytes, MADV_DONTDUMP);
	return p;
}

static void unreserve(void *memory, size_t bytes)
{
	if (memory && munmap(memory, bytes) < 0)
		abort(); /* we mapped it just so */
}

static void init_shards(struct cache *c, unsigned int shards)
{
	uint8_t *tables = (uint8_t *)(c->shards + shards);
	size_t bytes = (size_t)c->slots * PAGER_PAGE_SIZE;

	for (unsigned int i = 0; i < shards; i++)
		shard_init(&c->shards[i], c->slots, c->arena + i * bytes,
			   tables + i * shard_bytes(c->slots));
	c->shard_count = shards;
}

static int check_options(const struct cache_options *options,
			 unsigned int shards)
{
	if (options->limit < CACHE_LIMIT_MIN ||
	    options->limit > CACHE_LIMIT_MAX)
		return err_set(-EINVAL,
			       "cache: a limit of %zu bytes: from %u "
			       "up to %llu are possible",
			       options->limit, CACHE_LIMIT_MIN,
			       (unsigned long long)CACHE_LIMIT_MAX);
	if (shards & (shards - 1) || shards > CACHE_SHARDS_MAX ||
	    slots_within(options->limit, shards) < CACHE_SHARD_MIN)
		return err_set(-EINVAL,
			       "cache: %u shards: no power of two, or "
			       "too many for %zu bytes",
			       shards, options->limit);
	return 0;
}

DEFINE_CLEANUP(cache, struct cache *, cache_free)

int cache_new(const struct cache_options *options, struct cache **ret_cache)
{
	unsigned int shards = options->shards ? options->shards
					      : choose_shards(options->limit);
	struct cache *c cleanup(cleanup_cache) = NULL;
	int r = check_options(options, shards);

	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(-ENOMEM, "cache: out of memory");
	c->magic = CACHE_MAGIC;
	c->limit = options->limit;
	c->slots = slots_within(options->limit, shards);
	c->metadata = metadata_bytes(shards, c->slots);
	c->arena_bytes = (size_t)shards * c->slots * PAGER_PAGE_SIZE;
	assert(sizeof(*c) + c->metadata + c->arena_bytes <= c->limit);
	c->shards = reserve(c->metadata);
	if (c->shards)
		c->arena = reserve(c->arena_bytes);
	if (!c->arena)
		return -ENOMEM;
	init_shards(c, shards);
	*ret_cache = steal_ptr(c);
	return 0;
}

void cache_free(struct cache *c)
{
	struct cache_stats stats;

	if (!c)
		return;
	cache_stats(c, &stats);
	assert(stats.pinned == 0);
	for (unsigned int i = 0; i < c->shard_count; i++)
		shard_release(&c->shards[i]);
	unreserve(c->shards, c->metadata);
	unreserve(c->arena, c->arena_bytes);
	c->magic = 0;
	free(c);
}

static struct shard *shard_of(const struct cache *c, uint64_t block)
{
	assert(c->magic == CACHE_MAGIC && block);
	return &c->shards[hash_block(block) >> 32 & (c->shard_count - 1)];
}

static struct cache_ref make_ref(struct cache *c, const struct shard *s,
				 uint32_t slot)
{
	return (struct cache_ref){
		.cache = c,
		.data = s->data + (size_t)slot * PAGER_PAGE_SIZE,
		.block = s->entries[slot].block,
		.slot = slot,
		.kind = s->entries[slot].kind,
	};
}

/* CACHE_WAIT, or -EBUSY for one who would not wait. */
static int queue_waiter(struct list_node *list, uint64_t block,
			struct cache_waiter *w)
{
	if (!w)
		return -EBUSY;
	w->block = block;
	w->queued = true;
	list_append(list, &w->node);
	return CACHE_WAIT;
}

/* The block has a slot: ready for a hit, or filling. */
static int get_present(struct shard *s, uint32_t slot, enum cache_class class,
		       struct cache_waiter *waiter)
{
	struct entry *e = &s->entries[slot];

	if (e->state == ENTRY_READY) {
		policy_hit(e, class);
		policy_pin(&s->policy, e);
		s->by_class[class].hits++;
		return CACHE_HIT;
	}
	s->by_class[class].waits++;
	return queue_waiter(&e->waiters, e->block, waiter);
}

static int get_absent(struct shard *s, uint64_t block, enum cache_class class,
		      struct cache_waiter *waiter, uint32_t *ret_slot)
{
	if (shard_claim(s, block, class, ret_slot) < 0) {
		s->slot_waits++;
		return queue_waiter(&s->slot_waiters, block, waiter);
	}
	s->by_class[class].misses++;
	return CACHE_FILL;
}

int cache_get(struct cache *c, uint64_t block, enum cache_class class,
	      struct cache_waiter *waiter, struct cache_ref *ret_ref)
{
	struct shard *s = shard_of(c, block);
	uint32_t slot;
	int r;

	LOCK_GUARD(&s->lock);
	if (shard_find(s, block, &slot))
		r = get_present(s, slot, class, waiter);
	else
		r = get_absent(s, block, class, waiter, &slot);
	if (r == CACHE_HIT || r == CACHE_FILL)
		*ret_ref = make_ref(c, s, slot);
	return r;
}

int cache_peek(struct cache *c, uint64_t block, struct cache_ref *ret_ref)
{
	struct shard *s = shard_of(c, block);
	uint32_t slot;

	LOCK_GUARD(&s->lock);
	if (!shard_find(s, block, &slot) ||
	    s->entries[slot].state != ENTRY_READY)
		return -ENOENT;
	policy_pin(&s->policy, &s->entries[slot]);
	*ret_ref = make_ref(c, s, slot);
	return 0;
}

/* From here on cache_cancel() leaves them alone: they are ours to wake. */
static void take_waiters(struct list_node *from, struct list_node *ret_woken)
{
	list_foreach (n, from)
		container_of(n, struct cache_waiter, node)->queued = false;
	list_splice(ret_woken, from);
}

/* With no lock held. A waiter may be gone once it was woken. */
static void wake_all(struct list_node *woken, int error)
{
	struct list_node *n;

	while ((n = list_pop(woken))) {
		struct cache_waiter *w =
			container_of(n, struct cache_waiter, node);

		w->wake(w, error);
	}
}

uint8_t *cache_fill_buffer(const struct cache_ref *ref)
{
	struct shard *s = shard_of(ref->cache, ref->block);

	return s->data + (size_t)ref->slot * PAGER_PAGE_SIZE;
}

/* Gives each waiter its pin; the filler has one already. */
static void share_fill(struct cache *c, struct shard *s, uint32_t slot,
		       struct list_node *woken)
{
	list_foreach (n, woken) {
		policy_pin(&s->policy, &s->entries[slot]);
		container_of(n, struct cache_waiter, node)->ref =
			make_ref(c, s, slot);
	}
}

void cache_fill_done(struct cache_ref *ref, uint8_t kind)
{
	struct shard *s = shard_of(ref->cache, ref->block);
	struct list_node woken = LIST_INIT(woken);

	lock_take(&s->lock);
	take_waiters(&s->entries[ref->slot].waiters, &woken);
	shard_ready(s, ref->slot, kind);
	share_fill(ref->cache, s, ref->slot, &woken);
	lock_drop(&s->lock);
	ref->kind = kind;
	wake_all(&woken, 0);
}

void cache_fill_failed(struct cache_ref *ref, int error)
{
	struct shard *s = shard_of(ref->cache, ref->block);
	struct list_node woken = LIST_INIT(woken);
	struct list_node hopeful = LIST_INIT(hopeful);

	assert(error < 0 && error != -EAGAIN);
	lock_take(&s->lock);
	take_waiters(&s->entries[ref->slot].waiters, &woken);
	take_waiters(&s->slot_waiters, &hopeful);
	shard_abandon(s, ref->slot);
	lock_drop(&s->lock);
	ref->cache = NULL;
	wake_all(&woken, error);
	wake_all(&hopeful, -EAGAIN);
}

void cache_unpin(struct cache_ref *ref)
{
	struct list_node hopeful = LIST_INIT(hopeful);
	struct shard *s;
	struct entry *e;

	if (!ref->cache)
		return;
	s = shard_of(ref->cache, ref->block);
	e = &s->entries[ref->slot];
	lock_take(&s->lock);
	assert(e->block == ref->block);
	policy_unpin(&s->policy, e);
	if (e->pins == 0)
		take_waiters(&s->slot_waiters, &hopeful);
	lock_drop(&s->lock);
	ref->cache = NULL;
	wake_all(&hopeful, -EAGAIN);
}

bool cache_cancel(struct cache *c, struct cache_waiter *w)
{
	struct shard *s = shard_of(c, w->block);

	LOCK_GUARD(&s->lock);
	if (!w->queued)
		return false;
	w->queued = false;
	list_remove(&w->node);
	return true;
}

static void add_shard_stats(struct shard *s, struct cache_stats *sum)
{
	const struct policy *p = &s->policy;
	uint32_t ready;

	LOCK_GUARD(&s->lock);
	ready = p->queues[QUEUE_SMALL].count + p->queues[QUEUE_MAIN].count;
	sum->blocks += ready;
	sum->pinned += s->slots.used - ready + p->queues[QUEUE_SMALL].pinned +
		       p->queues[QUEUE_MAIN].pinned;
	sum->bytes += (size_t)s->slots.used * PAGER_PAGE_SIZE;
	sum->slot_waits += s->slot_waits;
	sum->inserts += s->inserts;
	sum->evictions += s->evictions;
	sum->failures += s->failures;
	sum->ghost_hits += p->ghost_hits;
	for (unsigned int i = 0; i < CACHE_CLASS_COUNT; i++) {
		sum->by_class[i].hits += s->by_class[i].hits;
		sum->by_class[i].misses += s->by_class[i].misses;
		sum->by_class[i].waits += s->by_class[i].waits;
	}
}

void cache_stats(struct cache *c, struct cache_stats *ret_stats)
{
	struct cache_stats sum = {
		.bytes = sizeof(*c) + c->metadata,
		.limit = c->limit,
		.capacity = (uint64_t)c->shard_count * c->slots,
	};

	for (unsigned int i = 0; i < c->shard_count; i++)
		add_shard_stats(&c->shards[i], &sum);
	for (unsigned int i = 0; i < CACHE_CLASS_COUNT; i++) {
		sum.hits += sum.by_class[i].hits;
		sum.misses += sum.by_class[i].misses;
		sum.waits += sum.by_class[i].waits;
	}
	*ret_stats = sum;
}

uint64_t cache_drop_all(struct cache *c)
{
	uint64_t dropped = 0;

	for (unsigned int i = 0; i < c->shard_count; i++) {
		struct shard *s = &c->shards[i];

		/* In steps, so that nobody waits long for the lock. */
		for (uint32_t at = 0; at < c->slots; at += DROP_STEP) {
			LOCK_GUARD(&s->lock);
			dropped += shard_drop(s, at, DROP_STEP);
		}
	}
	return dropped;
}
