/*
 * Why: clones of one image touch nearly the same pages, in no order, so what
 * is in the cache beside a page that one of them faults on is most often what
 * another needed, and this one will. A fault costs 8 to 50 us and takes the
 * guest's time; a page that rides along costs 0.6 us of the worker's.
 *
 * A page alone in its 64 KiB says nothing of the others, so they ride with the
 * second fault there. Measured (pagerbench fault, all cached, us a touch, off
 * and on): all pages at random 8.1 and 2.4, in order 7.8 and 2.5; one page in
 * 16 8.5 and 8.5 (29.6, had they ridden with the first), two in 16 13 and 19:
 * the worst case, where 14 pages are copied in vain. 64 clones at once
 * touch 2.9 times as many pages a second.
 *
 * The page itself is answered first, by itself: the guest goes on while its
 * neighbours are copied, and a fault of another VM waits for 64 KiB at most.
 *
 * A rider is no touch: it is not recorded. A session that records has none,
 * as the guest would not fault on them any more and the working set would
 * lack them. It is no use of the cache either: cache_peek() finds what is
 * there and leaves no trace. Nor does it need a rule of its own about page
 * states: absent right before the copy, as for a fault; see fault.c.
 *
 * Pages with private bytes and zero pages do not ride: the former are rare,
 * the latter have their own runs.
 */
#include "pagerd/uffd/fault/riders.h"

#include <string.h>

#include "fs/base/cleanup.h"
#include "pagerd/uffd/fault/fault.h"
#include "pagerd/uffd/memory/overlay.h"
#include "pagerd/uffd/serve/worker.h"

/* Pages of the 64 KiB that must be there before others ride. */
#define NEAR 1u

/* 16 pages of the image, some of which are in the worker's buffer. */
struct window {
	struct session *session;
	const struct region *region;
	uint64_t page; /* the first */
	uint16_t ready;
	uint8_t *buffer;
};

static bool is_wanted(const struct window *w, uint64_t page)
{
	const struct region *r = w->region;
	const struct session *s = w->session;
	uint64_t first = r->offset / PAGER_PAGE_SIZE;

	return page >= first && page - first < r->size / PAGER_PAGE_SIZE &&
	       page < pagetable_pages(s->table) &&
	       pagestate_get(s->pages, page) == PAGER_PAGE_ABSENT &&
	       !overlay_touches(s->overlay, page);
}

/* The page that was just answered is one of those that are there. */
static bool is_dense(const struct window *w)
{
	unsigned int there = 0;

	for (unsigned int i = 0; i < RIDERS_PAGES; i++)
		there += pagestate_get(w->session->pages, w->page + i) ==
			 PAGER_PAGE_PRESENT;
	return there > NEAR;
}

static bool take_block(struct cache *cache, uint64_t block, uint8_t *to)
{
	struct cache_ref ref cleanup(cache_unpin) = {0};

	if (cache_peek(cache, block, &ref) < 0 || ref.kind != PAGER_KIND_PAGE)
		return false;
	memcpy(to, ref.data, PAGER_PAGE_SIZE);
	return true;
}

static void collect(struct window *w, struct cache *cache)
{
	struct cache_ref leaf cleanup(cache_unpin) = {0};
	uint64_t id = pagetable_leaf(w->session->table, w->page), block;

	if (!id || cache_peek(cache, id, &leaf) < 0)
		return;
	for (unsigned int i = 0; i < RIDERS_PAGES; i++) {
		uint64_t page = w->page + i;

		if (is_wanted(w, page) &&
		    pagetable_entry(leaf.data, leaf.kind, page, &block) == 0 &&
		    block &&
		    take_block(cache, block, w->buffer + i * PAGER_PAGE_SIZE))
			w->ready |= (uint16_t)(1u << i);
	}
}

/* Its page was installed along, and that call has woken who waits. */
static void answer_waiting(const struct window *w, uint64_t page)
{
	struct session *s = w->session;
	struct fault *f = fault_find(s, region_address(w->region, page));

	if (f && f->region && f->stage == FAULT_RUNNING) {
		fault_note_source(f, SESSION_SOURCE_CACHE);
		fault_settle(f, (struct uffd_outcome){.result = UFFD_DONE});
	}
}

/* False where the rest is better left alone. */
static bool install_run(const struct window *w, unsigned int from,
			unsigned int count)
{
	struct session *s = w->session;
	uint64_t page = w->page + from, done;
	struct uffd_outcome o = uffd_copy(s->uffd.fd,
					  region_address(w->region, page),
					  w->buffer + from * PAGER_PAGE_SIZE,
					  (uint64_t)count * PAGER_PAGE_SIZE);

	done = o.done / PAGER_PAGE_SIZE;
	if (done) {
		pagestate_set(s->pages, page, done, PAGER_PAGE_PRESENT);
		session_count(s, SESSION_COUNT_COPIED, done);
		session_count(s, SESSION_COUNT_RIDDEN, done);
	}
	for (uint64_t i = 0; i < done; i++)
		answer_waiting(w, page + i);
	if (o.result == UFFD_GONE)
		worker_end(s, s->end);
	return o.result == UFFD_DONE;
}

void riders_install(struct session *s, const struct region *region,
		    uint64_t page, struct cache *cache)
{
	struct riders *r = &((struct worker *)atomic_load(&s->worker))->riders;
	struct window w = {
		.session = s,
		.region = region,
		.page = page - page % RIDERS_PAGES,
		.buffer = r->buffer,
	};

	if (r->off || s->record.touches || !is_dense(&w))
		return;
	collect(&w, cache);
	while (w.ready) {
		unsigned int from = (unsigned int)__builtin_ctz(w.ready);
		unsigned int count = (unsigned int)__builtin_ctz(
			~((unsigned int)w.ready >> from));

		if (!install_run(&w, from, count))
			return;
		w.ready &= (uint16_t) ~(((1u << count) - 1) << from);
	}
}
