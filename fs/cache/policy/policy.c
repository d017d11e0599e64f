#include "fs/cache/policy/policy.h"

#include <assert.h>

#include "fs/cache/policy/class.h"

#define USES_MAX      3
#define SCAN_PERCENT  1
#define SMALL_PERCENT 2
#define GHOST_PERCENT 50

_Static_assert(sizeof(struct entry) == 48, "1.2 % of a slot");

/* A share of the slots, at least one. */
static uint32_t share(uint32_t slots, uint32_t percent)
{
	uint32_t n = (uint32_t)((uint64_t)slots * percent / 100);

	return n ? n : 1;
}

static void set_targets(struct policy *p, uint32_t slots)
{
	p->scan_target = share(slots, SCAN_PERCENT);
	p->small_target = share(slots, SMALL_PERCENT);
}

size_t policy_bytes(uint32_t slots)
{
	return ghost_bytes(share(slots, GHOST_PERCENT));
}

void policy_init(struct policy *p, struct entry *entries, uint32_t slots,
		 void *memory)
{
	*p = (struct policy){.entries = entries};
	set_targets(p, slots);
	ghost_init(&p->ghost, share(slots, GHOST_PERCENT), memory);
}

void policy_resize(struct policy *p, uint32_t slots)
{
	set_targets(p, slots);
	ghost_resize(&p->ghost, share(slots, GHOST_PERCENT));
}

bool policy_miss(struct policy *p, struct entry *e, enum cache_class class)
{
	e->class = class;
	e->admitted = class_rule(class)->admitted;
	e->uses = 0;
	e->queue = e->admitted ? QUEUE_SMALL : QUEUE_SCAN;
	if (!e->admitted || !ghost_take(&p->ghost, e->block))
		return false;
	e->queue = QUEUE_MAIN;
	return true;
}

void policy_use(struct entry *e)
{
	e->admitted = true;
	if (e->uses < USES_MAX)
		e->uses++;
}

void policy_hit(struct entry *e, enum cache_class class)
{
	e->hit = true;
	if (class_rule(class)->admitted)
		policy_use(e);
}

static void push(struct policy *p, uint32_t slot)
{
	struct entry *e = &p->entries[slot];
	struct fifo *q = &p->queues[e->queue];

	e->newer = 0;
	e->older = q->newest;
	if (q->newest)
		p->entries[q->newest - 1].newer = slot + 1;
	else
		q->oldest = slot + 1;
	q->newest = slot + 1;
	q->count++;
	q->pinned += e->pins != 0;
}

void policy_insert(struct policy *p, uint32_t slot)
{
	assert(p->entries[slot].state == ENTRY_READY);
	push(p, slot);
}

void policy_remove(struct policy *p, uint32_t slot)
{
	struct entry *e = &p->entries[slot];
	struct fifo *q = &p->queues[e->queue];

	assert(e->state == ENTRY_READY && q->count > 0);
	if (e->newer)
		p->entries[e->newer - 1].older = e->older;
	else
		q->newest = e->older;
	if (e->older)
		p->entries[e->older - 1].newer = e->newer;
	else
		q->oldest = e->newer;
	q->count--;
	q->pinned -= e->pins != 0;
}

void policy_pin(struct policy *p, struct entry *e)
{
	assert(e->state == ENTRY_READY);
	if (e->pins++ > 0)
		return;
	p->queues[e->queue].pinned++;
	p->pinned[e->class]++;
}

void policy_unpin(struct policy *p, struct entry *e)
{
	assert(e->state == ENTRY_READY && e->pins > 0);
	if (--e->pins > 0)
		return;
	p->queues[e->queue].pinned--;
	p->pinned[e->class]--;
}

void policy_move(struct policy *p, uint32_t from, uint32_t to)
{
	struct entry *e = &p->entries[to];
	struct fifo *q = &p->queues[p->entries[from].queue];

	assert(e->state == ENTRY_FREE);
	*e = p->entries[from];
	assert(e->state == ENTRY_READY);
	*(e->newer ? &p->entries[e->newer - 1].older : &q->newest) = to + 1;
	*(e->older ? &p->entries[e->older - 1].newer : &q->oldest) = to + 1;
	p->entries[from] = (struct entry){.state = ENTRY_FREE};
}

static void change_queue(struct policy *p, uint32_t slot,
			 enum entry_queue queue)
{
	policy_remove(p, slot);
	p->entries[slot].queue = queue;
	p->entries[slot].uses = 0;
	push(p, slot);
}

void policy_hold(struct policy *p, uint32_t slot)
{
	if (p->entries[slot].holds++ == 0)
		change_queue(p, slot, QUEUE_HELD);
}

void policy_unhold(struct policy *p, uint32_t slot)
{
	assert(p->entries[slot].holds > 0);
	if (--p->entries[slot].holds == 0)
		change_queue(p, slot, QUEUE_MAIN);
}

static uint32_t unpinned(const struct fifo *q)
{
	return q->count - q->pinned;
}

uint32_t policy_evictable(const struct policy *p)
{
	return unpinned(&p->queues[QUEUE_SCAN]) +
	       unpinned(&p->queues[QUEUE_SMALL]) +
	       unpinned(&p->queues[QUEUE_MAIN]);
}

static bool is_over(const struct fifo *q, uint32_t target)
{
	return unpinned(q) && q->count > target;
}

/*
 * The queue that pays: the scan queue if it is over its share, else the small
 * one, else the main one; or what has anything to give.
 */
static const struct fifo *choose_queue(const struct policy *p)
{
	const struct fifo *scan = &p->queues[QUEUE_SCAN];
	const struct fifo *small = &p->queues[QUEUE_SMALL];
	const struct fifo *large = &p->queues[QUEUE_MAIN];

	if (is_over(scan, p->scan_target))
		return scan;
	if (is_over(small, p->small_target - 1))
		return small;
	if (unpinned(large))
		return large;
	return unpinned(small) ? small : scan;
}

static bool reprieve_scanned(struct entry *e)
{
	if (!e->admitted)
		return false;
	/* The use that admitted it was its first by these classes. */
	e->queue = QUEUE_SMALL;
	e->uses--;
	return true;
}

static bool reprieve_small(struct entry *e)
{
	if (!e->uses)
		return false;
	e->queue = QUEUE_MAIN;
	e->uses = 0;
	return true;
}

/*
 * Whether the entry, which was just taken from the old end of its queue, goes
 * on living; its queue and uses are then those of its next round.
 */
static bool reprieve(struct entry *e, unsigned int rounds)
{
	if (e->pins)
		return true;
	if (e->queue == QUEUE_SCAN)
		return reprieve_scanned(e);
	if (e->queue == QUEUE_SMALL)
		return reprieve_small(e);
	if (e->uses == 0 || rounds >= POLICY_ROUNDS)
		return false;
	e->uses--;
	return true;
}

/*
 * Ends: a queue with an unpinned entry is chosen each time, the pinned are
 * finitely many, a step towards the main queue is never undone, and the rounds
 * end the reprieves there.
 */
uint32_t policy_evict(struct policy *p)
{
	assert(policy_evictable(p) > 0);
	for (unsigned int rounds = 0;; rounds++) {
		uint32_t slot = choose_queue(p)->oldest - 1;
		struct entry *e = &p->entries[slot];

		policy_remove(p, slot);
		if (reprieve(e, rounds)) {
			push(p, slot);
			continue;
		}
		if (e->queue == QUEUE_SMALL && e->admitted)
			ghost_add(&p->ghost, e->block);
		return slot;
	}
}
