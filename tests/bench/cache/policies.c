#include "tests/bench/cache/policies.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"

#define NONE UINT32_MAX

/* Items in a list, newest first; an item stands in one list at most. */
struct list {
	uint32_t newest, oldest, count;
};

struct item {
	uint32_t newer, older;
	uint8_t in; /* number of its list; 0: none */
	uint8_t uses;
};

static void unlink_item(struct item *items, struct list *l, uint32_t i)
{
	struct item *it = &items[i];

	*(it->newer == NONE ? &l->newest : &items[it->newer].older) = it->older;
	*(it->older == NONE ? &l->oldest : &items[it->older].newer) = it->newer;
	it->in = 0;
	l->count--;
}

static void push_item(struct item *items, struct list *l, uint32_t i,
		      uint8_t in)
{
	struct item *it = &items[i];

	it->newer = NONE;
	it->older = l->newest;
	*(l->newest == NONE ? &l->oldest : &items[l->newest].newer) = i;
	l->newest = i;
	it->in = in;
	l->count++;
}

static struct list empty_list(void)
{
	return (struct list){.newest = NONE, .oldest = NONE};
}

static int run_lru(const struct trace *t, uint32_t slots, bool *ret_hits)
{
	_cleanup_free_ struct item *items = calloc(t->items, sizeof(*items));
	struct list l = empty_list();

	if (!items)
		return -ENOMEM;
	for (size_t n = 0; n < t->count; n++) {
		uint32_t i = t->lookups[n].item;

		ret_hits[n] = items[i].in;
		if (items[i].in)
			unlink_item(items, &l, i);
		else if (l.count == slots)
			unlink_item(items, &l, l.oldest);
		push_item(items, &l, i, 1);
	}
	return 0;
}

static int run_clock(const struct trace *t, uint32_t slots, bool *ret_hits)
{
	_cleanup_free_ struct item *items = calloc(t->items, sizeof(*items));
	struct list l = empty_list();

	if (!items)
		return -ENOMEM;
	for (size_t n = 0; n < t->count; n++) {
		uint32_t i = t->lookups[n].item;

		ret_hits[n] = items[i].in;
		if (items[i].in) {
			items[i].uses = 1;
			continue;
		}
		while (l.count == slots) {
			uint32_t old = l.oldest;

			unlink_item(items, &l, old);
			if (items[old].uses)
				push_item(items, &l, old, 1);
			items[old].uses = 0;
		}
		push_item(items, &l, i, 1);
		items[i].uses = 0;
	}
	return 0;
}

/* The hand goes from old to new and stays where it was. */
static uint32_t sieve_victim(struct item *items, const struct list *l,
			     uint32_t *hand)
{
	uint32_t i = *hand == NONE ? l->oldest : *hand;

	while (items[i].uses) {
		items[i].uses = 0;
		i = items[i].newer == NONE ? l->oldest : items[i].newer;
	}
	*hand = items[i].newer;
	return i;
}

static int run_sieve(const struct trace *t, uint32_t slots, bool *ret_hits)
{
	_cleanup_free_ struct item *items = calloc(t->items, sizeof(*items));
	struct list l = empty_list();
	uint32_t hand = NONE;

	if (!items)
		return -ENOMEM;
	for (size_t n = 0; n < t->count; n++) {
		uint32_t i = t->lookups[n].item;

		ret_hits[n] = items[i].in;
		if (items[i].in) {
			items[i].uses = 1;
			continue;
		}
		if (l.count == slots)
			unlink_item(items, &l, sieve_victim(items, &l, &hand));
		push_item(items, &l, i, 1);
		items[i].uses = 0;
	}
	return 0;
}

enum { SMALL = 1, MAIN, GHOST };

struct s3fifo {
	struct item *items;
	struct list lists[GHOST + 1];
	uint32_t slots, small;
};

static void s3fifo_move(struct s3fifo *s, uint32_t i, uint8_t to)
{
	unlink_item(s->items, &s->lists[s->items[i].in], i);
	push_item(s->items, &s->lists[to], i, to);
	s->items[i].uses = 0;
}

static void s3fifo_evict(struct s3fifo *s)
{
	struct list *small = &s->lists[SMALL], *large = &s->lists[MAIN];

	while (small->count + large->count >= s->slots) {
		bool from_small = !large->count || small->count >= s->small;
		uint32_t i = from_small ? small->oldest : large->oldest;
		struct item *it = &s->items[i];

		if (from_small) {
			s3fifo_move(s, i, it->uses > 1 ? MAIN : GHOST);
		} else if (it->uses) {
			uint8_t uses = it->uses;

			s3fifo_move(s, i, MAIN);
			it->uses = uses - 1;
		} else {
			unlink_item(s->items, large, i);
		}
	}
	if (s->lists[GHOST].count > s->slots - s->small)
		unlink_item(s->items, &s->lists[GHOST], s->lists[GHOST].oldest);
}

static bool s3fifo_look_up(struct s3fifo *s, uint32_t i)
{
	struct item *it = &s->items[i];
	uint8_t to = SMALL;

	if (it->in == SMALL || it->in == MAIN) {
		it->uses += it->uses < 3;
		return true;
	}
	if (it->in == GHOST) {
		unlink_item(s->items, &s->lists[GHOST], i);
		to = MAIN;
	}
	s3fifo_evict(s);
	push_item(s->items, &s->lists[to], i, to);
	it->uses = 0;
	return false;
}

static int run_s3fifo(const struct trace *t, uint32_t slots, bool *ret_hits)
{
	_cleanup_free_ struct item *items = calloc(t->items, sizeof(*items));
	struct s3fifo s = {.items = items, .slots = slots, .small = slots / 10};

	if (!items)
		return -ENOMEM;
	for (int i = SMALL; i <= GHOST; i++)
		s.lists[i] = empty_list();
	for (size_t n = 0; n < t->count; n++)
		ret_hits[n] = s3fifo_look_up(&s, t->lookups[n].item);
	return 0;
}

/* A heap of slots by the next use of what they hold, the farthest on top. */
struct belady {
	uint32_t *next;	 /* by look-up: the next one of its item, or NONE */
	uint32_t *place; /* by item: in the heap, or NONE */
	uint32_t *heap;	 /* items */
	uint32_t *when;	 /* by item: its next use */
	uint32_t count;
};

static void heap_put(struct belady *b, uint32_t at, uint32_t item)
{
	b->heap[at] = item;
	b->place[item] = at;
}

static void heap_up(struct belady *b, uint32_t at)
{
	uint32_t item = b->heap[at];

	while (at && b->when[b->heap[(at - 1) / 2]] < b->when[item]) {
		heap_put(b, at, b->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(b, at, item);
}

static void heap_down(struct belady *b, uint32_t at)
{
	uint32_t item = b->heap[at];

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child + 1 < b->count &&
		    b->when[b->heap[child + 1]] > b->when[b->heap[child]])
			child++;
		if (child >= b->count ||
		    b->when[b->heap[child]] <= b->when[item])
			break;
		heap_put(b, at, b->heap[child]);
		at = child;
	}
	heap_put(b, at, item);
}

static bool belady_look_up(struct belady *b, uint32_t item, uint32_t when,
			   uint32_t slots)
{
	bool hit = b->place[item] != NONE;

	b->when[item] = when;
	if (hit) {
		heap_up(b, b->place[item]);
	} else if (b->count < slots) {
		heap_put(b, b->count, item);
		heap_up(b, b->count++);
	} else {
		b->place[b->heap[0]] = NONE;
		heap_put(b, 0, item);
		heap_down(b, 0);
	}
	return hit;
}

static void find_next_uses(const struct trace *t, struct belady *b)
{
	memset(b->place, 0xff, t->items * sizeof(uint32_t));
	for (size_t n = t->count; n-- > 0;) {
		uint32_t item = t->lookups[n].item;

		b->next[n] = b->place[item];
		b->place[item] = (uint32_t)n;
	}
	memset(b->place, 0xff, t->items * sizeof(uint32_t));
}

static int run_belady(const struct trace *t, uint32_t slots, bool *ret_hits)
{
	_cleanup_free_ uint32_t *memory =
		calloc(t->count + 3 * (size_t)t->items, sizeof(*memory));
	struct belady b = {
		.next = memory,
		.place = memory + t->count,
		.heap = memory + t->count + t->items,
		.when = memory + t->count + 2 * (size_t)t->items,
	};

	if (!memory)
		return -ENOMEM;
	find_next_uses(t, &b);
	for (size_t n = 0; n < t->count; n++)
		ret_hits[n] = belady_look_up(&b, t->lookups[n].item, b.next[n],
					     slots);
	return 0;
}

const struct policies_row policies[] = {
	{"lru", run_lru},	 {"clock", run_clock},	 {"sieve", run_sieve},
	{"s3-fifo", run_s3fifo}, {"belady", run_belady}, {NULL, NULL},
};
