#include "pagerd/uffd/serve/timers.h"

#include <stddef.h>

/* Of two heaps, neither of which has siblings; either may be NULL. */
static struct timer *merge(struct timer *a, struct timer *b)
{
	struct timer *later;

	if (!a || !b)
		return a ?: b;
	if (b->when < a->when) {
		later = a;
		a = b;
	} else {
		later = b;
	}
	later->prev = a;
	later->next = a->child;
	if (later->next)
		later->next->prev = later;
	a->child = later;
	return a;
}

static struct timer *cut_first(struct timer **list)
{
	struct timer *t = *list;

	if (t) {
		*list = t->next;
		t->next = t->prev = NULL;
	}
	return t;
}

/* The two passes that keep the heap balanced: pairs, then all of them. */
static struct timer *merge_children(struct timer *first)
{
	struct timer *pairs = NULL, *all = NULL;

	while (first) {
		struct timer *a = cut_first(&first), *b = cut_first(&first);
		struct timer *pair = merge(a, b);

		pair->next = pairs;
		pairs = pair;
	}
	while (pairs)
		all = merge(all, cut_first(&pairs));
	return all;
}

static void detach(struct timer *t)
{
	if (t->prev->child == t)
		t->prev->child = t->next;
	else
		t->prev->next = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->prev = t->next = NULL;
}

void timer_disarm(struct timers *h, struct timer *t)
{
	struct timer *orphans;

	if (!t->armed)
		return;
	t->armed = false;
	orphans = merge_children(t->child);
	t->child = NULL;
	if (h->root == t) {
		h->root = orphans;
	} else {
		detach(t);
		h->root = merge(h->root, orphans);
	}
}

void timer_arm(struct timers *h, struct timer *t, uint64_t when,
	       void (*fire)(struct timer *t))
{
	timer_disarm(h, t);
	t->when = when;
	t->fire = fire;
	t->armed = true;
	h->root = merge(h->root, t);
}

uint64_t timers_next(const struct timers *h)
{
	return h->root ? h->root->when : UINT64_MAX;
}

void timers_run(struct timers *h, uint64_t now)
{
	while (h->root && h->root->when <= now) {
		struct timer *t = h->root;

		timer_disarm(h, t);
		t->fire(t);
	}
}
