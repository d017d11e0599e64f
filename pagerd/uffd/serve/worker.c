#include "pagerd/uffd/serve/worker.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "pagerd/uffd/serve/connect.h"
#include "pagerd/uffd/serve/turn/demand.h"
#include "pagerd/uffd/serve/events.h"
#include "pagerd/uffd/serve/gauge.h"

#define EVENTS_A_TURN 64

struct call {
	struct list_node node;
	int (*run)(struct worker *w, void *arg);
	void *arg;
	int result;
	bool done; /* protected by worker->lock */
	struct condition is_done;
	char text[ERR_TEXT_MAX];
};

uint64_t worker_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int control(struct worker *w, int op, struct watch *watch,
		   uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = watch};

	if (epoll_ctl(w->epoll_fd, op, watch->fd, &e) < 0)
		return err_set(-errno, "cannot watch a descriptor: %m");
	return 0;
}

int worker_watch(struct worker *w, struct watch *watch, uint32_t events)
{
	return control(w, EPOLL_CTL_ADD, watch, events);
}

int worker_rewatch(struct worker *w, struct watch *watch, uint32_t events)
{
	return control(w, EPOLL_CTL_MOD, watch, events);
}

void worker_mute(struct worker *w, struct watch *watch)
{
	(void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

void worker_unwatch(struct worker *w, struct watch *watch)
{
	if (watch->fd < 0)
		return;
	worker_mute(w, watch);
	close_quietly(steal_fd(watch->fd));
}

int worker_call(struct worker *w, int (*run)(struct worker *w, void *arg),
		void *arg)
{
	struct call call = {.run = run, .arg = arg};
	uint64_t one = 1;

	assert(!pthread_equal(pthread_self(), w->thread));
	condition_init(&call.is_done);
	lock_take(&w->lock);
	list_append(&w->calls, &call.node);
	if (write(w->mail.fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN); /* full: it is readable anyhow */
	while (!call.done)
		condition_wait(&call.is_done, &w->lock);
	lock_drop(&w->lock);
	condition_release(&call.is_done);
	return call.result < 0 ? err_restore(call.result, call.text)
			       : call.result;
}

static struct call *next_call(struct worker *w)
{
	struct list_node *n;

	LOCK_GUARD(&w->lock);
	n = list_pop(&w->calls);
	return n ? container_of(n, struct call, node) : NULL;
}

static void mail_ready(struct watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, mail);
	struct call *call;
	uint64_t count;

	(void)events;
	if (read(watch->fd, &count, sizeof(count)) < 0 && errno == EAGAIN)
		return;
	while ((call = next_call(w))) {
		call->result = call->run(w, call->arg);
		if (call->result < 0)
			err_copy(call->result, call->text);
		LOCK_GUARD(&w->lock);
		call->done = true;
		condition_wake_one(&call->is_done);
	}
}

static void reads_ready(struct watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, reads);

	(void)events;
	fetcher_run(w->fetcher);
}

int worker_adopt(struct worker *w, void *session)
{
	struct session *s = session;
	int r;

	atomic_store(&s->worker, w);
	atomic_store(&s->shown.worker, w->index);
	r = connect_start(s);
	if (r < 0) {
		atomic_store(&s->worker, NULL);
		return r;
	}
	list_append(&w->sessions, &s->node);
	gauge_start(w);
	atomic_fetch_add(&w->load, 1);
	return 0;
}

void worker_end(struct session *s, enum session_end end)
{
	struct worker *w = atomic_load(&s->worker);

	if (session_state(s) == SESSION_ENDED)
		return;
	s->end = end;
	session_set_state(s, SESSION_ENDED);
	list_remove(&s->node);
	list_append(&w->ending, &s->node);
}

static void tell_end(const struct session *s)
{
	const _Atomic uint64_t *c = s->shown.counters;

	log_info("session over: %s session=%s snapshot=%s vmm=%d "
		 "faults=%" PRIu64 " present=%" PRIu64 " removed=%" PRIu64
		 " cache=%" PRIu64 " read=%" PRIu64 " zero=%" PRIu64
		 " failures=%" PRIu64 " p50_us=%" PRIu64 " p99_us=%" PRIu64,
		 session_end_name(s->end), s->id, s->snapshot_name,
		 (int)s->shown.vmm_pid, c[SESSION_COUNT_FAULTS],
		 pagestate_count(s->pages, PAGER_PAGE_PRESENT),
		 pagestate_count(s->pages, PAGER_PAGE_REMOVED),
		 c[SESSION_COUNT_CACHE], c[SESSION_COUNT_DISK],
		 c[SESSION_COUNT_ZERO], c[SESSION_COUNT_FAILURES],
		 hist_percentile(&s->shown.latency, 0.50) / 1000,
		 hist_percentile(&s->shown.latency, 0.99) / 1000);
}

static void bury(struct worker *w, struct session *s)
{
	timer_disarm(&w->timers, &s->timer);
	list_remove(&s->overflow_node);
	list_remove(&s->demand_node);
	spin_leave(s);
	fault_drop_all(s);
	ahead_stop(s, AHEAD_PREFETCH);
	ahead_stop(s, AHEAD_COMPLETE);
	record_end(s);
	complete_end(s);
	worker_unwatch(w, &s->uffd);
	worker_unwatch(w, &s->connection);
	worker_unwatch(w, &s->vmm);
	worker_unwatch(w, &s->listener);
	handshake_release(&s->handshake);
	regions_release(&s->regions);
	session_leave(s);
	tell_end(s);
	atomic_fetch_sub(&w->load, 1);
	w->ended(w->ended_arg, s);
}

static void end_of_turn(struct worker *w)
{
	struct list_node *n;

	huge_run_queue(&w->huge);
	ahead_run(w);
	fetcher_submit(w->fetcher);
	if (fetcher_ready(w->fetcher))
		fetcher_run(w->fetcher);
	list_foreach_safe (o, &w->overflowed)
		events_wake_overflowed(
			container_of(o, struct session, overflow_node));
	while ((n = list_pop(&w->ending)))
		bury(w, container_of(n, struct session, node));
}

static int sleep_until(struct worker *w, uint64_t until,
		       struct epoll_event *events)
{
	uint64_t now = until == UINT64_MAX ? until : worker_now();
	struct timespec pause = {0};
	int n;

	if (until > now) {
		pause.tv_sec = (time_t)((until - now) / 1000000000);
		pause.tv_nsec = (long)((until - now) % 1000000000);
	}
	spin_sleeps(w);
	n = epoll_pwait2(w->epoll_fd, events, EVENTS_A_TURN,
			 until == UINT64_MAX ? NULL : &pause, NULL);
	spin_wakes(w);
	return n;
}

static int wait_for_events(struct worker *w, struct epoll_event *events)
{
	uint64_t until = timers_next(&w->timers);
	uint64_t reads = fetcher_deadline(w->fetcher);
	struct timespec pause = {0};
	int n;

	if (reads < until)
		until = reads;
	if (demand_waits(w) || ahead_ready(&w->ahead))
		return epoll_pwait2(w->epoll_fd, events, EVENTS_A_TURN, &pause,
				    NULL);
	n = spin_for_events(w, events, EVENTS_A_TURN);
	return n > 0 ? n : sleep_until(w, until, events);
}

static bool is_due(uint64_t when)
{
	return when != UINT64_MAX && when <= worker_now();
}

static void turn(struct worker *w)
{
	struct epoll_event events[EVENTS_A_TURN];
	int n;

	atomic_fetch_add(&w->turns, 1);
	n = wait_for_events(w, events);
	atomic_fetch_add(&w->turns, 1);
	if (n < 0 && errno != EINTR) {
		log_error("worker %u cannot wait: %m", w->index);
		abort();
	}
	for (int i = 0; i < n; i++) {
		struct watch *watch = events[i].data.ptr;

		/* An earlier one of this turn may have closed it. */
		if (watch->fd >= 0)
			watch->ready(watch, events[i].events);
	}
	if (is_due(timers_next(&w->timers)))
		timers_run(&w->timers, worker_now());
	if (is_due(fetcher_deadline(w->fetcher)))
		fetcher_run(w->fetcher);
	demand_run(w);
	end_of_turn(w);
}

static void *run(void *arg)
{
	struct worker *w = arg;

	while (!w->stopping || fetcher_pending(w->fetcher) > 0)
		turn(w);
	return NULL;
}

static int open_worker(struct worker *w, struct cache *cache,
		       const struct block_source *source,
		       struct fetch_loader *loader)
{
	int r;

	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	w->mail.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->epoll_fd < 0 || w->mail.fd < 0)
		return err_set(-errno, "cannot make a worker: %m");
	r = huge_pool_init(&w->huge);
	if (r < 0)
		return r;
	r = fetcher_new(cache, source, loader, &w->fetcher);
	if (r < 0)
		return r;
	w->mail.ready = mail_ready;
	w->reads.fd = fetcher_fd(w->fetcher);
	w->reads.ready = reads_ready;
	r = worker_watch(w, &w->mail, EPOLLIN);
	if (r == 0)
		r = worker_watch(w, &w->reads, EPOLLIN);
	return r;
}

int worker_new(unsigned int index, struct cache *cache,
	       const struct block_source *source, struct fetch_loader *loader,
	       struct worker **ret_worker)
{
	struct worker *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(-ENOMEM, "no memory for a worker");
	w->index = index;
	w->epoll_fd = w->mail.fd = -1;
	lock_init(&w->lock, "worker mailbox");
	list_init(&w->calls);
	list_init(&w->sessions);
	list_init(&w->ending);
	list_init(&w->overflowed);
	list_init(&w->demand);
	ahead_worker_init(&w->ahead);
	list_init(&w->huge.idle);
	list_init(&w->huge.queue);
	r = open_worker(w, cache, source, loader);
	if (r < 0) {
		worker_free(w);
		return r;
	}
	*ret_worker = w;
	return 0;
}

int worker_start(struct worker *w, void (*ended)(void *, struct session *),
		 void *arg)
{
	int r;

	w->ended = ended;
	w->ended_arg = arg;
	complete_watch(w);
	r = pthread_create(&w->thread, NULL, run, w);
	if (r != 0) {
		w->thread = 0;
		return err_set(-r, "cannot start a worker: %s",
			       strerrordesc_np(r));
	}
	(void)pthread_setname_np(w->thread, "pager-worker");
	return 0;
}

static int stop(struct worker *w, void *arg)
{
	(void)arg;
	assert(list_empty(&w->sessions) && list_empty(&w->ending));
	w->stopping = true;
	return 0;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	if (w->thread) {
		(void)worker_call(w, stop, NULL);
		(void)pthread_join(w->thread, NULL);
	}
	fetcher_free(w->fetcher);
	fault_pool_release(&w->faults);
	huge_pool_release(&w->huge);
	ahead_worker_release(&w->ahead);
	close_quietly(w->epoll_fd);
	close_quietly(w->mail.fd);
	lock_release(&w->lock);
	free(w);
}
