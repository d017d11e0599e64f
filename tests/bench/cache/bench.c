/*
 * pagerbench cache: hit ratios of the cache's own code beside those of other
 * policies over the same traces, and what a hit and a miss cost.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/cache/cache.h"
#include "pager/block.h"
#include "tests/bench/bench.h"
#include "tests/bench/cache/many.h"
#include "tests/bench/cache/policies.h"
#include "tests/bench/cache/record.h"
#include "tests/bench/cache/replay.h"
#include "tests/bench/cache/trace.h"

/* The policy's numbers were chosen by this one; see many.h. */
#define SEED	    20240607u
#define RESTORES    1500u
#define SCANS	    40u
#define FOREIGN	    UINT64_C(1000)
#define TIMED_BYTES (UINT64_C(256) << 20)
#define TIMED_CALLS 1000000u
#define ROUNDS	    5u
#define THREADS_MAX 64u

static const unsigned int percents[] = {5, 10, 20, 50};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void add_row(struct report *report, const char *trace,
		    unsigned int percent, const char *policy,
		    const struct score *s)
{
	json_t *row =
		json_pack("{s:s, s:i, s:s, s:f, s:f, s:f, s:f, s:I}", "trace",
			  trace, "percent", (int)percent, "policy", policy,
			  "fault_hits", replay_hit_ratio(s, CACHE_FAULT),
			  "node_hits", replay_hit_ratio(s, CACHE_NODE),
			  "prefetch_hits", replay_hit_ratio(s, CACHE_PREFETCH),
			  "mount_hits", replay_hit_ratio(s, CACHE_MOUNT),
			  "fault_misses", (json_int_t)s->misses[CACHE_FAULT]);

	report_row(report, "hit ratio", row);
}

/* What the aims are about, of the fleet at 10 %. */
struct outcome {
	double own, lru, sieve, s3fifo; /* fault misses */
};

static void note(struct outcome *o, const char *policy, const struct score *s)
{
	double misses = (double)s->misses[CACHE_FAULT];

	if (strcmp(policy, "lru") == 0)
		o->lru = misses;
	else if (strcmp(policy, "sieve") == 0)
		o->sieve = misses;
	else if (strcmp(policy, "s3-fifo") == 0)
		o->s3fifo = misses;
}

static int compare_at(const struct trace *t, const char *name,
		      unsigned int percent, struct report *report,
		      struct outcome *ret_outcome)
{
	_cleanup_free_ bool *hits = calloc(t->count, sizeof(*hits));
	struct outcome o = {0};
	struct score s;
	uint32_t slots;
	int r = -ENOMEM;

	if (hits)
		r = replay_own(t, t->items * percent / 100, hits, &slots);
	if (r < 0)
		return r;
	s = replay_score(t, hits);
	o.own = (double)s.misses[CACHE_FAULT];
	add_row(report, name, percent, "pagerd", &s);
	for (const struct policies_row *p = policies; p->name && r == 0; p++) {
		r = p->run(t, slots, hits);
		s = replay_score(t, hits);
		add_row(report, name, percent, p->name, &s);
		note(&o, p->name, &s);
	}
	*ret_outcome = o;
	return r;
}

static int compare(const struct trace *t, const char *name,
		   struct report *report, struct outcome *ret_at_10)
{
	struct outcome o;
	char about[64];
	int r = 0;

	(void)snprintf(about, sizeof(about), "%zu look-ups of %u blocks",
		       t->count, t->items);
	report_fact(report, name, json_string(about));
	for (size_t i = 0; i < COUNT(percents) && r == 0; i++) {
		r = compare_at(t, name, percents[i], report, &o);
		if (r == 0 && percents[i] == 10)
			*ret_at_10 = o;
	}
	return r;
}

/* Fault misses with the scans against those without, in the own cache. */
static int scan_cost(const struct trace *t, double *ret_ratio)
{
	_cleanup_free_ bool *hits = calloc(t->count, sizeof(*hits));
	struct trace quiet;
	struct score with, without;
	uint32_t slots;
	int r = hits ? trace_without_scans(t, &quiet) : -ENOMEM;

	if (r < 0)
		return r;
	r = replay_own(t, t->items / 10, hits, &slots);
	with = replay_score(t, hits);
	if (r == 0)
		r = replay_own(&quiet, t->items / 10, hits, &slots);
	without = replay_score(&quiet, hits);
	trace_release(&quiet);
	*ret_ratio = (double)with.misses[CACHE_FAULT] /
		     (double)without.misses[CACHE_FAULT];
	return r;
}

/*
 * The fleet, of which the sessions with an odd number have a working set, all
 * but their tail is prefetched: what it costs where prefetch is treated as a
 * scan is (class bulk).
 */
static int prefetch_gain(struct trace *t, struct report *report)
{
	static const enum cache_class classes[] = {CACHE_PREFETCH, CACHE_BULK};
	_cleanup_free_ bool *hits = calloc(t->count, sizeof(*hits));
	uint32_t slots;
	int r = hits ? 0 : -ENOMEM;

	for (size_t k = 0; r == 0 && k < COUNT(classes); k++) {
		struct score s;

		for (size_t i = 0; i < t->count; i++)
			if (t->lookups[i].session % 2 &&
			    !trace_is_tail(&t->lookups[i]))
				t->lookups[i].class = classes[k] & 0xff;
		r = replay_own(t, t->items / 10, hits, &slots);
		s = replay_score(t, hits);
		report_row(report, "fleet, half by working sets, at 10 %",
			   json_pack("{s:s, s:I, s:I}", "prefetch_as",
				     cache_class_name(classes[k]),
				     "fault_misses",
				     (json_int_t)s.misses[CACHE_FAULT],
				     "prefetch_misses",
				     (json_int_t)s.misses[classes[k]]));
	}
	return r;
}

static int bench_fleet(struct report *report)
{
	struct outcome o = {0};
	struct trace t;
	double cost = 0;
	int r = trace_make_fleet(SEED, RESTORES, SCANS, &t);

	if (r < 0)
		return r;
	r = compare(&t, "fleet", report, &o);
	if (r == 0)
		r = scan_cost(&t, &cost);
	if (r == 0)
		r = prefetch_gain(&t, report);
	trace_release(&t);
	if (r < 0)
		return r;
	report_aim(report, "fleet at 10 %: fault misses / LRU's", o.own / o.lru,
		   0.8, true);
	report_aim(report, "fleet at 10 %: fault misses / SIEVE's",
		   o.own / o.sieve, 1, true);
	report_aim(report, "fleet at 10 %: fault misses / plain S3-FIFO's",
		   o.own / o.s3fifo, 1, true);
	report_aim(report, "fault misses with scans / without", cost, 1.05,
		   true);
	return 0;
}

static int bench_burst(struct report *report)
{
	struct outcome o;
	struct trace t;
	int r = trace_make_burst(SEED, RESTORES, &t);

	if (r < 0)
		return r;
	r = compare(&t, "burst", report, &o);
	trace_release(&t);
	return r;
}

static int bench_recorded(const struct bench_options *options,
			  struct report *report)
{
	struct outcome o;
	struct trace t;
	int r = options->input ? trace_read(options->input, &t)
			       : record_restores(options, &t);

	if (r < 0)
		return r;
	r = compare(&t, "recorded", report, &o);
	trace_release(&t);
	return r;
}

struct caller {
	struct cache *cache;
	uint32_t blocks, calls, number;
	bool misses;
	pthread_t thread;
};

/* Hits: any of the blocks. Misses: ever new ones, none twice. */
static void *call(void *arg)
{
	struct caller *me = arg;
	uint64_t seed = me->number + 1;

	for (uint32_t i = 0; i < me->calls; i++) {
		uint64_t block;

		seed = seed * UINT64_C(6364136223846793005) + 1;
		block = me->misses ? pager_block_id(FOREIGN + me->number, i + 1)
				   : replay_block((uint32_t)(seed >> 33) %
						  me->blocks);
		(void)replay_look_up(me->cache, block, CACHE_FAULT);
	}
	return NULL;
}

/* What a call cost: processor time, and wall time over all threads. */
struct cost {
	double cpu_ns, wall_ns;
	double contended; /* share of the calls that waited for another's */
};

static uint64_t cpu_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t contended(struct cache *c)
{
	struct cache_stats stats;

	cache_stats(c, &stats);
	return stats.contended;
}

static int time_calls(struct cache *c, uint32_t blocks, bool misses,
		      unsigned int threads, struct cost *ret_cost)
{
	struct caller callers[THREADS_MAX];
	uint64_t before = contended(c), begin = bench_now(), cpu = cpu_now();
	unsigned int started = 0;

	for (; started < threads; started++) {
		struct caller *me = &callers[started];

		*me = (struct caller){c,       blocks, TIMED_CALLS / threads,
				      started, misses, 0};
		if (pthread_create(&me->thread, NULL, call, me))
			break;
	}
	for (unsigned int i = 0; i < started; i++)
		(void)pthread_join(callers[i].thread, NULL);
	ret_cost->wall_ns = (double)(bench_now() - begin) / TIMED_CALLS;
	ret_cost->cpu_ns = (double)(cpu_now() - cpu) / TIMED_CALLS;
	ret_cost->contended = (double)(contended(c) - before) / TIMED_CALLS;
	return started == threads ? 0 : err_set(-EAGAIN, "no more threads");
}

/* One round of hits and one of misses, in a cache of its own. */
static int time_one(unsigned int threads, struct cost *ret_hit,
		    struct cost *ret_miss)
{
	const struct cache_options options = {.limit = TIMED_BYTES};
	struct cache *c;
	uint32_t blocks = TIMED_BYTES / PAGER_PAGE_SIZE * 8 / 10;
	int r = cache_new(&options, &c);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < blocks; i++)
		(void)replay_look_up(c, replay_block(i), CACHE_FAULT);
	r = time_calls(c, blocks, false, threads, ret_hit);
	if (r == 0)
		r = time_calls(c, blocks, true, threads, ret_miss);
	cache_free(c);
	return r;
}

static struct cost median_of(const struct cost costs[ROUNDS])
{
	double cpu[ROUNDS], wall[ROUNDS], waited[ROUNDS];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		cpu[i] = costs[i].cpu_ns;
		wall[i] = costs[i].wall_ns;
		waited[i] = costs[i].contended;
	}
	return (struct cost){bench_median(cpu, ROUNDS),
			     bench_median(wall, ROUNDS),
			     bench_median(waited, ROUNDS)};
}

static int bench_times_with(unsigned int threads, struct report *report,
			    struct cost *ret_hit)
{
	struct cost hits[ROUNDS] = {0}, misses[ROUNDS] = {0}, hit, miss;
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < ROUNDS; i++)
		r = time_one(threads, &hits[i], &misses[i]);
	hit = median_of(hits);
	miss = median_of(misses);
	report_row(report, "cost",
		   json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "threads",
			     (int)threads, "hit_cpu_ns", hit.cpu_ns,
			     "hit_wall_ns", hit.wall_ns, "hit_waits",
			     hit.contended, "miss_cpu_ns", miss.cpu_ns,
			     "miss_wall_ns", miss.wall_ns, "miss_waits",
			     miss.contended));
	*ret_hit = hit;
	return r;
}

static int bench_times(struct report *report)
{
	struct cost alone = {0}, hit;
	double best = 0;
	int r = 0;

	for (unsigned int n = 1; r == 0 && n <= THREADS_MAX; n *= 2) {
		r = bench_times_with(n, report, &hit);
		if (n == 1)
			alone = hit;
		if (r == 0 && alone.wall_ns / hit.wall_ns > best)
			best = alone.wall_ns / hit.wall_ns;
	}
	report_aim(report, "processor ns a hit, one thread", alone.cpu_ns, 150,
		   true);
	report_fact(report, "hits a second, the best against one thread's",
		    json_real(best));
	report_fact(report, "processors",
		    json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	return r;
}

int bench_cache(const struct bench_options *options, struct report *report)
{
	int r = bench_times(report);

	if (r == 0)
		r = bench_recorded(options, report);
	if (r == 0)
		r = bench_fleet(report);
	if (r == 0)
		r = bench_burst(report);
	return r < 0 ? r : many_compare(report);
}
