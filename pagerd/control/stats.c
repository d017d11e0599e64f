#include "pagerd/control/stats.h"

#include "fs/base/cleanup.h"
#include "fs/store/store.h"
#include "pager/block.h"

/* A list of stuck sessions that is longer helps nobody. */
#define STATS_STUCK_MAX	 64
#define STATS_DAMAGE_MAX 16

static json_int_t us(uint64_t ns)
{
	return (json_int_t)(ns / 1000);
}

static json_t *integer(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

int stats_take(const struct daemon *d, struct stats *ret_stats)
{
	int r = registry_totals(d->registry, &ret_stats->sessions);

	if (r < 0)
		return r;
	cache_stats(d->cache, &ret_stats->cache);
	damage_stats(store_damage(d->store), &ret_stats->damage);
	ret_stats->uptime_ns = daemon_now() - d->started_ns;
	return 0;
}

static json_t *counters(const uint64_t values[SESSION_COUNTER_COUNT])
{
	json_t *object = json_object();

	for (int i = 0; i < SESSION_COUNTER_COUNT; i++)
		(void)json_object_set_new(
			object, session_counter_name((enum session_counter)i),
			integer(values[i]));
	return object;
}

static json_t *by_state(const uint64_t values[SESSION_STATE_COUNT])
{
	json_t *object = json_object();

	for (int i = 0; i < SESSION_ENDED; i++)
		(void)json_object_set_new(
			object, session_state_name((enum session_state)i),
			integer(values[i]));
	return object;
}

static json_t *ended(const uint64_t values[SESSION_END_COUNT])
{
	json_t *object = json_object();

	for (int i = 0; i < SESSION_END_COUNT; i++)
		(void)json_object_set_new(object,
					  session_end_name((enum session_end)i),
					  integer(values[i]));
	return object;
}

json_t *stats_to_json(const struct stats *s)
{
	const struct registry_totals *t = &s->sessions;

	return json_pack(
		"{s:s, s:f, s:b, s:i, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I,"
		" s:I, s:I, s:I, s:o}",
		"version", PAGER_VERSION, "uptime_seconds",
		seconds(s->uptime_ns), "draining", t->draining, "workers",
		(int)t->workers, "sessions", (json_int_t)t->sessions,
		"sessions_by_state", by_state(t->by_state), "sessions_ended",
		ended(t->ended), "counters", counters(t->counters),
		"outstanding", (json_int_t)t->outstanding, "parked",
		(json_int_t)t->parked, "stalled", (json_int_t)t->stalled,
		"oldest_fault_us", us(t->oldest_fault_ns), "blocked_us",
		us(t->blocked_ns), "p50_us",
		us(hist_percentile(&t->latency, 0.5)), "p99_us",
		us(hist_percentile(&t->latency, 0.99)), "cache",
		stats_cache(&s->cache));
}

static json_t *last_eviction(bool evicted, uint32_t ago, uint32_t after)
{
	if (!evicted)
		return json_null();
	return json_pack("{s:I, s:I}", "seconds_ago", (json_int_t)ago,
			 "unused_seconds", (json_int_t)after);
}

static json_t *class_figures(const struct cache_class_stats *c)
{
	json_t *object = json_object();

#define X(member, help) \
	(void)json_object_set_new(object, #member, integer(c->member));
	CACHE_CLASS_COUNTERS(X)
	CACHE_CLASS_GAUGES(X)
#undef X
	(void)json_object_set_new(
		object, "last_eviction",
		last_eviction(c->evicted, c->evicted_ago, c->evicted_after));
	return object;
}

static json_t *classes(const struct cache_stats *c)
{
	json_t *object = json_object();

	for (int i = 0; i < CACHE_CLASS_COUNT; i++)
		(void)json_object_set_new(object,
					  cache_class_name((enum cache_class)i),
					  class_figures(&c->by_class[i]));
	return object;
}

/* What the bytes are made of. */
static json_t *memory(const struct cache_stats *c)
{
	uint64_t slots = c->bytes - c->tables - c->ghosts - c->curve;
	json_t *object = json_object();

#define X(id, name, help) slots -= c->charged[CACHE_CHARGE_##id];
	CACHE_CHARGES(X)
#undef X
	(void)json_object_set_new(object, "slots", integer(slots));
	(void)json_object_set_new(object, "tables", integer(c->tables));
	(void)json_object_set_new(object, "ghosts", integer(c->ghosts));
	(void)json_object_set_new(object, "curve", integer(c->curve));
#define X(id, name, help)                        \
	(void)json_object_set_new(object, #name, \
				  integer(c->charged[CACHE_CHARGE_##id]));
	CACHE_CHARGES(X)
#undef X
	return object;
}

/* Not summed up: each step has what is in none before it. */
static json_t *read_latency(const struct cache_stats *c)
{
	json_t *list = json_array();
	uint64_t seen = 0;

	for (int i = 0; i < CACHE_READ_STEPS; i++) {
		(void)json_array_append_new(
			list,
			json_pack("{s:f, s:I}", "below_us",
				  (double)CACHE_READ_BELOW(i) / 1000, "reads",
				  (json_int_t)(c->read_below[i] - seen)));
		seen = c->read_below[i];
	}
	(void)json_array_append_new(
		list,
		json_pack("{s:n, s:I}", "below_us", "reads",
			  (json_int_t)(c->reads > seen ? c->reads - seen : 0)));
	return list;
}

static json_t *cache_gauges(const struct cache_stats *c)
{
	uint64_t asked = c->hits + c->misses;

	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I,"
		" s:I, s:o, s:o, s:o, s:o}",
		"bytes", (json_int_t)c->bytes, "limit", (json_int_t)c->limit,
		"capacity", (json_int_t)c->capacity, "held",
		(json_int_t)c->held, "holdable", (json_int_t)c->holdable,
		"stragglers", (json_int_t)c->stragglers, "drops",
		(json_int_t)c->drops, "failures", (json_int_t)c->failures,
		"contended", (json_int_t)c->contended, "hit_ratio",
		asked ? (double)c->hits / (double)asked : 0.0, "read_p50_us",
		us(c->read_p50), "read_p99_us", us(c->read_p99),
		"last_eviction",
		last_eviction(c->evicted, c->evicted_ago, c->evicted_after),
		"read_latency", read_latency(c), "memory", memory(c), "classes",
		classes(c));
}

json_t *stats_cache(const struct cache_stats *c)
{
	json_t *object = cache_gauges(c);

#define X(member, help) \
	(void)json_object_set_new(object, #member, integer(c->member));
	CACHE_CLASS_COUNTERS(X)
	CACHE_CLASS_GAUGES(X)
#undef X
	return object;
}

/* null says "no VMM", or one that cannot be seen from here. */
static json_t *vmm_pid(pid_t pid)
{
	return pid > 0 ? json_integer(pid) : json_null();
}

/* Answered faults, and how long they took, by where the page came from. */
static json_t *sources(const struct session *s, const struct session_status *st)
{
	json_t *object = json_object();

	for (int i = 0; i < SESSION_SOURCE_COUNT; i++) {
		enum session_source source = (enum session_source)i;
		const struct hist *h = session_latency_by(s, source);

		(void)json_object_set_new(
			object, session_source_name(source),
			json_pack(
				"{s:I, s:I, s:I, s:I}", "faults",
				(json_int_t)st->counters[session_source_counter(
					source)],
				"p50_us", us(hist_percentile(h, 0.5)), "p99_us",
				us(hist_percentile(h, 0.99)), "p999_us",
				us(hist_percentile(h, 0.999))));
	}
	return object;
}

static uint64_t pages_absent(const struct session_status *st)
{
	uint64_t known =
		st->pages_present + st->pages_removed + st->pages_poisoned;

	/* Figures of one picture may be a fault apart. */
	return st->pages_total > known ? st->pages_total - known : 0;
}

static json_t *session_json(const struct session_status *st,
			    const char *socket_path)
{
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:b, s:s, s:o, s:i, s:I, s:I, s:I, s:I,"
		" s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b,"
		" s:I, s:I, s:o}",
		"id", st->id, "snapshot", st->snapshot, "state",
		session_state_name(st->state), "policy",
		session_policy_name(st->policy), "lingering", st->lingering,
		"socket_path", socket_path, "vmm_pid", vmm_pid(st->vmm_pid),
		"worker", (int)st->worker, "faults",
		(json_int_t)st->counters[SESSION_COUNT_FAULTS], "pages_absent",
		(json_int_t)pages_absent(st), "pages_present",
		(json_int_t)st->pages_present, "pages_removed",
		(json_int_t)st->pages_removed, "pages_poisoned",
		(json_int_t)st->pages_poisoned, "pages_total",
		(json_int_t)st->pages_total, "outstanding",
		(json_int_t)st->outstanding, "parked", (json_int_t)st->parked,
		"stalled", (json_int_t)st->stalled, "oldest_fault_us",
		us(st->oldest_fault_ns), "blocked_us", us(st->blocked_ns),
		"p50_us", us(st->p50_ns), "p99_us", us(st->p99_ns), "p999_us",
		us(st->p999_ns), "prefetching", st->prefetching, "completing",
		st->completing, "working_set_pages",
		(json_int_t)st->workingset_pages, "prefetch_us",
		us(st->prefetch_ns), "counters", counters(st->counters));
}

json_t *stats_session(struct session *s)
{
	struct session_status st;
	json_t *object;

	session_status(s, &st);
	object = session_json(&st, session_socket_path(s));
	(void)json_object_set_new(object, "sources", sources(s, &st));
	return object;
}

json_t *stats_sessions(const struct daemon *d)
{
	json_t *list = json_array();
	struct session **sessions;
	size_t count;

	if (registry_list(d->registry, &sessions, &count) < 0) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list, stats_session(sessions[i]));
	registry_list_free(sessions, count);
	return json_pack("{s:o}", "sessions", list);
}

/* What an operator looks at first, for the session as a whole. */
static const char *reason(const struct session_status *st)
{
	if (st->unheard_ns > 0)
		return "threads wait for faults that were never told";
	if (st->stalled > 0)
		return "a page cannot be had, and the policy is to stall";
	if (st->parked > 0)
		return "the kernel puts installs off: the VMM does not run";
	if (st->state == SESSION_FAILING)
		return "its VMM was killed and has not exited yet";
	return "a read of the store has not come back";
}

/* The sessions whose oldest fault has waited too long. */
static json_t *stuck(const struct daemon *d, struct session **sessions,
		     size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		struct session_status st;

		session_status(sessions[i], &st);
		if (st.oldest_fault_ns < st.unheard_ns)
			st.oldest_fault_ns = st.unheard_ns;
		if (st.oldest_fault_ns < d->stuck_after_ns ||
		    json_array_size(list) == STATS_STUCK_MAX)
			continue;
		(void)json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "id",
				  st.id, "reason", reason(&st), "snapshot",
				  st.snapshot, "oldest_fault_us",
				  us(st.oldest_fault_ns), "outstanding",
				  (json_int_t)st.outstanding, "parked",
				  (json_int_t)st.parked, "stalled",
				  (json_int_t)st.stalled));
	}
	return list;
}

/* What the store could not give, whoever asked. */
static json_t *quarantine(const struct daemon *d)
{
	struct damage_row rows[STATS_DAMAGE_MAX];
	struct damage_stats st;
	json_t *list = json_array();
	size_t n = damage_list(store_damage(d->store), rows, STATS_DAMAGE_MAX);

	damage_stats(store_damage(d->store), &st);
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(
			list,
			json_pack("{s:I, s:I, s:b, s:s}", "pack",
				  (json_int_t)pager_block_pack(rows[i].block),
				  "slot",
				  (json_int_t)pager_block_slot(rows[i].block),
				  "has_copy", rows[i].has_copy, "error",
				  rows[i].text));
	return json_pack("{s:I, s:I, s:o}", "blocks", (json_int_t)st.blocks,
			 "with_copy", (json_int_t)st.copies, "list", list);
}

json_t *stats_health(const struct daemon *d)
{
	struct session **sessions;
	json_t *list;
	size_t count;

	if (registry_list(d->registry, &sessions, &count) < 0)
		return NULL;
	list = stuck(d, sessions, count);
	registry_list_free(sessions, count);
	return json_pack("{s:s, s:s, s:b, s:I, s:o, s:o}", "status",
			 json_array_size(list) ? "unhealthy" : "ok", "version",
			 PAGER_VERSION, "draining",
			 registry_draining(d->registry), "sessions",
			 (json_int_t)registry_count(d->registry), "stuck", list,
			 "quarantine", quarantine(d));
}
