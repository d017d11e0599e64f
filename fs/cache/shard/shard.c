#include "fs/cache/shard/shard.h"

#include <assert.h>
#include <errno.h>

#include "fs/cache/shard/hash.h"

/* Where each table lies in a shard's memory; its length as the last one. */
struct layout {
	size_t entries, ghosts, slots, buckets, end;
};

static size_t align_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static struct layout lay_out(uint32_t slots)
{
	struct layout l = {.entries = 0};

	l.ghosts = l.entries + slots * sizeof(struct entry);
	l.slots = align_up(l.ghosts + policy_bytes(slots), 8);
	l.buckets = l.slots + slotmap_bytes(slots);
	l.end = align_up(l.buckets + slots * sizeof(uint32_t), 64);
	return l;
}

size_t shard_bytes(uint32_t slots)
{
	return lay_out(slots).end;
}

void shard_init(struct shard *s, uint32_t slots, uint8_t *data, void *memory)
{
	struct layout l = lay_out(slots);
	uint8_t *base = memory;

	*s = (struct shard){.data = data};
	lock_init(&s->lock, "cache shard");
	list_init(&s->slot_waiters);
	s->entries = (void *)(base + l.entries);
	s->buckets = (void *)(base + l.buckets);
	slotmap_init(&s->slots, slots, base + l.slots);
	policy_init(&s->policy, s->entries, slots, base + l.ghosts);
}

void shard_release(struct shard *s)
{
	assert(list_empty(&s->slot_waiters));
	lock_release(&s->lock);
}

/* The link that leads to the block's slot, or the one that ends its chain. */
static uint32_t *find_link(struct shard *s, uint64_t block)
{
	uint32_t bucket = hash_bucket(hash_block(block), s->slots.size);
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

/* The entry is in no queue any more, or was never in one. */
static void free_slot(struct shard *s, uint32_t slot)
{
	struct entry *e = &s->entries[slot];
	uint32_t *link = find_link(s, e->block);

	assert(*link == slot + 1);
	*link = e->chain;
	*e = (struct entry){.state = ENTRY_FREE};
	slotmap_give(&s->slots, slot);
}

static void evict(struct shard *s)
{
	free_slot(s, policy_evict(&s->policy));
	s->evictions++;
}

int shard_claim(struct shard *s, uint64_t block, enum cache_class class,
		uint32_t *ret_slot)
{
	uint32_t slot, *link;
	struct entry *e;

	if (s->slots.used == s->slots.size) {
		if (!policy_can_evict(&s->policy))
			return -EBUSY;
		evict(s);
	}
	if (!slotmap_take(&s->slots, &slot))
		return -EBUSY;
	e = &s->entries[slot];
	assert(e->state == ENTRY_FREE);
	*e = (struct entry){
		.block = block,
		.state = ENTRY_FILLING,
		.pins = 1,
	};
	list_init(&e->waiters);
	policy_miss(&s->policy, e, class);
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
	policy_insert(&s->policy, slot);
	s->inserts++;
}

void shard_abandon(struct shard *s, uint32_t slot)
{
	struct entry *e = &s->entries[slot];

	assert(e->state == ENTRY_FILLING && e->pins == 1);
	assert(list_empty(&e->waiters));
	free_slot(s, slot);
	s->failures++;
}

uint32_t shard_drop(struct shard *s, uint32_t first, uint32_t count)
{
	uint32_t dropped = 0;

	for (uint32_t i = 0; i < count && first + i < s->slots.size; i++) {
		const struct entry *e = &s->entries[first + i];

		if (e->state != ENTRY_READY || e->pins)
			continue;
		policy_remove(&s->policy, first + i);
		free_slot(s, first + i);
		dropped++;
	}
	s->evictions += dropped;
	return dropped;
}
