/*
 *   none -> installing <-> verifying -> leaving -> the session ends
 *              |               |
 *              |_______________|__ failed: none; the session serves on
 *
 * Installing is a pass of ahead.c over all pages. Verifying looks at every
 * page of every region: present and removed ones are as they should be, an
 * absent one must have no registered memory behind it (a hole), else there is
 * another pass; a poisoned one ends the attempt, since nobody would tell its
 * reader any more. Nothing can become absent meanwhile: states never go back.
 *
 * Leaving: the memory is unregistered, which has every thread that waits for
 * a page look again. A page that is given back from here on reads as zero,
 * as it does while we serve. But a thread that is just giving pages back may
 * have to tell us of it still, and would wait for ever with nobody to read
 * that. The kernel counts such threads from before it lets go of its lock on
 * the address space, and refuses to install anything (EAGAIN) while there is
 * one; and we have had that lock exclusively. So when an attempt to install is
 * answered by ENOENT, all have told.
 *
 * A completion that stops anywhere loses nothing: what was installed is
 * right, what is unregistered is whole, what is left is served.
 */
#include "pagerd/uffd/ahead/complete.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "pagerd/uffd/serve/events.h"
#include "pagerd/uffd/serve/worker.h"

/* Calls of the kernel in one slice, so that faults are answered between. */
#define SLICE 256u
#define PAUSE UINT64_C(1000000)
#define TICK  UINT64_C(1000000000)

static struct worker *worker_of(const struct session *s)
{
	return atomic_load(&s->worker);
}

static void stop_counting(struct session *s)
{
	if (s->complete.automatic)
		atomic_fetch_sub(&worker_of(s)->completing->running, 1);
	s->complete.automatic = false;
}

/* Back to serving. */
static void stop(struct session *s)
{
	timer_disarm(&worker_of(s)->timers, &s->complete.timer);
	ahead_stop(s, AHEAD_COMPLETE);
	stop_counting(s);
	s->complete.stage = COMPLETE_NONE;
	atomic_store(&s->shown.completing, false);
}

void complete_failed(struct session *s, int error)
{
	struct complete *c = &s->complete;

	free(c->error_text);
	c->error = error;
	c->error_text = strdup(err_text(error));
	log_warn("the session is not completed: %s session=%s", err_text(error),
		 s->id);
	stop(s);
	worker_of(s)->completion_failed(worker_of(s)->ended_arg, s);
}

static void install(struct timer *t)
{
	struct session *s = container_of(t, struct session, complete.timer);

	s->complete.stage = COMPLETE_INSTALLING;
	ahead_complete(s);
}

/* One more pass, a little later. */
static void install_again(struct session *s)
{
	timer_arm(&worker_of(s)->timers, &s->complete.timer,
		  worker_now() + PAUSE, install);
}

static void leave(struct timer *t)
{
	struct session *s = container_of(t, struct session, complete.timer);
	struct uffd_outcome o;

	events_ready(&s->uffd, EPOLLIN);
	if (!session_serves(s))
		return;
	o = uffd_zero(s->uffd.fd, s->regions.all[0].base, PAGER_PAGE_SIZE);
	if (o.result == UFFD_RETRY) {
		timer_arm(&worker_of(s)->timers, t, worker_now() + PAUSE,
			  leave);
		return;
	}
	stop(s);
	/*
	 * Nobody answers any more: whoever waits still looks again, and finds
	 * plain memory. The kernel wakes them itself when it unregisters, but
	 * does so before it shuts out page faults that only hold the lock of
	 * their mapping; and faults that it put off (a page is being given
	 * back) are under way with us.
	 */
	regions_wake(&s->regions, s->uffd.fd);
	worker_end(s, SESSION_END_COMPLETED);
}

/*
 * Takes [at, end) out of the userfaultfd's hands. Where parts of it have been
 * mapped to something else, which the kernel refuses, the rest by halves.
 */
static int unregister(int fd, uint64_t at, uint64_t end, uint64_t unit)
{
	int r = uffd_unregister(fd, at, end - at);
	uint64_t middle;

	if (r != -EINVAL || end - at == unit)
		return r == -EINVAL ? 0 : r;
	middle = at + (end - at) / 2 / unit * unit;
	r = unregister(fd, at, middle, unit);
	return r < 0 ? r : unregister(fd, middle, end, unit);
}

static void begin_leaving(struct session *s)
{
	for (size_t i = 0; i < s->regions.count; i++) {
		const struct region *r = &s->regions.all[i];
		int e = unregister(s->uffd.fd, r->base, r->base + r->size,
				   r->page_size);

		if (e == -ESRCH) {
			worker_end(s, s->end);
			return;
		}
		if (e < 0) {
			complete_failed(s, err_set(e, "cannot unregister: %s",
						   strerrordesc_np(-e)));
			return;
		}
	}
	s->complete.stage = COMPLETE_LEAVING;
	leave(&s->complete.timer);
}

/*
 * Goes on to the next absent page: 1 where it is registered, 0 where it is a
 * hole, -ENOENT where there is no absent page any more.
 */
static int look_at_next(struct session *s)
{
	struct complete *c = &s->complete;

	for (; c->region < s->regions.count; c->region++, c->page = 0) {
		const struct region *r = &s->regions.all[c->region];
		uint64_t first = r->offset / PAGER_PAGE_SIZE;
		uint64_t end = first + r->size / PAGER_PAGE_SIZE, page;

		page = pagestate_next(s->pages,
				      c->page > first ? c->page : first, end,
				      PAGER_PAGE_ABSENT);
		if (page == end)
			continue;
		c->page = page + r->page_size / PAGER_PAGE_SIZE;
		return uffd_probe(s->uffd.fd, region_address(r, page)) ==
		       UFFD_DONE;
	}
	return -ENOENT;
}

static void verify(struct timer *t);

static void verified(struct session *s)
{
	uint64_t poisoned = pagestate_count(s->pages, PAGER_PAGE_POISONED);

	if (poisoned)
		complete_failed(s,
				err_set(-EIO, "%" PRIu64 " pages are poisoned",
					poisoned));
	else if (!list_empty(&s->outstanding))
		/* Each is answered first: then what it waits for is known. */
		timer_arm(&worker_of(s)->timers, &s->complete.timer,
			  worker_now() + PAUSE, verify);
	else
		begin_leaving(s);
}

static void verify(struct timer *t)
{
	struct session *s = container_of(t, struct session, complete.timer);

	if (session_state(s) != SESSION_SERVING) {
		complete_failed(s, err_set(-EBUSY, "the VM is being ended"));
		return;
	}
	for (unsigned int i = 0; i < SLICE; i++) {
		int r = look_at_next(s);

		if (r == -ENOENT) {
			verified(s);
			return;
		}
		if (r > 0) {
			install_again(s);
			return;
		}
	}
	timer_arm(&worker_of(s)->timers, t, worker_now(), verify);
}

void complete_passed(struct session *s)
{
	struct complete *c = &s->complete;

	if (c->stage != COMPLETE_INSTALLING)
		return;
	c->stage = COMPLETE_VERIFYING;
	c->region = 0;
	c->page = 0;
	timer_arm(&worker_of(s)->timers, &c->timer, worker_now(), verify);
}

int complete_begin(struct session *s, uint64_t rate)
{
	switch (session_state(s)) {
	case SESSION_LISTENING:
	case SESSION_HANDSHAKE:
		return err_set(-ENOTCONN, "session %s: no VM has connected",
			       s->id);
	case SESSION_FAILING:
		return err_set(-EBUSY, "session %s: its VM is being ended",
			       s->id);
	case SESSION_SERVING:
		break;
	default:
		return err_set(-ENOENT, "session %s has ended", s->id);
	}
	if (s->complete.stage != COMPLETE_NONE)
		return 0;
	s->complete.error = 0;
	s->complete.stage = COMPLETE_INSTALLING;
	s->ahead.rate = rate;
	atomic_store(&s->shown.completing, true);
	ahead_complete(s);
	return 0;
}

int complete_result(const struct session *s)
{
	const struct complete *c = &s->complete;

	if (c->stage != COMPLETE_NONE)
		return -EINPROGRESS;
	if (c->error && c->error_text)
		return err_restore(c->error, c->error_text);
	return c->error;
}

void complete_end(struct session *s)
{
	timer_disarm(&worker_of(s)->timers, &s->complete.timer);
	stop_counting(s);
	free(steal_ptr(s->complete.error_text));
}

static bool is_due(const struct session *s, uint64_t now)
{
	uint64_t age = worker_of(s)->completing->age_ns;

	return session_state(s) == SESSION_SERVING &&
	       s->complete.stage == COMPLETE_NONE &&
	       now - s->served_since >= age && now >= s->complete.not_before;
}

/* False where as many run as may. */
static bool take_turn(struct complete_auto *a)
{
	if (atomic_fetch_add(&a->running, 1) < a->parallel || !a->parallel)
		return true;
	atomic_fetch_sub(&a->running, 1);
	return false;
}

static void tick(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, complete_timer);
	uint64_t now = worker_now();

	list_foreach (n, &w->sessions) {
		struct session *s = container_of(n, struct session, node);

		if (!is_due(s, now))
			continue;
		if (!take_turn(w->completing))
			break;
		s->complete.automatic = true;
		s->complete.not_before = now + w->completing->age_ns;
		(void)complete_begin(s, w->completing->rate);
	}
	timer_arm(&w->timers, t, now + TICK, tick);
}

void complete_watch(struct worker *w)
{
	if (w->completing && w->completing->age_ns)
		timer_arm(&w->timers, &w->complete_timer, worker_now() + TICK,
			  tick);
}
