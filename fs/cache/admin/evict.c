/*
 * No slot waiter is woken here: one waits while all slots that its class may
 * have are pinned or filling, and that is as it was.
 */
#include "fs/cache/admin/evict.h"

#include "fs/cache/cache_impl.h"

/* Slots looked at with a shard's lock held. */
#define STEP 64u

/* Of each shard in turn, so that all give about the coldest they have. */
#define COLDEST_STEP 8u

static void drop_or_count(struct shard *s, uint32_t slot,
			  struct evict_report *report)
{
	const struct entry *e = &s->entries[slot];

	if (e->state == ENTRY_FILLING) {
		report->filling++;
	} else if (e->pins) {
		report->pinned++;
	} else if (e->holds) {
		report->held++;
	} else {
		shard_drop(s, slot);
		report->blocks++;
	}
}

static bool is_recent(const struct entry *e, uint32_t seconds)
{
	return e->state == ENTRY_READY && shard_now() - e->used_at < seconds;
}

static void evict_slots(struct shard *s, uint32_t from, uint32_t seconds,
			struct evict_report *report)
{
	uint32_t end, slot;

	LOCK_GUARD(&s->lock);
	end = from + STEP < s->extent ? from + STEP : s->extent;
	for (slot = slotmap_next(&s->slots, from, end); slot < end;
	     slot = slotmap_next(&s->slots, slot + 1, end))
		if (is_recent(&s->entries[slot], seconds))
			report->recent++;
		else
			drop_or_count(s, slot, report);
}

static uint32_t extent_of(struct shard *s)
{
	LOCK_GUARD(&s->lock);
	return s->extent;
}

void evict_idle(struct cache *c, uint32_t seconds, struct evict_report *report)
{
	for (unsigned int i = 0; i < c->shard_count; i++) {
		struct shard *s = &c->shards[i];

		for (uint32_t at = 0; at < extent_of(s); at += STEP)
			evict_slots(s, at, seconds, report);
	}
}

void evict_all(struct cache *c, struct evict_report *report)
{
	evict_idle(c, 0, report);
}

/* How many of up to `count` there were to evict. */
static uint64_t evict_some(struct shard *s, uint64_t count)
{
	uint64_t evicted = 0;

	LOCK_GUARD(&s->lock);
	while (evicted < count && shard_drop_coldest(s))
		evicted++;
	return evicted;
}

/* What nothing could be evicted of. */
static void count_rest(struct shard *s, struct evict_report *report)
{
	const struct fifo *queues = s->policy.queues;
	uint32_t ready = 0;

	LOCK_GUARD(&s->lock);
	for (unsigned int i = 0; i < QUEUE_COUNT; i++) {
		ready += queues[i].count;
		if (i != QUEUE_HELD)
			report->pinned += queues[i].pinned;
	}
	report->held += queues[QUEUE_HELD].count;
	report->filling += s->slots.used - ready;
}

void evict_coldest(struct cache *c, uint64_t blocks,
		   struct evict_report *report)
{
	uint64_t round;

	do {
		round = 0;
		for (unsigned int i = 0; i < c->shard_count && blocks; i++) {
			uint64_t step = blocks < COLDEST_STEP ? blocks
							      : COLDEST_STEP;
			uint64_t n = evict_some(&c->shards[i], step);

			round += n;
			blocks -= n;
		}
		report->blocks += round;
	} while (round && blocks);
	for (unsigned int i = 0; i < c->shard_count && blocks; i++)
		count_rest(&c->shards[i], report);
}

void evict_block(struct cache *c, uint64_t block, struct evict_report *report)
{
	struct shard *s = cache_shard(c, hash_block(block));
	uint32_t slot;

	LOCK_GUARD(&s->lock);
	if (shard_find(s, block, &slot))
		drop_or_count(s, slot, report);
	else
		report->absent++;
}

int evict_snapshot(struct cache *c, struct snapshot *snap, struct pins *force,
		   struct evict_report *report)
{
	struct blockset set cleanup(blockset_release) = {0};
	int r = blockset_of_snapshot(c, snap, &set);

	if (r < 0)
		return r;
	for (size_t i = 0; i < set.count; i++) {
		if (force)
			pins_break(force, set.blocks[i]);
		evict_block(c, set.blocks[i], report);
	}
	return 0;
}
