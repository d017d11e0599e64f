/*
 * The unit is a batch: 16 neighbouring pages, or one 2 MiB page, gathered in a
 * buffer and installed by one call for each run of pages that are alike.
 *
 *   idle -> gathering -> ready -> installed: idle
 *                          ^          |
 *                          |_ put off_|   by EAGAIN
 *
 * Demand goes first: a worker's turn answers its faults, then begins one batch
 * and installs one, so a fault that comes meanwhile waits for 64 KiB at most.
 * A worker has few batches: they bound the memory and the reads under way, and
 * as reads of a class that is not urgent they never stand before a fault's.
 *
 * Sessions of a lane take turns, a batch each. A lane is served when those
 * before it have nothing to begin. What a batch waits for does not hold up
 * other sessions.
 *
 * Nothing here is needed for correctness: a page's state is looked at right
 * before it is installed, as for a fault (see fault.c on why that is enough),
 * and a fault on a page that is being gathered does not wait for the batch.
 */
#include "pagerd/uffd/ahead/ahead.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "pagerd/uffd/ahead/complete.h"
#include "pagerd/uffd/fault/gather.h"
#include "pagerd/uffd/fault/huge.h"
#include "pagerd/uffd/memory/overlay.h"
#include "pagerd/uffd/serve/worker.h"

#define BATCHES_MAX	 8u
#define HUGE_BATCHES_MAX 1u
#define PUT_OFF_PAUSE	 UINT64_C(200000)

struct batch {
	struct gather *gather;
	struct session *session; /* NULL: idle, or its session has ended */
	enum ahead_lane lane;
	bool huge, gathering, is_put_off;
	uint64_t put_off_since;
	struct list_node node;	       /* in idle or ready */
	struct list_node session_node; /* in the session's batches */
};

/* What is to be gathered next. */
struct piece {
	uint64_t page;
	unsigned int count;
	uint16_t mask; /* of 16 pages; without a meaning for 2 MiB */
};

static struct worker *worker_of(const struct session *s)
{
	return atomic_load(&s->worker);
}

void ahead_worker_init(struct ahead_worker *a)
{
	*a = (struct ahead_worker){0};
	for (int i = 0; i < AHEAD_LANES; i++) {
		list_init(&a->lanes[i]);
		list_init(&a->waiting[i]);
	}
	list_init(&a->idle[0]);
	list_init(&a->idle[1]);
	list_init(&a->ready);
}

void ahead_worker_release(struct ahead_worker *a)
{
	struct list_node *n;

	for (int i = 0; i < 2; i++) {
		while ((n = list_pop(&a->idle[i]))) {
			struct batch *b = container_of(n, struct batch, node);

			gather_free(b->gather);
			free(b);
			a->made[i]--;
		}
		assert(a->made[i] == 0);
	}
}

void ahead_init(struct ahead *a)
{
	for (int i = 0; i < AHEAD_LANES; i++) {
		list_init(&a->lanes[i]);
		list_init(&a->batches[i]);
	}
}

void ahead_release(struct ahead *a)
{
	plan_free(steal_ptr(a->plan));
}

static struct batch *make_batch(struct worker *w, bool huge)
{
	_cleanup_free_ struct batch *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->gather = gather_new(w, huge ? PAGER_NODE_ENTRIES : PLAN_PIECE_PAGES);
	if (!b->gather)
		return NULL;
	b->gather->owner = b;
	b->huge = huge;
	list_init(&b->node);
	list_init(&b->session_node);
	w->ahead.made[huge]++;
	return steal_ptr(b);
}

/* NULL where all are in use, or memory is short. */
static struct batch *take_batch(struct worker *w, bool huge)
{
	struct list_node *n = list_pop(&w->ahead.idle[huge]);

	if (n)
		return container_of(n, struct batch, node);
	if (w->ahead.made[huge] < (huge ? HUGE_BATCHES_MAX : BATCHES_MAX))
		return make_batch(w, huge);
	return NULL;
}

static void check_over(struct session *s, enum ahead_lane lane);

static void give_back(struct batch *b)
{
	struct worker *w = b->gather->worker;
	struct session *s = b->session;

	b->session = NULL;
	b->gathering = b->is_put_off = false;
	list_remove(&b->session_node);
	list_remove(&b->node);
	list_insert(&w->ahead.idle[b->huge], &b->node);
	for (int i = 0; i < AHEAD_LANES; i++)
		list_splice(&w->ahead.lanes[i], &w->ahead.waiting[i]);
	if (s)
		check_over(s, b->lane);
}

static bool is_wanted(const struct session *s, uint64_t page)
{
	return page < s->pages->pages &&
	       pagestate_get(s->pages, page) == PAGER_PAGE_ABSENT &&
	       regions_find_page(&s->regions, page);
}

/* Of 16 pages those to be installed, of the ones in `mask`. */
static uint16_t wanted(const struct session *s, uint64_t page, uint16_t mask)
{
	uint16_t result = 0;

	for (unsigned int i = 0; i < PLAN_PIECE_PAGES; i++)
		if (mask & 1u << i && is_wanted(s, page + i))
			result |= (uint16_t)(1u << i);
	return result;
}

/* The piece around the first page of `mask`, whose bits are all wanted. */
static struct piece piece_at(const struct session *s, uint64_t page,
			     uint16_t mask)
{
	uint64_t first = page + (unsigned int)__builtin_ctz(mask);
	const struct region *r = regions_find_page(&s->regions, first);

	if (r->page_size == PAGER_HUGE_PAGE_SIZE)
		return (struct piece){.page = first -
					      first % PAGER_NODE_ENTRIES,
				      .count = PAGER_NODE_ENTRIES};
	return (struct piece){page, PLAN_PIECE_PAGES, mask};
}

static bool next_prefetch(struct session *s, struct piece *ret_piece)
{
	struct ahead *a = &s->ahead;

	for (; a->next < a->plan->count; a->next++) {
		const struct plan_piece *p = &a->plan->pieces[a->next];
		uint16_t mask = wanted(s, p->page, p->mask);

		if (mask) {
			*ret_piece = piece_at(s, p->page, mask);
			return true;
		}
	}
	return false;
}

static bool next_complete(struct session *s, struct piece *ret_piece)
{
	struct ahead *a = &s->ahead;

	for (; a->region < s->regions.count; a->region++, a->page = 0) {
		const struct region *r = &s->regions.all[a->region];
		uint64_t first = r->offset / PAGER_PAGE_SIZE;
		uint64_t end = first + r->size / PAGER_PAGE_SIZE;
		uint16_t mask;

		if (a->page < first)
			a->page = first;
		a->page = pagestate_next(s->pages, a->page, end,
					 PAGER_PAGE_ABSENT);
		if (a->page >= end)
			continue;
		first = a->page - a->page % PLAN_PIECE_PAGES;
		mask = wanted(s, first, UINT16_MAX);
		*ret_piece = piece_at(s, first, mask);
		return true;
	}
	return false;
}

static bool next_piece(struct session *s, enum ahead_lane lane,
		       struct piece *ret_piece)
{
	return lane == AHEAD_PREFETCH ? next_prefetch(s, ret_piece)
				      : next_complete(s, ret_piece);
}

/* The piece that next_piece() told of is begun. */
static void pass_piece(struct session *s, enum ahead_lane lane,
		       const struct piece *p)
{
	if (lane == AHEAD_PREFETCH)
		s->ahead.next++;
	else
		s->ahead.page = p->page + p->count;
}

static void gathered(struct gather *g, int error)
{
	struct batch *b = g->owner;
	struct session *s = b->session;
	enum ahead_lane lane = b->lane;

	b->gathering = false;
	if (error == 0) {
		list_append(&g->worker->ahead.ready, &b->node);
		return;
	}
	if (error == -ECANCELED) {
		give_back(b);
		return;
	}
	if (lane == AHEAD_COMPLETE)
		complete_failed(s, error);
	else
		log_debug("a page of the working set cannot be had: %s "
			  "session=%s page=%" PRIu64,
			  err_text(error), s->id, g->page);
	if (b->session)
		give_back(b);
}

static void begin_batch(struct batch *b, struct session *s,
			enum ahead_lane lane, const struct piece *p)
{
	struct gather *g = b->gather;

	b->session = s;
	b->lane = lane;
	b->put_off_since = 0;
	b->gathering = true;
	list_append(&s->ahead.batches[lane], &b->session_node);
	g->page = p->page;
	g->count = p->count;
	/* A completion reads each page once, as a scan does. */
	g->class = lane == AHEAD_COMPLETE ? CACHE_BULK : CACHE_PREFETCH;
	g->done = gathered;
	for (unsigned int i = 0; i < p->count; i++)
		g->what[i] = b->huge || p->mask & 1u << i ? GATHER_ZERO
							  : GATHER_SKIP;
	gather_start(g, s);
}

static void rest_over(struct timer *t)
{
	struct session *s = container_of(t, struct session, ahead.rest);

	list_append(&worker_of(s)->ahead.lanes[AHEAD_COMPLETE],
		    &s->ahead.lanes[AHEAD_COMPLETE]);
}

/* True where a completion has to rest first, by its rate. */
static bool must_rest(struct session *s, enum ahead_lane lane)
{
	struct ahead *a = &s->ahead;

	if (lane != AHEAD_COMPLETE || a->rate == 0 ||
	    worker_now() >= a->not_before)
		return false;
	timer_arm(&worker_of(s)->timers, &a->rest, a->not_before, rest_over);
	return true;
}

/* Counted when it begins: else as many as there are batches would begin. */
static void charge(struct session *s, enum ahead_lane lane,
		   const struct piece *p)
{
	uint64_t pages = p->count > PLAN_PIECE_PAGES
				 ? p->count
				 : (unsigned int)__builtin_popcount(p->mask);

	if (lane == AHEAD_COMPLETE && s->ahead.rate)
		s->ahead.not_before +=
			pages * PAGER_PAGE_SIZE * 1000000000 / s->ahead.rate;
}

/* Begins the session's next batch of a lane that its node was taken out of. */
static void begin_next(struct session *s, enum ahead_lane lane)
{
	struct worker *w = worker_of(s);
	struct piece p;
	struct batch *b;

	if (must_rest(s, lane))
		return;
	if (!next_piece(s, lane, &p)) {
		check_over(s, lane);
		return;
	}
	b = take_batch(w, p.count > PLAN_PIECE_PAGES);
	if (!b) {
		list_append(&w->ahead.waiting[lane], &s->ahead.lanes[lane]);
		return;
	}
	pass_piece(s, lane, &p);
	charge(s, lane, &p);
	list_append(&w->ahead.lanes[lane], &s->ahead.lanes[lane]);
	begin_batch(b, s, lane, &p);
}

static void over(struct session *s, enum ahead_lane lane)
{
	if (lane == AHEAD_COMPLETE) {
		complete_passed(s);
		return;
	}
	log_debug("working set installed session=%s pages=%" PRIu64, s->id,
		  session_counter(s, SESSION_COUNT_PREFETCHED));
	plan_free(steal_ptr(s->ahead.plan));
	atomic_store(&s->shown.prefetch_ns, worker_now() - s->ahead.began);
	atomic_store(&s->shown.prefetching, false);
}

/* Nothing more to begin and nothing under way: the lane is through. */
static void check_over(struct session *s, enum ahead_lane lane)
{
	struct ahead *a = &s->ahead;

	if (list_empty(&a->lanes[lane]) && list_empty(&a->batches[lane]) &&
	    !(lane == AHEAD_COMPLETE && a->rest.armed))
		over(s, lane);
}

/* A run of neighbours to be installed by one call. */
struct run {
	uint64_t page, count, address;
	bool zero;
};

/*
 * What page i of the batch is now. Zero pages beside what is asked for are
 * installed along: they cost next to nothing, and the guest would have to
 * fault for them.
 */
static enum gather_what kind_of(const struct batch *b, unsigned int i)
{
	const struct gather *g = b->gather;
	const struct session *s = b->session;

	if (!is_wanted(s, g->page + i))
		return GATHER_SKIP;
	if (g->what[i] == GATHER_SKIP && g->blocks[i] == 0 &&
	    g->page + i < pagetable_pages(s->table) &&
	    !overlay_touches(s->overlay, g->page + i))
		return GATHER_ZERO;
	return g->what[i];
}

/*
 * The next run from page `from` of the batch on; false where there is none. A
 * 2 MiB page is one run, of whatever it is made.
 */
static bool next_run(const struct batch *b, unsigned int from,
		     struct run *ret_run)
{
	const struct gather *g = b->gather;
	enum gather_what kind = GATHER_SKIP;
	const struct region *r;
	unsigned int end;
	uint64_t last;

	while (from < g->count && (kind = kind_of(b, from)) == GATHER_SKIP)
		from++;
	if (from == g->count)
		return false;
	r = regions_find_page(&b->session->regions, g->page + from);
	last = (r->offset + r->size) / PAGER_PAGE_SIZE;
	for (end = from + 1; end < g->count && g->page + end < last &&
			     (b->huge || kind_of(b, end) == kind);
	     end++)
		;
	*ret_run = (struct run){
		.page = g->page + from,
		.count = end - from,
		.address = region_address(r, g->page + from),
		.zero = kind == GATHER_ZERO && !b->huge,
	};
	return true;
}

static void put_off_over(struct timer *t)
{
	ahead_retry(container_of(t, struct session, ahead.put_off));
}

static void put_off(struct batch *b, int error)
{
	struct session *s = b->session;
	struct timer *t = &s->ahead.put_off;
	uint64_t now = worker_now();

	session_count(s, SESSION_COUNT_RETRIES, 1);
	if (!b->put_off_since)
		b->put_off_since = now;
	if (now - b->put_off_since >= s->retry_ns) {
		if (b->lane == AHEAD_COMPLETE)
			complete_failed(s,
					err_set(-ETIMEDOUT,
						"the kernel puts pages off: %s",
						strerrordesc_np(-error)));
		if (b->session)
			give_back(b);
		return;
	}
	b->is_put_off = true;
	if (!t->armed)
		timer_arm(&worker_of(s)->timers, t, now + PUT_OFF_PAUSE,
			  put_off_over);
}

void ahead_retry(struct session *s)
{
	timer_disarm(&worker_of(s)->timers, &s->ahead.put_off);
	for (int lane = 0; lane < AHEAD_LANES; lane++) {
		list_foreach (n, &s->ahead.batches[lane]) {
			struct batch *b =
				container_of(n, struct batch, session_node);

			if (b->is_put_off)
				list_append(&worker_of(s)->ahead.ready,
					    &b->node);
			b->is_put_off = false;
		}
	}
}

static struct uffd_outcome install_run(struct batch *b, const struct run *run)
{
	struct session *s = b->session;
	size_t at = (size_t)(run->page - b->gather->page) * PAGER_PAGE_SIZE;
	uint64_t size = run->count * PAGER_PAGE_SIZE;

	if (b->huge)
		return huge_install(s, run->address, b->gather);
	if (run->zero)
		return uffd_zero(s->uffd.fd, run->address, size);
	return uffd_copy(s->uffd.fd, run->address, b->gather->buffer + at,
			 size);
}

static void count_installed(const struct batch *b, const struct run *run,
			    uint64_t pages)
{
	struct session *s = b->session;

	if (pages == 0)
		return;
	pagestate_set(s->pages, run->page, pages, PAGER_PAGE_PRESENT);
	session_count(s,
		      run->zero ? SESSION_COUNT_ZEROED : SESSION_COUNT_COPIED,
		      pages);
	session_count(s,
		      b->lane == AHEAD_PREFETCH ? SESSION_COUNT_PREFETCHED
						: SESSION_COUNT_COMPLETED,
		      pages);
}

/*
 * Goes on from what a run's install came to. The pages to go on behind, or
 * less than 0 where the batch is done with.
 */
static int settle_run(struct batch *b, const struct run *run,
		      struct uffd_outcome o)
{
	struct session *s = b->session;
	uint64_t unit = b->huge ? PAGER_NODE_ENTRIES : 1;
	uint64_t done = o.done / PAGER_PAGE_SIZE / unit * unit;

	count_installed(b, run, done);
	switch (o.result) {
	case UFFD_DONE:
		return (int)run->count;
	case UFFD_EXISTS:
		pagestate_set(s->pages, run->page + done, unit,
			      PAGER_PAGE_PRESENT);
		uffd_wake(s->uffd.fd, run->address + done * PAGER_PAGE_SIZE,
			  unit * PAGER_PAGE_SIZE);
		return (int)(done + unit);
	case UFFD_UNMAPPED:
		/* The mapping may end within the run: a page at a time then. */
		return run->count > unit ? (int)done : (int)run->count;
	case UFFD_RETRY:
		if (done)
			return (int)done;
		put_off(b, o.error);
		return -1;
	case UFFD_GONE:
		worker_end(s, s->end);
		give_back(b);
		return -1;
	case UFFD_FAILED:
		break;
	}
	if (b->lane == AHEAD_COMPLETE)
		complete_failed(s, err_set(o.error, "the kernel refuses it: %s",
					   strerrordesc_np(-o.error)));
	if (b->session)
		give_back(b);
	return -1;
}

/* Where a whole run met a hole in the mapping: its pages one by one. */
static int install_singly(struct batch *b, struct run run)
{
	uint64_t count = run.count;

	run.count = 1;
	for (uint64_t i = 0; i < count; i++) {
		int n = settle_run(b, &run, install_run(b, &run));

		if (n < 0)
			return n;
		run.page++;
		run.address += PAGER_PAGE_SIZE;
	}
	return (int)count;
}

static void install(struct batch *b)
{
	struct run run;
	unsigned int from = 0;

	while (next_run(b, from, &run)) {
		int n = settle_run(b, &run, install_run(b, &run));

		if (n == 0)
			n = install_singly(b, run);
		if (n < 0)
			return;
		from = (unsigned int)(run.page - b->gather->page) +
		       (unsigned int)n;
	}
	give_back(b);
}

bool ahead_ready(const struct ahead_worker *a)
{
	return !list_empty(&a->ready) || !list_empty(&a->lanes[0]) ||
	       !list_empty(&a->lanes[1]);
}

void ahead_run(struct worker *w)
{
	struct ahead_worker *a = &w->ahead;
	enum ahead_lane lane = list_empty(&a->lanes[AHEAD_PREFETCH])
				       ? AHEAD_COMPLETE
				       : AHEAD_PREFETCH;
	struct list_node *n = list_pop(&a->lanes[lane]);

	if (n)
		begin_next(container_of(n, struct session, ahead.lanes[lane]),
			   lane);
	n = list_pop(&a->ready);
	if (n)
		install(container_of(n, struct batch, node));
}

void ahead_prefetch(struct session *s)
{
	struct ahead *a = &s->ahead;

	if (!a->plan)
		return;
	a->began = worker_now();
	atomic_store(&s->shown.prefetching, true);
	list_append(&worker_of(s)->ahead.lanes[AHEAD_PREFETCH],
		    &a->lanes[AHEAD_PREFETCH]);
}

void ahead_complete(struct session *s)
{
	struct ahead *a = &s->ahead;

	a->region = 0;
	a->page = 0;
	a->not_before = worker_now();
	list_append(&worker_of(s)->ahead.lanes[AHEAD_COMPLETE],
		    &a->lanes[AHEAD_COMPLETE]);
}

void ahead_stop(struct session *s, enum ahead_lane lane)
{
	struct ahead *a = &s->ahead;
	struct list_node *n;

	list_remove(&a->lanes[lane]);
	if (lane == AHEAD_COMPLETE)
		timer_disarm(&worker_of(s)->timers, &a->rest);
	while ((n = list_pop(&a->batches[lane]))) {
		struct batch *b = container_of(n, struct batch, session_node);

		b->session = NULL;
		if (b->gathering)
			gather_abandon(b->gather);
		else
			give_back(b);
	}
	if (list_empty(&a->batches[0]) && list_empty(&a->batches[1]))
		timer_disarm(&worker_of(s)->timers, &a->put_off);
}
