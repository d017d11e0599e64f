#include "pagerd/control/cache/pressure.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/cache/admin/resize.h"
#include "fs/io/text.h"
#include "pagerd/control/daemon.h"

#define PERIOD_MS 1000
#define NEAR_MS	  100
#define STALL_NS  UINT64_C(2000000000) /* so often the kernel sums up */
#define SHORT	  0.10		       /* stalled for so much of the time */
#define RELAXED	  0.01
#define FULL	  0.95 /* of the control group's limit */
#define ENOUGH	  0.90
#define ROOM	  0.85
#define NEAR	  0.50 /* it could be full within a second from there */
#define SHRINK	  8
#define GROW	  16

struct pressure {
	struct cache *cache;
	struct memgroup group;
	int trigger; /* becomes ready when memory gets short; -1: none */
	int stop;    /* an eventfd */
	pthread_t thread;
	struct pressure_state state; /* the thread's, as all below */
	uint64_t stepped_ns;
	uint64_t total_us, read_ns; /* of tasks that waited, and when */
	double stalled;
};

static bool is_past(const struct memgroup_figures *g, uint64_t more,
		    double share)
{
	return g->limit && (double)(g->used + more) > (double)g->limit * share;
}

static bool is_short(const struct pressure_figures *f)
{
	return f->stalled >= SHORT || is_past(&f->group, 0, FULL);
}

static bool has_room(const struct pressure_figures *f, uint64_t more)
{
	return f->stalled < RELAXED && !is_past(&f->group, more, ROOM);
}

/* What it has and may not even use is no memory that could be given back. */
static uint64_t shrunk(const struct memgroup_figures *g, uint64_t bytes)
{
	uint64_t enough = (uint64_t)((double)g->limit * ENOUGH);
	uint64_t step = bytes / SHRINK;

	if (is_past(g, 0, ENOUGH) && g->used - enough > step)
		step = g->used - enough;
	return step < bytes ? bytes - step : 0;
}

uint64_t pressure_decide(struct pressure_state *state,
			 const struct pressure_figures *figures, uint64_t limit,
			 uint64_t bytes)
{
	uint64_t step;

	if (limit != state->set)
		state->wanted = limit;
	state->set = limit;
	step = state->wanted / GROW;
	if (is_short(figures)) {
		state->calm_ms = 0;
		return shrunk(&figures->group, bytes < limit ? bytes : limit);
	}
	if (limit >= state->wanted || !has_room(figures, step)) {
		state->calm_ms = 0;
		return limit;
	}
	state->calm_ms += figures->elapsed_ms;
	if (state->calm_ms < PRESSURE_CALM_MS)
		return limit;
	state->calm_ms = 0;
	return state->wanted - limit < step ? state->wanted : limit + step;
}

/*
 * The share of the last seconds that some task lost, or of the last one where
 * the kernel woke us for it.
 */
static double stalled(struct pressure *p, bool woken)
{
	uint64_t now = daemon_now(), total_us;

	if (now - p->read_ns >= STALL_NS &&
	    memgroup_stalled(&p->group, &total_us) == 0) {
		p->stalled = (double)(total_us - p->total_us) * 1000 /
			     (double)(now - p->read_ns);
		p->total_us = total_us;
		p->read_ns = now;
	}
	return woken && p->stalled < SHORT ? SHORT : p->stalled;
}

static unsigned int since_last(struct pressure *p)
{
	uint64_t now = daemon_now(), before = p->stepped_ns;

	p->stepped_ns = now;
	return (unsigned int)((now - before) / 1000000);
}

static void step(struct pressure *p, const struct pressure_figures *figures)
{
	struct resize_report report;
	struct cache_stats stats;
	char was[TEXT_SIZE_MAX], is[TEXT_SIZE_MAX];
	char used[TEXT_SIZE_MAX], limit[TEXT_SIZE_MAX];
	uint64_t wanted;

	cache_stats(p->cache, &stats);
	wanted = pressure_decide(&p->state, figures, stats.limit, stats.bytes);
	if (wanted == stats.limit ||
	    resize_cache(p->cache, wanted, &report) < 0 ||
	    report.limit == stats.limit)
		return;
	p->state.set = report.limit;
	log_info("memory pressure: the cache's limit goes from %s to %s; "
		 "stalled for %.0f %% of the time, control group at %s of %s",
		 text_size(stats.limit, was), text_size(report.limit, is),
		 figures->stalled * 100, text_size(figures->group.used, used),
		 figures->group.limit ? text_size(figures->group.limit, limit)
				      : "any");
}

static void *work(void *arg)
{
	struct pressure *p = arg;
	struct pollfd fds[] = {
		{.fd = p->stop, .events = POLLIN},
		{.fd = p->trigger, .events = POLLPRI},
	};

	while (!(fds[0].revents & POLLIN)) {
		struct pressure_figures figures;
		bool near;

		figures.elapsed_ms = since_last(p);
		figures.stalled = stalled(p, fds[1].revents & POLLPRI);
		memgroup_read(&p->group, &figures.group);
		near = is_past(&figures.group, 0, NEAR);
		step(p, &figures);
		if (poll(fds, 2, near ? NEAR_MS : PERIOD_MS) < 0 &&
		    errno != EINTR)
			break;
		/* The group has gone: the period has to do. */
		if (fds[1].revents & (POLLERR | POLLNVAL))
			fds[1].fd = -1;
	}
	return NULL;
}

static void release(struct pressure *p)
{
	close_quietly(p->trigger);
	close_quietly(p->stop);
	free(p);
}

static int start(struct pressure *p)
{
	struct memgroup_figures group;
	int r;

	if (p->stop < 0)
		return err_set(-errno, "memory pressure: %m");
	memgroup_read(&p->group, &group);
	if (memgroup_stalled(&p->group, &p->total_us) < 0 && !group.limit)
		return err_set(-EOPNOTSUPP,
			       "memory pressure: the kernel has neither "
			       "pressure figures nor a control group with a "
			       "limit");
	p->read_ns = p->stepped_ns = daemon_now();
	r = pthread_create(&p->thread, NULL, work, p);
	return r ? err_set(-r, "memory pressure: cannot start a thread") : 0;
}

int pressure_new(struct cache *c, const char *group,
		 struct pressure **ret_pressure)
{
	struct pressure *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->cache = c;
	if (group)
		memgroup_open(group, &p->group);
	else
		memgroup_find(&p->group);
	p->trigger = memgroup_trigger(&p->group);
	p->stop = eventfd(0, EFD_CLOEXEC);
	r = start(p);
	if (r < 0) {
		release(p);
		return r;
	}
	*ret_pressure = p;
	return 0;
}

void pressure_free(struct pressure *p)
{
	if (!p)
		return;
	(void)eventfd_write(p->stop, 1);
	if (pthread_join(p->thread, NULL))
		abort(); /* it is ours, and joined once */
	release(p);
}
