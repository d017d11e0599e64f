#include "tests/bench/cache/many.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "tests/bench/cache/policies.h"
#include "tests/bench/cache/replay.h"

#define FLEETS	       6u
#define FLEET_RESTORES 500u
#define FLEET_SCANS    13u
#define TURNS	       40u
#define TURNS_IMAGES   3u /* to so many more */
#define TURNS_RESTORES 48u
#define FIRST_SEED     1000u
#define RIVALS_MAX     8

/* Of a size: sums of logarithms of own misses / theirs, and where we lost. */
struct sums {
	double log[RIVALS_MAX];
	unsigned int lost[RIVALS_MAX], count;
};

static double mean(const struct sums *s, size_t rival)
{
	return exp(s->log[rival] / s->count);
}

static int add_trace(const struct trace *t, unsigned int percent,
		     struct sums *sums)
{
	_cleanup_free_ bool *hits = calloc(t->count, sizeof(*hits));
	uint32_t slots;
	double own;
	int r = hits ? 0 : -ENOMEM;

	if (r == 0)
		r = replay_own(t, t->items * percent / 100, hits, &slots);
	if (r < 0)
		return r;
	own = (double)replay_score(t, hits).misses[CACHE_FAULT];
	for (size_t i = 0; policies[i].name && r == 0; i++) {
		double theirs;

		r = policies[i].run(t, slots, hits);
		theirs = (double)replay_score(t, hits).misses[CACHE_FAULT];
		sums->log[i] += log(own / theirs);
		sums->lost[i] += own > theirs;
	}
	sums->count++;
	return r;
}

static int compare_fleets(struct report *report)
{
	struct sums sums = {0};
	int r = 0;

	for (unsigned int n = 0; r == 0 && n < FLEETS; n++) {
		struct trace t;

		r = trace_make_fleet(FIRST_SEED + n, FLEET_RESTORES,
				     FLEET_SCANS, &t);
		if (r < 0)
			return r;
		r = add_trace(&t, 10, &sums);
		trace_release(&t);
	}
	for (size_t i = 0; policies[i].name && r == 0; i++) {
		bool is_oracle = strcmp(policies[i].name, "belady") == 0;
		char what[80];

		(void)snprintf(what, sizeof(what),
			       "other fleets at 10 %%: fault misses / %s's",
			       policies[i].name);
		if (!is_oracle)
			report_aim(report, what, mean(&sums, i),
				   strcmp(policies[i].name, "lru") ? 1 : 0.8,
				   true);
	}
	return r;
}

static int compare_turns(unsigned int percent, struct report *report)
{
	struct sums sums = {0};
	int r = 0;

	for (unsigned int n = 0; r == 0 && n < TURNS; n++) {
		struct trace t;

		r = trace_make_turns(FIRST_SEED + n,
				     TURNS_IMAGES + n % (TURNS_IMAGES + 1),
				     TURNS_RESTORES, &t);
		if (r < 0)
			return r;
		r = add_trace(&t, percent, &sums);
		trace_release(&t);
	}
	for (size_t i = 0; policies[i].name && r == 0; i++)
		report_row(report, "restores in turn, many traces",
			   json_pack("{s:i, s:s, s:f, s:i, s:i}", "percent",
				     (int)percent, "against", policies[i].name,
				     "fault_misses", mean(&sums, i), "more_in",
				     (int)sums.lost[i], "of", (int)sums.count));
	return r;
}

int many_compare(struct report *report)
{
	static const unsigned int percents[] = {5, 10, 20, 50};
	int r = compare_fleets(report);

	for (size_t i = 0; r == 0 && i < sizeof(percents) / sizeof(percents[0]);
	     i++)
		r = compare_turns(percents[i], report);
	return r;
}
