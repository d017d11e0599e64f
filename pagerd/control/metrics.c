#include "pagerd/control/metrics.h"

#include <math.h>

#define SECONDS(ns) ((double)(ns) / 1e9)

static const char *state_label(int i)
{
	return session_state_name((enum session_state)i);
}

static const char *end_label(int i)
{
	return session_end_name((enum session_end)i);
}

static const char *class_label(int i)
{
	return cache_class_name((enum cache_class)i);
}

static const char *source_label(int i)
{
	return session_source_name((enum session_source)i);
}

static const char *const quantiles[] = {"0.5", "0.9", "0.99", "0.999"};
#define QUANTILES (int)(sizeof(quantiles) / sizeof(quantiles[0]))

static const char *quantile_label(int i)
{
	return quantiles[i];
}

static const char *version_label(int i)
{
	(void)i;
	return PAGER_VERSION;
}

#define GETTER(name, expression)                               \
	static double get_##name(const struct stats *s, int i) \
	{                                                      \
		(void)s;                                       \
		(void)i;                                       \
		return (double)(expression);                   \
	}

GETTER(one, 1)
GETTER(uptime, SECONDS(s->uptime_ns))
GETTER(draining, s->sessions.draining)
GETTER(workers, s->sessions.workers)
GETTER(state, s->sessions.by_state[i])
GETTER(ended, s->sessions.ended[i])
GETTER(counter, s->sessions.counters[i])
GETTER(blocked, SECONDS(s->sessions.blocked_ns))
GETTER(outstanding, s->sessions.outstanding)
GETTER(parked, s->sessions.parked)
GETTER(stalled, s->sessions.stalled)
GETTER(oldest, SECONDS(s->sessions.oldest_fault_ns))
GETTER(latency_sum, SECONDS(s->sessions.latency.sum))
GETTER(latency_count, s->sessions.latency.count)
GETTER(cache_bytes, s->cache.bytes)
GETTER(cache_limit, s->cache.limit)
#define X(member, help) GETTER(cache_##member, s->cache.by_class[i].member)
CACHE_CLASS_GAUGES(X)
#undef X
GETTER(cache_held, s->cache.held)
GETTER(cache_tables, s->cache.tables)
GETTER(cache_ghosts, s->cache.ghosts)
GETTER(cache_curve, s->cache.curve)
GETTER(cache_charged, s->cache.charged[i])
GETTER(cache_contended, s->cache.contended)
GETTER(read_count, s->cache.reads)
GETTER(read_sum, SECONDS(s->cache.read_ns))
GETTER(cache_drops, s->cache.drops)
GETTER(damaged, s->damage.blocks)
GETTER(damaged_copies, s->damage.copies)
GETTER(damage_found, s->damage.found)
GETTER(damage_healed, s->damage.healed)
GETTER(damage_refusals, s->damage.refusals)
#define X(member, help) GETTER(cache_##member, s->cache.by_class[i].member)
CACHE_CLASS_COUNTERS(X)
#undef X
GETTER(cache_failures, s->cache.failures)

static const char *charge_label(int i)
{
	static const char *const names[] = {
#define X(id, name, help) #name,
		CACHE_CHARGES(X)
#undef X
	};

	return names[i];
}

/* The last one is of all reads. */
static const char *const read_steps[] = {
	"1.6384e-05",  "6.5536e-05",  "0.000262144", "0.001048576",
	"0.004194304", "0.016777216", "0.067108864", "0.268435456",
	"1.073741824", "4.294967296", "+Inf",
};
_Static_assert(sizeof(read_steps) / sizeof(read_steps[0]) ==
		       CACHE_READ_STEPS + 1,
	       "CACHE_READ_BELOW() in seconds");

static const char *read_step_label(int i)
{
	return read_steps[i];
}

static double get_read_below(const struct stats *s, int i)
{
	return (double)(i < CACHE_READ_STEPS ? s->cache.read_below[i]
					     : s->cache.reads);
}

static double get_quantile(const struct stats *s, int i)
{
	static const double shares[QUANTILES] = {0.5, 0.9, 0.99, 0.999};

	return SECONDS(hist_percentile(&s->sessions.latency, shares[i]));
}

static double get_source_p50(const struct stats *s, int i)
{
	return SECONDS(hist_percentile(&s->sessions.latency_by[i], 0.5));
}

static double get_source_p99(const struct stats *s, int i)
{
	return SECONDS(hist_percentile(&s->sessions.latency_by[i], 0.99));
}

/* In the order of struct metric. */
#define ONE(name, type, unit, help, get)                      \
	{                                                     \
		name, type, unit, help, NULL, NULL, get, 0, 0 \
	}
#define EACH(name, type, help, label, samples, get)                            \
	{                                                                      \
		name, type, NULL, help, #label, label##_label, get, samples, 0 \
	}

const struct metric metric_rows[] = {
	EACH("pagerd_info", "gauge", "the version that runs", version, 1,
	     get_one),
	ONE("pagerd_uptime_seconds", "gauge", "seconds", "since the start",
	    get_uptime),
	ONE("pagerd_draining", "gauge", NULL, "1: no new sessions",
	    get_draining),
	ONE("pagerd_workers", "gauge", NULL, "threads that answer faults",
	    get_workers),
	EACH("pagerd_sessions", "gauge", "sessions by their state", state,
	     SESSION_ENDED, get_state),
	EACH("pagerd_sessions_ended_total", "counter",
	     "sessions that are over, by the reason", end, SESSION_END_COUNT,
	     get_ended),
#define X(id, text, what)                 \
	{"pagerd_session_" text "_total", \
	 "counter",                       \
	 NULL,                            \
	 what,                            \
	 NULL,                            \
	 NULL,                            \
	 get_counter,                     \
	 0,                               \
	 SESSION_COUNT_##id},
	SESSION_COUNTERS(X)
#undef X
		EACH("pagerd_fault_latency_seconds", "summary",
		     "from a fault's message to its answer", quantile,
		     QUANTILES, get_quantile),
	ONE("pagerd_fault_latency_seconds_sum", NULL, NULL, NULL,
	    get_latency_sum),
	ONE("pagerd_fault_latency_seconds_count", NULL, NULL, NULL,
	    get_latency_count),
	EACH("pagerd_fault_source_p50_seconds", "gauge",
	     "the same by where the page came from: the median", source,
	     SESSION_SOURCE_COUNT, get_source_p50),
	EACH("pagerd_fault_source_p99_seconds", "gauge",
	     "likewise: 99 of 100 took no longer", source, SESSION_SOURCE_COUNT,
	     get_source_p99),
	ONE("pagerd_blocked_seconds_total", "counter", "seconds",
	    "time with at least one fault outstanding, summed over sessions",
	    get_blocked),
	ONE("pagerd_faults_outstanding", "gauge", NULL,
	    "pages being served now", get_outstanding),
	ONE("pagerd_faults_parked", "gauge", NULL,
	    "of these: put off because memory is being given back", get_parked),
	ONE("pagerd_faults_stalled", "gauge", NULL,
	    "of these: stalled by policy", get_stalled),
	ONE("pagerd_oldest_fault_seconds", "gauge", "seconds",
	    "age of the oldest of them", get_oldest),
	ONE("pagerd_cache_bytes", "gauge", "bytes",
	    "the block cache, its bookkeeping counted", get_cache_bytes),
	ONE("pagerd_cache_limit_bytes", "gauge", "bytes", "its bound",
	    get_cache_limit),
#define X(member, help)                                                        \
	EACH("pagerd_cache_" #member, "gauge", help, class, CACHE_CLASS_COUNT, \
	     get_cache_##member),
	CACHE_CLASS_GAUGES(X)
#undef X
		ONE("pagerd_cache_held_blocks", "gauge", NULL,
		    "blocks that pinned snapshots hold", get_cache_held),
	ONE("pagerd_cache_tables_bytes", "gauge", "bytes",
	    "its tables, counted in its bytes", get_cache_tables),
	ONE("pagerd_cache_ghosts_bytes", "gauge", "bytes",
	    "its ghost queues, likewise", get_cache_ghosts),
	ONE("pagerd_cache_curve_bytes", "gauge", "bytes",
	    "what predicts other sizes, likewise", get_cache_curve),
	EACH("pagerd_cache_charged_bytes", "gauge",
	     "memory of its users, likewise", charge, CACHE_CHARGE_COUNT,
	     get_cache_charged),
	{"pagerd_cache_read_seconds", "histogram", NULL,
	 "from a miss to its block", "le", read_step_label, get_one, 0, 0},
	{"pagerd_cache_read_seconds_bucket", NULL, NULL, NULL, "le",
	 read_step_label, get_read_below, CACHE_READ_STEPS + 1, 0},
	ONE("pagerd_cache_read_seconds_sum", NULL, NULL, NULL, get_read_sum),
	ONE("pagerd_cache_read_seconds_count", NULL, NULL, NULL,
	    get_read_count),
	ONE("pagerd_cache_contended_total", "counter", NULL,
	    "calls that waited for another's", get_cache_contended),
#define X(member, help)                                                \
	EACH("pagerd_cache_" #member "_total", "counter", help, class, \
	     CACHE_CLASS_COUNT, get_cache_##member),
	CACHE_CLASS_COUNTERS(X)
#undef X
		ONE("pagerd_cache_drops_total", "counter", NULL,
		    "blocks evicted by command", get_cache_drops),
	ONE("pagerd_cache_failures_total", "counter", NULL, "reads that failed",
	    get_cache_failures),
	ONE("pagerd_quarantine_blocks", "gauge", NULL,
	    "blocks of the store that cannot be read", get_damaged),
	ONE("pagerd_quarantine_copies", "gauge", NULL,
	    "of these: read from another copy", get_damaged_copies),
	ONE("pagerd_quarantine_found_total", "counter", NULL,
	    "blocks that came to be there", get_damage_found),
	ONE("pagerd_quarantine_healed_total", "counter", NULL,
	    "blocks that could be read again", get_damage_healed),
	ONE("pagerd_quarantine_refusals_total", "counter", NULL,
	    "reads refused without a try", get_damage_refusals),
};
const size_t metric_count = sizeof(metric_rows) / sizeof(metric_rows[0]);

static void print_value(FILE *out, double value)
{
	(void)fprintf(out, value == floor(value) ? " %.0f\n" : " %.9g\n",
		      value);
}

static void print_row(FILE *out, const struct metric *m, const struct stats *s)
{
	if (m->type)
		(void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name,
			      m->help, m->name, m->type);
	if (m->type && m->unit)
		(void)fprintf(out, "# UNIT %s %s\n", m->name, m->unit);
	if (!m->label) {
		(void)fputs(m->name, out);
		print_value(out, m->value(s, m->index));
		return;
	}
	for (int i = 0; i < m->samples; i++) {
		(void)fprintf(out, "%s{%s=\"%s\"}", m->name, m->label,
			      m->label_value(i));
		print_value(out, m->value(s, i));
	}
}

void metrics_print(FILE *out, const struct stats *s)
{
	for (size_t i = 0; i < metric_count; i++)
		print_row(out, &metric_rows[i], s);
}
