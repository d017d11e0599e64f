/*
 * A fault's way, all on the session's worker:
 *
 *   by the page's state          absent      removed, present     poisoned
 *                                  |               |                 |
 *   its leaf of the page table:  fetch             |                 |
 *   its block, where not zero:   fetch             |                 |
 *   install:                      COPY         ZEROPAGE            POISON
 *
 * A fault that has to wait (a read, EAGAIN, a 2 MiB buffer) leaves its way
 * and begins anew at the page's state when the wait is over: a REMOVE may have
 * come meanwhile, and then the page is zero, whatever was fetched for it.
 * What it had fetched is given up; a second look-up in the cache is cheap
 * beside a pin that is held over a wait.
 *
 * Why the look at the state right before the install is enough: a REMOVE that
 * we have not read yet makes the kernel refuse the install with EAGAIN until
 * we have read it. So an install either comes before the guest gave the page
 * back, and is dropped with it, or is refused; it cannot come after.
 *
 * Every further message about the same page joins the fault that is under way:
 * its answer wakes all who wait for the page.
 */
#include "pagerd/uffd/fault/fault.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/io/inject.h"
#include "fs/io/page.h"
#include "pagerd/uffd/fault/huge.h"
#include "pagerd/uffd/fault/policy.h"
#include "pagerd/uffd/fault/riders.h"
#include "pagerd/uffd/fault/zero.h"
#include "pagerd/uffd/memory/overlay.h"
#include "pagerd/uffd/serve/turn/demand.h"
#include "pagerd/uffd/serve/worker.h"

#define CHUNK 64u

#define PAUSE_FIRST UINT64_C(20000)
#define PAUSE_MAX   UINT64_C(2000000)

struct fault_chunk {
	struct fault_chunk *next;
	struct fault faults[CHUNK];
};

static struct fault *pool_take(struct fault_pool *p)
{
	struct fault *f = p->free;
	struct fault_chunk *chunk;

	if (!f) {
		chunk = calloc(1, sizeof(*chunk));
		if (!chunk)
			return NULL;
		chunk->next = p->chunks;
		p->chunks = chunk;
		for (unsigned int i = 0; i < CHUNK; i++) {
			chunk->faults[i].next = p->free;
			p->free = &chunk->faults[i];
		}
		f = p->free;
	}
	p->free = f->next;
	p->used++;
	return f;
}

static void pool_give(struct fault_pool *p, struct fault *f)
{
	f->next = p->free;
	p->free = f;
	p->used--;
}

void fault_pool_release(struct fault_pool *p)
{
	assert(p->used == 0);
	while (p->chunks) {
		struct fault_chunk *chunk = p->chunks;

		p->chunks = chunk->next;
		free(chunk);
	}
	p->free = NULL;
}

static struct fault **bucket(struct session *s, uint64_t address)
{
	return &s->buckets[address / PAGER_PAGE_SIZE *
				   UINT64_C(0x9e3779b97f4a7c15) >>
			   57];
}

_Static_assert(FAULT_BUCKETS == 1u << (64 - 57), "the hash's shift");

struct fault *fault_find(struct session *s, uint64_t address)
{
	struct fault *f = *bucket(s, address);

	while (f && f->address != address)
		f = f->next;
	return f;
}

static void set_shown(_Atomic uint64_t *shown, uint64_t value)
{
	atomic_store_explicit(shown, value, memory_order_relaxed);
}

static uint64_t get_shown(const _Atomic uint64_t *shown)
{
	return atomic_load_explicit(shown, memory_order_relaxed);
}

struct fault *fault_new(struct session *s, uint64_t address,
			const struct region *region, uint64_t now)
{
	struct worker *w = atomic_load(&s->worker);
	struct fault **at = bucket(s, address), *f;

	if (get_shown(&s->shown.outstanding) >= s->faults_max)
		return NULL;
	f = pool_take(&w->faults);
	if (!f)
		return NULL;
	*f = (struct fault){
		.session = s,
		.worker = w,
		.region = region,
		.address = address,
		.page = region ? region_page(region, address) : 0,
		.since = now,
		.source = SESSION_SOURCE_COUNT,
		.next = *at,
	};
	*at = f;
	if (list_empty(&s->outstanding)) {
		set_shown(&s->shown.oldest_since, now);
		set_shown(&s->shown.blocked_since, now);
	}
	list_append(&s->outstanding, &f->node);
	list_init(&f->wait_node);
	session_adjust(&s->shown.outstanding, 1);
	return f;
}

static void leave_bucket(struct fault *f)
{
	struct fault **at = bucket(f->session, f->address);

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
}

static void show_oldest(struct session *s)
{
	uint64_t since;

	if (!list_empty(&s->outstanding)) {
		since = container_of(s->outstanding.next, struct fault, node)
				->since;
		set_shown(&s->shown.oldest_since, since);
		return;
	}
	set_shown(&s->shown.oldest_since, 0);
	since = get_shown(&s->shown.blocked_since);
	set_shown(&s->shown.blocked_since, 0);
	set_shown(&s->shown.blocked_ns,
		  get_shown(&s->shown.blocked_ns) + worker_now() - since);
}

/* Takes it out of what its stage put it in. */
static void leave_stage(struct fault *f)
{
	struct session *s = f->session;

	if (f->stage == FAULT_PUT_OFF)
		session_adjust(&s->shown.parked, -1);
	if (f->stage == FAULT_STALLED)
		session_adjust(&s->shown.stalled, -1);
	if (f->stage == FAULT_QUEUED || f->stage == FAULT_GATHERING)
		huge_abandon(f);
	timer_disarm(&f->worker->timers, &f->timer);
	list_remove(&f->wait_node);
	f->stage = FAULT_RUNNING;
}

/* From everything of its session's; it may still have a fetch under way. */
static void detach(struct fault *f)
{
	struct session *s = f->session;

	leave_bucket(f);
	list_remove(&f->node);
	session_adjust(&s->shown.outstanding, -1);
	show_oldest(s);
	f->session = NULL;
}

void fault_done(struct fault *f)
{
	leave_stage(f);
	detach(f);
	pool_give(&f->worker->faults, f);
}

void fault_drop_all(struct session *s)
{
	list_foreach_safe (n, &s->outstanding) {
		struct fault *f = container_of(n, struct fault, node);

		if (f->stage == FAULT_FETCHING)
			detach(f);
		else
			fault_done(f);
	}
}

/* A fetch came back. True where its fault's session had ended. */
static bool forsaken(struct fault *f)
{
	if (f->session)
		return false;
	cache_unpin(&f->fetch.ref);
	pool_give(&f->worker->faults, f);
	return true;
}

static enum pager_page_state state_of(const struct fault *f)
{
	return pagestate_get(f->session->pages, f->page);
}

static void set_state(struct fault *f, enum pager_page_state state)
{
	pagestate_set(f->session->pages, f->page,
		      f->region->page_size / PAGER_PAGE_SIZE, state);
}

static uint64_t size_of(const struct fault *f)
{
	return f->region ? f->region->page_size : PAGER_PAGE_SIZE;
}

void fault_note_source(struct fault *f, enum session_source source)
{
	session_count(f->session, session_source_counter(source), 1);
	f->source = source;
}

static void resolved(struct fault *f)
{
	struct session *s = f->session;
	uint64_t took = worker_now() - f->since;

	session_count(s, SESSION_COUNT_RESOLVED, 1);
	hist_record(&s->shown.latency, took);
	if (f->source != SESSION_SOURCE_COUNT)
		hist_record(&s->shown.latency_by[f->source], took);
	fault_done(f);
}

static void demand_again(struct fault *f)
{
	leave_stage(f);
	demand_add(f->session, f);
}

static void retry(struct timer *t)
{
	demand_again(container_of(t, struct fault, timer));
}

/*
 * It was put off for as long as may be. EEXIST is a page that the kernel says
 * is there and that we do not see (huge.c): everybody was woken each time, so
 * if nobody asked again it is.
 */
static void put_off_enough(struct fault *f, int error)
{
	if (error == -EEXIST && !f->asked_again) {
		resolved(f);
		return;
	}
	fault_failed(f, err_set(-ETIMEDOUT,
				"the kernel put the page off for %" PRIu64
				" ms: %s",
				f->session->retry_ns / 1000000,
				error == -EEXIST ? "no 2 MiB page is free"
						 : strerrordesc_np(-error)));
}

static void put_off(struct fault *f, int error)
{
	struct session *s = f->session;
	uint64_t now = worker_now();

	session_count(s, SESSION_COUNT_RETRIES, 1);
	if (!f->put_off_since) {
		f->put_off_since = now;
		f->pause = PAUSE_FIRST;
		f->asked_again = false;
	} else if (now - f->put_off_since >= s->retry_ns) {
		put_off_enough(f, error);
		return;
	} else if (f->pause < PAUSE_MAX) {
		f->pause *= 2;
	}
	if (error == -EEXIST)
		uffd_wake(s->uffd.fd, f->address, size_of(f));
	f->stage = FAULT_PUT_OFF;
	session_adjust(&s->shown.parked, 1);
	list_append(&s->put_off, &f->wait_node);
	timer_arm(&f->worker->timers, &f->timer, now + f->pause, retry);
}

void fault_retry_all(struct session *s)
{
	struct list_node now = LIST_INIT(now), *n;

	list_splice(&now, &s->put_off);
	while ((n = list_pop(&now)))
		demand_again(container_of(n, struct fault, wait_node));
}

void fault_settle(struct fault *f, struct uffd_outcome o)
{
	struct session *s = f->session;

	switch (o.result) {
	case UFFD_EXISTS:
		uffd_wake(s->uffd.fd, f->address, size_of(f));
		__attribute__((fallthrough));
	case UFFD_DONE:
		(void)inject_pass(INJECT_UFFD_INSTALLED, NULL);
		if (f->region && state_of(f) == PAGER_PAGE_ABSENT)
			set_state(f, PAGER_PAGE_PRESENT);
		resolved(f);
		return;
	case UFFD_RETRY:
		put_off(f, o.error);
		return;
	case UFFD_UNMAPPED:
		/* Whoever waits looks again, and finds what is there now. */
		session_count(s, SESSION_COUNT_UNMAPPED, 1);
		uffd_wake(s->uffd.fd, f->address, size_of(f));
		fault_done(f);
		return;
	case UFFD_GONE:
		worker_end(s, s->end);
		fault_done(f);
		return;
	case UFFD_FAILED:
		fault_failed(f, err_set(o.error, "the kernel refuses it: %s",
					strerrordesc_np(-o.error)));
		return;
	}
}

void fault_failed(struct fault *f, int error)
{
	policy_page(f, error);
}

static void count_source(struct fault *f, bool overlaid)
{
	enum session_source source = SESSION_SOURCE_CACHE;

	if (overlaid)
		source = SESSION_SOURCE_OVERLAY;
	else if (f->waited)
		source = SESSION_SOURCE_DISK;
	session_count(f->session, SESSION_COUNT_COPIED, 1);
	fault_note_source(f, source);
}

/* `bytes` are those of the image; NULL: zeros, or nothing of them is seen. */
static void install_page(struct fault *f, const uint8_t *bytes)
{
	struct session *s = f->session;
	bool overlaid = overlay_touches(s->overlay, f->page);
	uint8_t page[PAGER_PAGE_SIZE];
	struct uffd_outcome o;

	if (overlaid) {
		memcpy(page, bytes ?: page_zero, sizeof(page));
		overlay_apply(s->overlay, f->page, page);
		bytes = page;
	}
	o = uffd_copy(s->uffd.fd, f->address, bytes, PAGER_PAGE_SIZE);
	if (o.result == UFFD_DONE)
		count_source(f, overlaid);
	fault_settle(f, o);
}

static void start_fetch(struct fault *f, uint64_t block, enum cache_class class,
			void (*done)(struct fetch *, int))
{
	int r;

	f->fetch = (struct fetch){
		.block = block,
		.session = f->session->number,
		.class = class,
		.awaited = true,
		.done = done,
	};
	f->stage = FAULT_FETCHING;
	r = fetch_start(f->worker->fetcher, &f->fetch);
	if (r == -EINPROGRESS)
		f->waited = true;
	else
		done(&f->fetch, r);
}

/*
 * The end of a fetch. 0: the caller goes on with the pin in `ret_ref`. Else
 * there is nothing more to do.
 */
static int fetched(struct fault *f, int error, struct cache_ref *ret_ref)
{
	if (forsaken(f))
		return -ESRCH;
	f->stage = FAULT_RUNNING;
	if (error < 0) {
		fault_failed(f, error);
		return error;
	}
	if (state_of(f) != PAGER_PAGE_ABSENT) {
		cache_unpin(&f->fetch.ref);
		fault_step(f);
		return -EAGAIN;
	}
	*ret_ref = f->fetch.ref;
	f->fetch.ref = (struct cache_ref){0};
	return 0;
}

static void block_arrived(struct fetch *fetch, int error)
{
	struct fault *f = container_of(fetch, struct fault, fetch);
	struct cache_ref block cleanup(cache_unpin) = {0};
	struct session *s = f->session;
	const struct region *region = f->region;
	uint64_t page = f->page;

	if (fetched(f, error, &block) < 0)
		return;
	if (block.kind != PAGER_KIND_PAGE) {
		fault_failed(f, err_set(-EBADMSG,
					"the page table points at a node"));
		return;
	}
	install_page(f, block.data);
	/* The fault may be gone by now, its session is not. */
	if (session_serves(s) &&
	    pagestate_get(s->pages, page) == PAGER_PAGE_PRESENT)
		riders_install(s, region, page, block.cache);
}

static void leaf_arrived(struct fetch *fetch, int error)
{
	struct fault *f = container_of(fetch, struct fault, fetch);
	struct cache_ref leaf cleanup(cache_unpin) = {0};
	uint64_t block;
	int r;

	if (fetched(f, error, &leaf) < 0)
		return;
	r = pagetable_entry(leaf.data, leaf.kind, f->page, &block);
	if (r < 0) {
		fault_failed(f, r);
	} else if (block == 0 &&
		   overlay_touches(f->session->overlay, f->page)) {
		install_page(f, NULL);
	} else if (block == 0) {
		zero_install(f, &leaf);
	} else {
		cache_unpin(&leaf);
		start_fetch(f, block, CACHE_FAULT, block_arrived);
	}
}

static void step_absent(struct fault *f)
{
	const struct session *s = f->session;
	uint64_t leaf;

	if (f->region->page_size == PAGER_HUGE_PAGE_SIZE) {
		huge_start(f);
		return;
	}
	leaf = pagetable_leaf(s->table, f->page);
	if (overlay_covers(s->overlay, f->page) ||
	    (!leaf && overlay_touches(s->overlay, f->page)))
		install_page(f, NULL);
	else if (leaf)
		start_fetch(f, leaf, CACHE_NODE, leaf_arrived);
	else
		zero_install(f, NULL);
}

static struct uffd_outcome install_empty(struct fault *f)
{
	if (f->region->page_size == PAGER_HUGE_PAGE_SIZE)
		return huge_zero(f);
	return zero_page(f);
}

static void step_removed(struct fault *f)
{
	struct uffd_outcome o = install_empty(f);

	if (o.result == UFFD_DONE)
		fault_note_source(f, SESSION_SOURCE_GIVEN_BACK);
	fault_settle(f, o);
}

/*
 * A page that was installed: most likely a second message about it. But a
 * client without the REMOVE event may have dropped it, and then it is zero.
 */
static void step_present(struct fault *f)
{
	struct session *s = f->session;
	struct uffd_outcome o = install_empty(f);

	if (o.result == UFFD_DONE) {
		session_count(s, SESSION_COUNT_DISCARDED, 1);
		set_state(f, PAGER_PAGE_REMOVED);
		if (!s->told_discard)
			log_warn("the client drops pages without telling: they "
				 "read as zero session=%s page=%" PRIu64,
				 s->id, f->page);
		s->told_discard = true;
	}
	fault_settle(f, o);
}

void fault_step(struct fault *f)
{
	leave_stage(f);
	if (!session_serves(f->session)) {
		fault_done(f);
		return;
	}
	if (f->poisoning) {
		policy_poison(f);
		return;
	}
	if (!f->region) {
		fault_failed(f, err_set(-EFAULT,
					"the address is in no region, or the "
					"fault is of a kind not served"));
		return;
	}
	switch (state_of(f)) {
	case PAGER_PAGE_ABSENT:
		step_absent(f);
		return;
	case PAGER_PAGE_PRESENT:
		step_present(f);
		return;
	case PAGER_PAGE_REMOVED:
		step_removed(f);
		return;
	case PAGER_PAGE_POISONED:
		f->poisoning = true;
		policy_poison(f);
		return;
	}
}
