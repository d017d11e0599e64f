/*
 * The cache proper: shards, and whoever waits in them.
 *
 * Two mappings are made at the start, for the most that the cache may grow to:
 * the arena, and the tables of all shards. Both are only reserved; links and
 * bitmaps are laid out so that zeroed memory means empty, and slots are given
 * out from the lowest, so that memory is used as the cache fills. The
 * capacity follows from the limit: as many slots as fit beside their own
 * metadata, about 70 bytes a slot, all of which counts from the start, and
 * what was charged (resize.h). The number of shards never changes.
 *
 * Invariants, each under the shard's lock:
 * 1. A block has at most one slot, and a slot that is filling has exactly one
 *    filler. Hence one read a block, however many ask.
 * 2. What is filling or pinned is never evicted or moved, so that bytes behind
 *    a ref do not change: the lock orders fill, reads and the next fill.
 * 3. A waiter is in one list, of an entry or of its shard, with `queued` set;
 *    or it was taken out by the one thread that now calls wake(), or by
 *    cache_cancel(). So each is woken or cancelled, never both.
 * 4. While a slot waiter stands in the shard nothing there can be claimed by
 *    its class; each step that ends this (the last unpin of an entry, a
 *    failed fill, a hold that ends, a larger limit) wakes them all.
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
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/cache/cache_impl.h"
#include "fs/cache/observe/trace.h"
#include "fs/cache/shard/memory.h"

/*
 * A shard is worth its own lock from 4 MiB on: two threads that hit at random
 * cost each other 200 ns a hit with 16 shards, 130 ns with 64.
 */
#define SLOTS_PER_SHARD 1024

static unsigned int choose_shards(size_t limit)
{
	unsigned int shards = 1;

	while (shards < CACHE_SHARDS_MAX &&
	       limit / PAGER_PAGE_SIZE / SLOTS_PER_SHARD >= 2 * shards)
		shards *= 2;
	return shards;
}

static size_t charged(const struct cache *c)
{
	size_t sum = 0;

	for (unsigned int i = 0; i < CACHE_CHARGE_COUNT; i++)
		sum += c->charged[i];
	return sum;
}

/* The curve may be one of a size that was a little larger. */
static size_t most_of_curve(uint64_t slots)
{
	return curve_bytes(slots + 2 * CURVE_SLACK(slots));
}

size_t cache_bytes_for(const struct cache *c, uint32_t slots)
{
	return sizeof(*c) + PAGER_PAGE_SIZE + charged(c) +
	       most_of_curve((uint64_t)c->shard_count * slots) +
	       c->shard_count * (sizeof(struct shard) + shard_bytes(slots) +
				 (size_t)slots * PAGER_PAGE_SIZE);
}

/* Guesses high by leaving out what is rounded up, then counts down. */
uint32_t cache_slots_within(const struct cache *c, size_t limit)
{
	size_t each = c->shard_count * (PAGER_PAGE_SIZE + sizeof(struct entry));
	size_t slots = limit / each;

	if (slots > UINT32_MAX / 2)
		slots = UINT32_MAX / 2;
	while (slots > 0 && cache_bytes_for(c, (uint32_t)slots) > limit)
		slots--;
	return (uint32_t)slots;
}

static size_t all_of_memory(void)
{
	return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

/* Addresses for `most` slots a shard. False where there are none. */
static bool reserve(struct cache *c, uint32_t most)
{
	unsigned int shards = c->shard_count;

	c->most = most;
	c->table_bytes = shards * (sizeof(struct shard) + shard_bytes(most));
	c->table_bytes += PAGER_PAGE_SIZE;
	c->arena_bytes = (size_t)shards * most * PAGER_PAGE_SIZE;
	c->shards = memory_reserve(c->table_bytes);
	if (c->shards)
		c->arena = memory_reserve(c->arena_bytes);
	if (c->arena)
		return true;
	memory_unreserve(c->shards, c->table_bytes);
	c->shards = NULL;
	return false;
}

static void init_shards(struct cache *c)
{
	const struct shard_size size = {.slots = c->slots, .most = c->most};
	uintptr_t tables = (uintptr_t)(c->shards + c->shard_count);
	size_t bytes = (size_t)c->most * PAGER_PAGE_SIZE;

	tables = (tables + PAGER_PAGE_SIZE - 1) & ~(PAGER_PAGE_SIZE - 1ul);
	for (unsigned int i = 0; i < c->shard_count; i++)
		shard_init(&c->shards[i], size, c->arena + i * bytes,
			   (void *)(tables + i * shard_bytes(c->most)));
}

static int check_options(const struct cache_options *options,
			 const struct cache *c)
{
	unsigned int shards = c->shard_count;

	if (options->limit < CACHE_LIMIT_MIN ||
	    options->limit > CACHE_LIMIT_MAX)
		return err_set(-EINVAL,
			       "cache: a limit of %zu bytes: from %u "
			       "up to %llu are possible",
			       options->limit, CACHE_LIMIT_MIN,
			       (unsigned long long)CACHE_LIMIT_MAX);
	if (shards & (shards - 1) || shards > CACHE_SHARDS_MAX ||
	    cache_slots_within(c, options->limit) < CACHE_SHARD_MIN)
		return err_set(-EINVAL,
			       "cache: %u shards: no power of two, or "
			       "too many for %zu bytes",
			       shards, options->limit);
	return 0;
}

/* As much as it may ever need; where that is not to be had, what it needs. */
static int reserve_for(const struct cache_options *options, struct cache *c)
{
	size_t most = options->most ? options->most : all_of_memory();
	uint32_t slots = cache_slots_within(c, most);

	if (slots > c->slots && reserve(c, slots))
		return 0;
	return reserve(c, c->slots) ? 0 : -ENOMEM;
}

DEFINE_CLEANUP(cache, struct cache *, cache_free)

int cache_new(const struct cache_options *options, struct cache **ret_cache)
{
	struct cache *c cleanup(cleanup_cache) = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(-ENOMEM, "cache: out of memory");
	c->magic = CACHE_MAGIC;
	lock_init(&c->size_lock, "cache size");
	hist_init(&c->reads);
	c->limit = c->asked = options->limit;
	c->shard_count = options->shards ? options->shards
					 : choose_shards(options->limit);
	r = check_options(options, c);
	if (r < 0)
		return r;
	c->slots = cache_slots_within(c, c->limit);
	r = reserve_for(options, c);
	if (r < 0)
		return r;
	init_shards(c);
	r = curve_new((uint64_t)c->shard_count * c->slots, &c->curve);
	if (r < 0)
		return r;
	c->curve_slots = c->slots;
	*ret_cache = steal_ptr(c);
	return 0;
}

static void release_shards(struct cache *c)
{
	struct cache_stats stats;

	cache_stats(c, &stats);
	assert(stats.pinned == 0);
	for (unsigned int i = 0; i < c->shard_count; i++)
		shard_release(&c->shards[i]);
	memory_unreserve(c->shards, c->table_bytes);
	memory_unreserve(c->arena, c->arena_bytes);
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	if (c->shards)
		release_shards(c);
	curve_free(c->curve);
	lock_release(&c->size_lock);
	c->magic = 0;
	free(c);
}

static struct shard *shard_of(struct cache *c, uint64_t block)
{
	assert(c->magic == CACHE_MAGIC && block);
	return cache_shard(c, hash_block(block));
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

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail */
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The block has a slot: ready for a hit, or filling. */
static int get_present(struct shard *s, uint32_t slot, enum cache_class class,
		       struct cache_waiter *waiter)
{
	struct entry *e = &s->entries[slot];

	if (e->state == ENTRY_READY) {
		e->used_at = shard_now();
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
		s->by_class[class].slot_waits++;
		return queue_waiter(&s->slot_waiters, block, waiter);
	}
	s->entries[*ret_slot].began_ns = now_ns();
	s->by_class[class].misses++;
	return CACHE_FILL;
}

int cache_get(struct cache *c, uint64_t block, enum cache_class class,
	      struct cache_waiter *waiter, struct cache_ref *ret_ref)
{
	struct shard *s = shard_of(c, block);
	uint32_t slot;
	int r;

	curve_note(c->curve, hash_block(block), block, class);
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

void cache_note_use(struct cache *c, uint64_t block)
{
	struct shard *s = shard_of(c, block);
	uint32_t slot;

	LOCK_GUARD(&s->lock);
	if (shard_find(s, block, &slot) &&
	    s->entries[slot].state == ENTRY_READY)
		policy_use(&s->entries[slot]);
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
	uint64_t began_ns;

	lock_take(&s->lock);
	began_ns = s->entries[ref->slot].began_ns;
	take_waiters(&s->entries[ref->slot].waiters, &woken);
	shard_ready(s, ref->slot, kind);
	share_fill(ref->cache, s, ref->slot, &woken);
	lock_drop(&s->lock);
	ref->kind = kind;
	hist_record(&ref->cache->reads, now_ns() - began_ns);
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
	if (e->pins == 0) {
		shard_settle(s, ref->slot);
		take_waiters(&s->slot_waiters, &hopeful);
	}
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

void cache_wake_slot_waiters(struct shard *s)
{
	struct list_node hopeful = LIST_INIT(hopeful);

	lock_take(&s->lock);
	take_waiters(&s->slot_waiters, &hopeful);
	lock_drop(&s->lock);
	wake_all(&hopeful, -EAGAIN);
}

int cache_hold(struct cache *c, uint64_t block)
{
	struct shard *s = shard_of(c, block);
	uint32_t slot;

	LOCK_GUARD(&s->lock);
	if (!shard_find(s, block, &slot) ||
	    s->entries[slot].state != ENTRY_READY)
		return -ENOENT;
	return shard_hold(s, slot);
}

void cache_unhold(struct cache *c, uint64_t block)
{
	struct shard *s = shard_of(c, block);
	uint32_t slot;
	bool found;

	lock_take(&s->lock);
	found = shard_find(s, block, &slot);
	assert(found);
	shard_unhold(s, slot);
	lock_drop(&s->lock);
	cache_wake_slot_waiters(s);
}

/* Of two evictions the later one counts. */
static void note_eviction(struct cache_class_stats *s, uint32_t ago,
			  uint32_t after)
{
	if (s->evicted && s->evicted_ago <= ago)
		return;
	s->evicted = true;
	s->evicted_ago = ago;
	s->evicted_after = after;
}

static void add_class(const struct shard *s, enum cache_class class,
		      struct cache_class_stats *to)
{
	const struct cache_class_stats *from = &s->by_class[class];

#define X(member, help) to->member += from->member;
	CACHE_CLASS_COUNTERS(X)
#undef X
	to->blocks += from->blocks;
	to->pinned += s->policy.pinned[class];
	if (from->evicted)
		note_eviction(to, shard_now() - s->evicted_at[class],
			      from->evicted_after);
}

static void add_slots(const struct shard *s, struct cache_stats *sum)
{
	const struct fifo *queues = s->policy.queues;

	sum->held += queues[QUEUE_HELD].count;
	for (uint32_t slot = s->limit; slot < s->extent; slot++)
		sum->stragglers += slotmap_has(&s->slots, slot);
}

static void add_shard_stats(struct shard *s, struct cache_stats *sum)
{
	LOCK_GUARD(&s->lock);
	add_slots(s, sum);
	sum->tables += sizeof(*s) + shard_bytes(s->extent) -
		       shard_ghost_bytes(s->extent);
	sum->ghosts += shard_ghost_bytes(s->extent);
	sum->bytes += (size_t)s->slots.used * PAGER_PAGE_SIZE;
	sum->capacity += s->limit;
	sum->holdable += shard_holdable(s->limit);
	sum->drops += s->drops;
	sum->failures += s->failures;
	sum->contended += s->lock.contended;
	for (unsigned int i = 0; i < CACHE_CLASS_COUNT; i++)
		add_class(s, (enum cache_class)i, &sum->by_class[i]);
}

/* The sums over the classes; the last eviction is the latest of theirs. */
static void add_classes(struct cache_stats *sum)
{
	struct cache_class_stats last = {0};

	for (unsigned int i = 0; i < CACHE_CLASS_COUNT; i++) {
		const struct cache_class_stats *class = &sum->by_class[i];

#define X(member, help) sum->member += class->member;
		CACHE_CLASS_COUNTERS(X)
		CACHE_CLASS_GAUGES(X)
#undef X
		if (class->evicted)
			note_eviction(&last, class->evicted_ago,
				      class->evicted_after);
	}
	sum->evicted = last.evicted;
	sum->evicted_ago = last.evicted_ago;
	sum->evicted_after = last.evicted_after;
}

static void add_reads(const struct hist *reads, struct cache_stats *sum)
{
	sum->reads = reads->count;
	sum->read_ns = reads->sum;
	sum->read_p50 = hist_percentile(reads, 0.5);
	sum->read_p99 = hist_percentile(reads, 0.99);
	for (unsigned int i = 0; i < CACHE_READ_STEPS; i++)
		sum->read_below[i] = hist_below(
			reads,
			(unsigned int)__builtin_ctzll(CACHE_READ_BELOW(i)));
}

void cache_stats(struct cache *c, struct cache_stats *ret_stats)
{
	struct cache_stats sum = {.tables = sizeof(*c) + PAGER_PAGE_SIZE};

	lock_take(&c->size_lock);
	sum.limit = c->limit;
	memcpy(sum.charged, c->charged, sizeof(sum.charged));
	sum.bytes = charged(c);
	sum.curve = curve_bytes((uint64_t)c->shard_count * c->curve_slots);
	lock_drop(&c->size_lock);
	for (unsigned int i = 0; i < c->shard_count; i++)
		add_shard_stats(&c->shards[i], &sum);
	sum.bytes += sum.tables + sum.ghosts + sum.curve;
	add_classes(&sum);
	add_reads(&c->reads, &sum);
	*ret_stats = sum;
}

static struct curve_lookups count_lookups(struct cache *c)
{
	struct curve_lookups sum = {0};

	for (unsigned int i = 0; i < c->shard_count; i++) {
		struct shard *s = &c->shards[i];

		LOCK_GUARD(&s->lock);
		for (unsigned int k = 0; k < CACHE_CLASS_COUNT; k++)
			sum.by_class[k] += s->by_class[k].hits +
					   s->by_class[k].misses +
					   s->by_class[k].waits;
	}
	return sum;
}

void cache_fit_curve(struct cache *c)
{
	uint32_t slack = CURVE_SLACK(c->curve_slots);

	lock_assert_held(&c->size_lock);
	if (c->slots <= c->curve_slots + slack &&
	    c->slots >= c->curve_slots - slack)
		return;
	/* Without memory the old one goes on, for the old size: it says so. */
	if (curve_restart(c->curve, (uint64_t)c->shard_count * c->slots) < 0)
		return;
	c->base = count_lookups(c);
	c->curve_slots = c->slots;
}

void cache_curve(struct cache *c, struct curve_report *ret_report)
{
	struct curve_lookups lookups;

	LOCK_GUARD(&c->size_lock);
	lookups = count_lookups(c);
	for (unsigned int k = 0; k < CACHE_CLASS_COUNT; k++)
		lookups.by_class[k] -= c->base.by_class[k];
	curve_report(c->curve, &lookups, ret_report);
	for (int i = 0; i < CURVE_POINTS; i++)
		ret_report->points[i].bytes = cache_bytes_for(
			c, (uint32_t)(ret_report->points[i].slots /
				      c->shard_count));
}

void cache_set_trace(struct cache *c, struct trace *trace)
{
	c->trace = trace;
}

void cache_trace(struct cache *c, uint32_t session, uint64_t block,
		 enum cache_class class)
{
	if (c->trace)
		trace_note(c->trace, session, block, class);
}
