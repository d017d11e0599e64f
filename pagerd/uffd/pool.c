#include "pagerd/uffd/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "pagerd/uffd/ahead/keeper.h"
#include "pagerd/uffd/serve/connect.h"
#include "pagerd/uffd/fault/policy.h"
#include "pagerd/uffd/recover/resume.h"
#include "pagerd/uffd/serve/worker.h"

#define WORKERS_MAX 16u

struct pool {
	struct pool_options options;
	struct fetch_loader *loader;
	struct keeper *keeper;
	struct complete_auto completing;
	struct spin_shared spinning;
	struct worker *workers[WORKERS_MAX];
	unsigned int count;
	uint64_t turns_seen[WORKERS_MAX]; /* of pool_progresses() */

	struct lock lock;
	struct pool_stats stats; /* protected by lock */
};

DEFINE_CLEANUP(pool, struct pool *, pool_free)

static void ended(void *arg, struct session *s)
{
	struct pool *p = arg;

	lock_take(&p->lock);
	p->stats.sessions--;
	p->stats.ended[s->end]++;
	for (int i = 0; i < SESSION_COUNTER_COUNT; i++)
		p->stats.counters[i] += atomic_load_explicit(
			&s->shown.counters[i], memory_order_relaxed);
	lock_drop(&p->lock);
	if (p->options.on_ended)
		p->options.on_ended(p->options.arg, s, s->end);
	session_unref(s);
}

static void completion_failed(void *arg, struct session *s)
{
	struct pool *p = arg;

	if (p->options.on_completion_failed)
		p->options.on_completion_failed(p->options.arg, s);
}

static unsigned int processors(const struct pool_options *o)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (o->processors)
		return o->processors;
	return n > 0 ? (unsigned int)n : 1;
}

static unsigned int wanted_workers(const struct pool_options *o)
{
	unsigned int n = o->workers ? o->workers : processors(o);

	return n < WORKERS_MAX ? n : WORKERS_MAX;
}

static int add_worker(struct pool *p)
{
	const struct pool_options *o = &p->options;
	struct worker *w;
	int r = worker_new(p->count, o->cache, o->source, p->loader, &w);

	if (r < 0)
		return r;
	p->workers[p->count++] = w;
	w->keeper = p->keeper;
	w->riders.off = o->no_neighbours;
	w->completing = &p->completing;
	w->spinning = &p->spinning;
	w->completion_failed = completion_failed;
	return worker_start(w, ended, p);
}

int pool_new(const struct pool_options *options, struct pool **ret_pool)
{
	struct pool *p cleanup(cleanup_pool) = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(-ENOMEM, "no memory for workers");
	p->options = *options;
	p->completing.age_ns = options->complete_age_ns;
	p->completing.parallel = options->complete_parallel;
	p->completing.rate = options->complete_rate;
	p->spinning.most_ns = options->spin_ns;
	p->spinning.processors = processors(options);
	atomic_init(&p->spinning.awake, wanted_workers(options));
	lock_init(&p->lock, "pool");
	r = fetch_loader_new(options->source, &p->loader);
	if (r == 0)
		r = keeper_new(&p->keeper);
	for (unsigned int i = 0; r == 0 && i < wanted_workers(options); i++)
		r = add_worker(p);
	if (r < 0)
		return r;
	p->stats.workers = p->count;
	*ret_pool = steal_ptr(p);
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	assert(p->stats.sessions == 0);
	for (unsigned int i = 0; i < p->count; i++)
		worker_free(p->workers[i]);
	keeper_free(p->keeper);
	fetch_loader_free(p->loader);
	lock_release(&p->lock);
	free(p);
}

static struct worker *least_loaded(struct pool *p)
{
	struct worker *best = p->workers[0];

	for (unsigned int i = 1; i < p->count; i++)
		if (atomic_load(&p->workers[i]->load) <
		    atomic_load(&best->load))
			best = p->workers[i];
	return best;
}

static void count_session(struct pool *p, int by)
{
	LOCK_GUARD(&p->lock);
	p->stats.sessions += (uint64_t)(int64_t)by;
}

int pool_add(struct pool *p, struct session *s)
{
	int r;

	if (atomic_exchange(&s->added, true))
		return err_set(-EALREADY, "session %s was added before", s->id);
	/* Both before: it may end before worker_call() returns. */
	count_session(p, 1);
	session_ref(s);
	r = worker_call(least_loaded(p), worker_adopt, s);
	if (r < 0) {
		count_session(p, -1);
		atomic_store(&s->added, false);
		session_unref(s);
	}
	return r;
}

struct closing {
	struct session *session;
	enum pool_close how;
};

static int close_live(struct session *s, enum pool_close how)
{
	switch (how) {
	case POOL_CLOSE_LINGER:
		atomic_store(&s->shown.lingering, true);
		return 0;
	case POOL_CLOSE_FORCE:
		return policy_give_up(s);
	case POOL_CLOSE_IDLE:
		break;
	}
	return err_set(-EBUSY,
		       "session %s: a live VM (process %d) depends on it",
		       s->id, (int)s->shown.vmm_pid);
}

static int close_session(struct worker *w, void *arg)
{
	const struct closing *c = arg;
	struct session *s = c->session;

	(void)w;
	switch (session_state(s)) {
	case SESSION_ENDED:
		return err_set(-ENOENT, "session %s has ended", s->id);
	case SESSION_FAILING:
		return 0;
	case SESSION_SERVING:
		if (connect_vm_lives(s))
			return close_live(s, c->how);
		worker_end(s, SESSION_END_VMM_GONE);
		return 0;
	default:
		worker_end(s, SESSION_END_CLOSED);
		return 0;
	}
}

int pool_close(struct pool *p, struct session *s, enum pool_close how)
{
	struct closing c = {.session = s, .how = how};
	struct worker *w = atomic_load(&s->worker);

	(void)p;
	if (!w)
		return err_set(-ENOENT, "session %s was never added", s->id);
	return worker_call(w, close_session, &c);
}

static int leave(struct worker *w, void *arg)
{
	(void)w;
	return resume_leave(arg);
}

int pool_leave(struct pool *p, struct session *s)
{
	struct worker *w = atomic_load(&s->worker);

	(void)p;
	if (!w)
		return err_set(-EBUSY, "session %s is being made", s->id);
	return worker_call(w, leave, s);
}

static int begin_completion(struct worker *w, void *arg)
{
	(void)w;
	return complete_begin(arg, 0);
}

static int look_at_completion(struct worker *w, void *arg)
{
	const struct session *s = arg;

	(void)w;
	if (session_state(s) == SESSION_ENDED)
		return err_set(-ENOENT, "session %s has ended", s->id);
	return complete_result(s);
}

static int call_worker(struct session *s,
		       int (*run)(struct worker *w, void *arg))
{
	struct worker *w = atomic_load(&s->worker);

	if (!w)
		return err_set(-ENOENT, "session %s was never added", s->id);
	return worker_call(w, run, s);
}

int pool_complete(struct pool *p, struct session *s)
{
	(void)p;
	return call_worker(s, begin_completion);
}

int pool_completion(struct pool *p, struct session *s)
{
	(void)p;
	return call_worker(s, look_at_completion);
}

bool pool_progresses(struct pool *p)
{
	bool all = true;

	for (unsigned int i = 0; i < p->count; i++) {
		uint64_t turns = atomic_load(&p->workers[i]->turns);

		/* An odd number: it waits. */
		all &= turns % 2 || turns != p->turns_seen[i];
		p->turns_seen[i] = turns;
	}
	return all;
}

void pool_stats(struct pool *p, struct pool_stats *ret_stats)
{
	LOCK_GUARD(&p->lock);
	*ret_stats = p->stats;
}
