/*
 * What is installed before the guest asks for it is not seen here. So a
 * session that records anew, by order, prefetches nothing; and one that
 * prefetches its parent's working set because it has none of its own counts
 * those pages as touched.
 */
#include "pagerd/uffd/ahead/record.h"

#include "fs/base/cleanup.h"
#include "fs/base/log.h"
#include "pagerd/uffd/serve/worker.h"

/* A VM that ended sooner was not used, and tells nothing. */
#define LIVED_LEAST UINT64_C(500000000)

static struct worker *worker_of(const struct session *s)
{
	return atomic_load(&s->worker);
}

static void finish(struct session *s)
{
	struct worker *w = worker_of(s);

	timer_disarm(&w->timers, &s->record.window);
	keeper_save(w->keeper, steal_ptr(s->record.touches));
}

static void window_over(struct timer *t)
{
	finish(container_of(t, struct session, record.window));
}

static bool is_wanted(const struct session *s)
{
	switch (s->record_when) {
	case SESSION_RECORD_NEVER:
		return false;
	case SESSION_RECORD_NEW:
		return !s->set_is_own;
	case SESSION_RECORD_ALWAYS:
		break;
	}
	return true;
}

void record_begin(struct session *s)
{
	struct worker *w = worker_of(s);
	struct touches *t;

	if (!w->keeper || !is_wanted(s))
		return;
	t = touches_new(s->snapshot, s->record_pages);
	if (!t)
		return;
	if (s->record_when == SESSION_RECORD_NEW &&
	    !keeper_claim(w->keeper, t)) {
		touches_free(t);
		return;
	}
	if (s->ahead.plan)
		for (size_t i = 0; i < s->set.count; i++)
			(void)touches_add(t, s->set.entries[i].page);
	s->record.touches = t;
	s->record.began = worker_now();
	timer_arm(&w->timers, &s->record.window, s->record.began + s->record_ns,
		  window_over);
}

void record_touch(struct session *s, uint64_t page)
{
	if (s->record.touches && !touches_add(s->record.touches, page))
		finish(s);
}

void record_end(struct session *s)
{
	if (!s->record.touches)
		return;
	if (worker_now() - s->record.began >= LIVED_LEAST) {
		finish(s);
		return;
	}
	timer_disarm(&worker_of(s)->timers, &s->record.window);
	keeper_drop(worker_of(s)->keeper, steal_ptr(s->record.touches));
}
