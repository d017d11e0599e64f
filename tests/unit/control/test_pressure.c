#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pagerd/control/cache/pressure.h"
#include "tests/unit/store/scratch.h"

#define MIB (UINT64_C(1) << 20)

#define CALM_CALLS (PRESSURE_CALM_MS / 1000)

static const struct pressure_figures calm = {.elapsed_ms = 1000};
static const struct pressure_figures stalled = {.stalled = 0.3};

static void shrinks_by_eighths_and_grows_back(void **state)
{
	struct pressure_state s = {0};
	uint64_t limit = 800 * MIB;
	unsigned int seconds = 0;

	(void)state;
	assert_int_equal(pressure_decide(&s, &calm, limit, limit), limit);
	limit = pressure_decide(&s, &stalled, limit, limit);
	assert_int_equal(limit, 700 * MIB);
	s.set = limit;
	/* Calm has to last, and one bad second begins it anew. */
	for (int i = 0; i < CALM_CALLS - 1; i++)
		assert_int_equal(pressure_decide(&s, &calm, limit, limit),
				 limit);
	assert_true(pressure_decide(&s, &stalled, limit, limit) < limit);
	while (limit < 800 * MIB) {
		limit = pressure_decide(&s, &calm, limit, limit);
		s.set = limit;
		assert_true(++seconds < 100);
	}
	assert_int_equal(seconds, 2 * CALM_CALLS);
	assert_int_equal(limit, 800 * MIB);
}

static void what_the_operator_sets_is_wanted(void **state)
{
	struct pressure_state s = {0};
	uint64_t limit = 800 * MIB;

	(void)state;
	s.set = pressure_decide(&s, &stalled, limit, limit);
	/* A resize in between: no growing back to what was before. */
	limit = 300 * MIB;
	for (int i = 0; i < 5 * CALM_CALLS; i++)
		assert_int_equal(pressure_decide(&s, &calm, limit, limit),
				 limit);
	assert_int_equal(s.wanted, 300 * MIB);
}

static void the_groups_limit_counts(void **state)
{
	struct pressure_figures f = {
		.elapsed_ms = 1000,
		.group = {.used = 970, .limit = 1000},
	};
	struct pressure_state s = {0};
	uint64_t limit = 160 * MIB;

	(void)state;
	assert_int_equal(pressure_decide(&s, &f, limit, limit), 140 * MIB);
	s.set = 140 * MIB;
	f.group =
		(struct memgroup_figures){.used = 90 * MIB, .limit = 100 * MIB};
	for (int i = 0; i < 5 * CALM_CALLS; i++)
		assert_int_equal(pressure_decide(&s, &f, 140 * MIB, 140 * MIB),
				 140 * MIB);
	f.group.used = 50 * MIB;
	for (int i = 0; i < CALM_CALLS - 1; i++)
		assert_int_equal(pressure_decide(&s, &f, 140 * MIB, 140 * MIB),
				 140 * MIB);
	assert_int_equal(pressure_decide(&s, &f, 140 * MIB, 140 * MIB),
			 150 * MIB);
}

static void write_text(const char *folder, const char *name, const char *text)
{
	scratch_write(scratch_file(folder, name), text, strlen(text));
}

/* Far over at once, as by a VM that grows: no eighths then. */
static void gives_what_it_takes(void **state)
{
	const struct pressure_figures f = {
		.group = {.used = 1960 * MIB, .limit = 2000 * MIB},
	};
	struct pressure_state s = {0};

	(void)state;
	assert_int_equal(pressure_decide(&s, &f, 800 * MIB, 800 * MIB),
			 640 * MIB);
	s = (struct pressure_state){0};
	assert_int_equal(pressure_decide(&s, &f, 400 * MIB, 400 * MIB),
			 240 * MIB);
	/* What it does not use cannot be given back. */
	s = (struct pressure_state){0};
	assert_int_equal(pressure_decide(&s, &f, 9000 * MIB, 400 * MIB),
			 240 * MIB);
	s = (struct pressure_state){0};
	assert_int_equal(pressure_decide(&s, &f, 9000 * MIB, 100 * MIB), 0);
}

static void reads_what_a_group_tells(void **state)
{
	struct memgroup_figures f;
	char folder[SCRATCH_PATH_MAX];
	struct memgroup group;
	uint64_t total;

	(void)state;
	scratch_make(folder);
	write_text(folder, "memory.pressure",
		   "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n"
		   "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
	write_text(folder, "memory.max", "1048576\n");
	write_text(folder, "memory.high", "max\n");
	write_text(folder, "memory.current", "409600\n");
	write_text(folder, "memory.stat",
		   "anon 1\nfile 99\ninactive_file 4096\nactive_file 8192\n");
	memgroup_open(folder, &group);
	assert_int_equal(memgroup_stalled(&group, &total), 0);
	assert_int_equal(total, 1000000);
	memgroup_read(&group, &f);
	assert_int_equal(f.limit, MIB);
	assert_int_equal(f.used, 409600 - 4096 - 8192);
	write_text(folder, "memory.high", "524288\n");
	memgroup_read(&group, &f);
	assert_int_equal(f.limit, MIB / 2);
	write_text(folder, "memory.max", "max\n");
	write_text(folder, "memory.high", "max\n");
	memgroup_read(&group, &f);
	assert_int_equal(f.limit, 0);
	scratch_remove(folder);
}

static void reads_a_group_of_version_1(void **state)
{
	struct memgroup_figures f;
	char folder[SCRATCH_PATH_MAX];
	struct memgroup group;

	(void)state;
	scratch_make(folder);
	write_text(folder, "memory.limit_in_bytes", "1048576\n");
	write_text(folder, "memory.usage_in_bytes", "409600\n");
	write_text(folder, "memory.stat",
		   "inactive_file 1\ntotal_inactive_file 4096\n"
		   "total_active_file 8192\n");
	memgroup_open(folder, &group);
	memgroup_read(&group, &f);
	assert_int_equal(f.limit, MIB);
	assert_int_equal(f.used, 409600 - 4096 - 8192);
	write_text(folder, "memory.limit_in_bytes", "9223372036854771712\n");
	memgroup_read(&group, &f);
	assert_int_equal(f.limit, 0);
	scratch_remove(folder);
}

static size_t limit_of(struct cache *c)
{
	struct cache_stats stats;

	cache_stats(c, &stats);
	return stats.limit;
}

static void the_watch_shrinks_a_cache(void **state)
{
	const struct cache_options options = {.limit = 64 * MIB};
	char folder[SCRATCH_PATH_MAX];
	struct pressure *p;
	struct cache *c;

	(void)state;
	scratch_make(folder);
	write_text(folder, "memory.max", "1000000\n");
	write_text(folder, "memory.current", "990000\n");
	assert_int_equal(cache_new(&options, &c), 0);
	assert_int_equal(pressure_new(c, folder, &p), 0);
	while (limit_of(c) == 64 * MIB)
		sched_yield();
	assert_true(limit_of(c) < 56 * MIB);
	pressure_free(p);
	cache_free(c);
	scratch_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shrinks_by_eighths_and_grows_back),
		cmocka_unit_test(what_the_operator_sets_is_wanted),
		cmocka_unit_test(the_groups_limit_counts),
		cmocka_unit_test(gives_what_it_takes),
		cmocka_unit_test(reads_what_a_group_tells),
		cmocka_unit_test(reads_a_group_of_version_1),
		cmocka_unit_test(the_watch_shrinks_a_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
