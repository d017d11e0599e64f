#include "fs/cache/shard/shard.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/cache/policy/class.h"
#include "fs/cache/shard/hash.h"
#include "fs/cache/shard/memory.h"
#include "pager/block.h"

/* Each of the two parts that are kept back: an eighth. */
#define KEPT_BACK_SHIFT 3

/* Where each table lies in a shard's memory; its length as the last one. */
struct layout {
	size_t entries, ghosts, slots, buckets, end;
};

/* To whole pages, so that each table's far end can be given back. */
static size_t pages(size_t bytes)
{
	return (bytes + PAGER_PAGE_SIZE - 1) / PAGER_PAGE_SIZE *
	       PAGER_PAGE_SIZE;
}

static struct layout lay_out(uint32_t slots)
{
	struct layout l = {.entries = 0};

	l.ghosts = l.entries + pages(slots * sizeof(struct entry));
	l.slots = l.ghosts + pages(policy_bytes(slots));
	l.buckets = l.slots + pages(slotmap_bytes(slots));
	l.end = l.buckets + pages(slots * sizeof(uint32_t));
	return l;
}

size_t shard_bytes(uint32_t slots)
{
	return lay_out(slots).end;
}

size_t shard_ghost_bytes(uint32_t slots)
{
	return pages(policy_bytes(slots));
}

void shard_init(struct shard *s, struct shard_size size, uint8_t *data,
		void *memory)
{
	struct layout l = lay_out(size.most);
	uint8_t *base = memory;

	assert(size.slots > 0 && size.slots <= size.most);
	*s = (struct shard){
		.data = data,
		.entries = (void *)(base + l.entries),
		.buckets = (void *)(base + l.buckets),
		.bucket_count = size.slots,
		.limit = size.slots,
		.extent = size.slots,
		.most = size.most,
	};
	lock_init(&s->lock, "cache shard");
	list_init(&s->slot_waiters);
	slotmap_init(&s->slots, size.slots, base + l.slots);
	policy_init(&s->policy, s->entries, size.slots, base + l.ghosts);
}

void shard_release(struct shard *s)
{
	assert(list_empty(&s->slot_waiters));
	lock_release(&s->lock);
}

uint32_t shard_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ts); /* cannot fail */
	return (uint32_t)ts.tv_sec + 1;
}

uint32_t shard_kept_back(uint32_t slots)
{
	return slots >> KEPT_BACK_SHIFT;
}

uint32_t shard_holdable(uint32_t slots)
{
	return slots - 2 * shard_kept_back(slots);
}

/* The link that leads to the block's slot, or the one that ends its chain. */
static uint32_t *find_link(struct shard *s, uint64_t block)
{
	uint32_t bucket = hash_bucket(hash_block(block), s->bucket_count);
	uint32_t *link = &s->buckets[bucket];

	while (*link && s->entries[*link - 1].block != block)
		link = &s->entries[*link - 1].chain;
	return link;
}

bool shard_find(struct shard *s, uint64_t block, uint32_t *ret_slot)
{
	uint32_t link = *find_link(s, block);

	if (!link)
		return false;
	*ret_slot = link - 1;
	return true;
}

static void *slot_data(const struct shard *s, uint32_t slot)
{
	return s->data + (size_t)slot * PAGER_PAGE_SIZE;
}

static void give_slots_back(struct shard *s, uint32_t from, uint32_t to)
{
	if (s->data && from < to)
		memory_give_back(slot_data(s, from),
				 (size_t)(to - from) * PAGER_PAGE_SIZE);
}

/* Of a table that was used up to `extent` bytes what lies past `used`. */
static void give_tail_back(void *table, size_t used, size_t extent)
{
	memory_give_back((uint8_t *)table + used, pages(extent) - used);
}

static void give_tables_back(struct shard *s)
{
	give_tail_back(s->entries, s->limit * sizeof(struct entry),
		       s->extent * sizeof(struct entry));
	give_tail_back(s->policy.ghost.ids, policy_bytes(s->limit),
		       policy_bytes(s->extent));
	give_tail_back(s->slots.words, slotmap_bytes(s->limit),
		       slotmap_bytes(s->extent));
	give_tail_back(s->buckets, s->limit * sizeof(*s->buckets),
		       s->extent * sizeof(*s->buckets));
}

static bool has_stragglers(const struct shard *s)
{
	return slotmap_next(&s->slots, s->limit, s->extent) < s->extent;
}

/*
 * Once the last straggler is gone; not before shard_trim() has made the tables
 * small, which may still be to come.
 */
static void try_to_end_shrink(struct shard *s)
{
	if (s->bucket_count != s->limit || has_stragglers(s))
		return;
	give_slots_back(s, s->limit, s->extent);
	give_tables_back(s);
	s->extent = s->limit;
}

/* A straggler that goes before shard_trim() is dealt with there. */
static void give_slot(struct shard *s, uint32_t slot)
{
	slotmap_give(&s->slots, slot);
	if (slot < s->limit || s->bucket_count != s->limit)
		return;
	give_slots_back(s, slot, slot + 1);
	try_to_end_shrink(s);
}

/* The entry is in no queue any more, or was never in one. */
static void free_slot(struct shard *s, uint32_t slot)
{
	struct entry *e = &s->entries[slot];
	uint32_t *link = find_link(s, e->block);

	assert(*link == slot + 1);
	*link = e->chain;
	if (e->state == ENTRY_READY)
		s->by_class[e->class].blocks--;
	*e = (struct entry){.state = ENTRY_FREE};
	give_slot(s, slot);
}

static void note_eviction(struct shard *s, const struct entry *e)
{
	struct cache_class_stats *stats = &s->by_class[e->class];
	uint32_t now = shard_now();

	stats->evictions++;
	stats->evictions_unused += !e->hit;
	stats->evictions_active += e->uses > 0;
	stats->evicted = true;
	stats->evicted_after = now - e->used_at;
	s->evicted_at[e->class] = now;
}

static void evict(struct shard *s)
{
	uint32_t slot = policy_evict(&s->policy);

	note_eviction(s, &s->entries[slot]);
	free_slot(s, slot);
}

/* Slots that can be claimed, by eviction where need be. */
static uint32_t claimable(const struct shard *s)
{
	uint32_t busy = s->slots.used - policy_evictable(&s->policy);

	return busy < s->limit ? s->limit - busy : 0;
}

static int make_room(struct shard *s, enum cache_class class)
{
	bool urgent = class_rule(class)->urgent;

	if (claimable(s) <= (urgent ? 0 : shard_kept_back(s->limit)))
		return -EBUSY;
	while (s->slots.used >= s->limit)
		evict(s);
	return 0;
}

int shard_claim(struct shard *s, uint64_t block, enum cache_class class,
		uint32_t *ret_slot)
{
	int r = make_room(s, class);
	uint32_t slot, *link;
	struct entry *e;

	if (r < 0)
		return r;
	/* Stragglers count as used, so below the limit one must be free. */
	if (!slotmap_take(&s->slots, &slot))
		abort();
	e = &s->entries[slot];
	assert(e->state == ENTRY_FREE);
	*e = (struct entry){
		.block = block,
		.state = ENTRY_FILLING,
		.pins = 1,
	};
	list_init(&e->waiters);
	s->by_class[class].ghost_hits += policy_miss(&s->policy, e, class);
	s->policy.pinned[class]++;
	link = find_link(s, block);
	assert(!*link);
	*link = slot + 1;
	*ret_slot = slot;
	return 0;
}

void shard_ready(struct shard *s, uint32_t slot, uint8_t kind)
{
	struct entry *e = &s->entries[slot];

	assert(e->state == ENTRY_FILLING && e->pins == 1);
	assert(list_empty(&e->waiters));
	e->state = ENTRY_READY;
	e->kind = kind;
	e->used_at = shard_now();
	e->holds = 0;
	policy_insert(&s->policy, slot);
	s->by_class[e->class].inserts++;
	s->by_class[e->class].blocks++;
}

void shard_abandon(struct shard *s, uint32_t slot)
{
	struct entry *e = &s->entries[slot];

	assert(e->state == ENTRY_FILLING && e->pins == 1);
	assert(list_empty(&e->waiters));
	s->policy.pinned[e->class]--;
	free_slot(s, slot);
	s->failures++;
}

int shard_hold(struct shard *s, uint32_t slot)
{
	assert(s->entries[slot].state == ENTRY_READY);
	if (!s->entries[slot].holds &&
	    s->policy.queues[QUEUE_HELD].count >= shard_holdable(s->limit))
		return -ENOSPC;
	policy_hold(&s->policy, slot);
	return 0;
}

void shard_unhold(struct shard *s, uint32_t slot)
{
	policy_unhold(&s->policy, slot);
	shard_settle(s, slot);
}

bool shard_can_drop(const struct shard *s, uint32_t slot)
{
	const struct entry *e = &s->entries[slot];

	return e->state == ENTRY_READY && !e->pins && !e->holds;
}

void shard_drop(struct shard *s, uint32_t slot)
{
	assert(shard_can_drop(s, slot));
	policy_remove(&s->policy, slot);
	free_slot(s, slot);
	give_slots_back(s, slot, slot + 1);
	s->drops++;
}

bool shard_drop_coldest(struct shard *s)
{
	uint32_t slot;

	if (policy_evictable(&s->policy) == 0)
		return false;
	slot = policy_evict(&s->policy);
	free_slot(s, slot);
	give_slots_back(s, slot, slot + 1);
	s->drops++;
	return true;
}

/* For `count` buckets: the table is made anew from the entries. */
static void rehash(struct shard *s, uint32_t count)
{
	memset(s->buckets, 0, s->bucket_count * sizeof(*s->buckets));
	s->bucket_count = count;
	for (uint32_t slot = slotmap_next(&s->slots, 0, s->extent);
	     slot < s->extent;
	     slot = slotmap_next(&s->slots, slot + 1, s->extent)) {
		uint32_t *link;

		s->entries[slot].chain = 0;
		link = find_link(s, s->entries[slot].block);
		*link = slot + 1;
	}
}

int shard_set_limit(struct shard *s, uint32_t slots)
{
	assert(slots >= SHARD_MIN && slots <= s->most);
	if (s->policy.queues[QUEUE_HELD].count > shard_holdable(slots))
		return -EBUSY;
	s->limit = slots;
	s->slots.size = slots;
	if (slots >= s->bucket_count) {
		if (slots > s->extent)
			s->extent = slots;
		rehash(s, slots);
		policy_resize(&s->policy, slots);
	}
	return 0;
}

/* The block of `from` to the slot `to`, which was taken for it. */
static void move(struct shard *s, uint32_t from, uint32_t to)
{
	*find_link(s, s->entries[from].block) = to + 1;
	policy_move(&s->policy, from, to);
	if (s->data)
		memcpy(slot_data(s, to), slot_data(s, from), PAGER_PAGE_SIZE);
	give_slot(s, from);
}

/*
 * Moves a straggler down, into room that the coldest blocks leave: of these it
 * may be one itself. It stays where it is pinned, or all others are.
 */
static void bring_down(struct shard *s, uint32_t slot)
{
	const struct entry *e = &s->entries[slot];
	uint32_t to;

	while (e->state == ENTRY_READY && !e->pins) {
		if (slotmap_take(&s->slots, &to))
			move(s, slot, to);
		else if (policy_evictable(&s->policy) > 0)
			evict(s);
		else
			return;
	}
}

bool shard_evacuate(struct shard *s, uint32_t *at, uint32_t count)
{
	while (*at > s->limit && count-- > 0) {
		--*at;
		if (slotmap_has(&s->slots, *at))
			bring_down(s, *at);
	}
	return *at <= s->limit;
}

void shard_trim(struct shard *s)
{
	uint32_t from = s->limit;

	if (s->bucket_count > s->limit) {
		rehash(s, s->limit);
		policy_resize(&s->policy, s->limit);
	}
	while (from < s->extent) {
		uint32_t to = slotmap_next(&s->slots, from, s->extent);

		give_slots_back(s, from, to);
		from = to + 1;
	}
	try_to_end_shrink(s);
}

void shard_settle(struct shard *s, uint32_t slot)
{
	if (slot >= s->limit)
		bring_down(s, slot);
}
