/* Cached neighbours that ride along: what rides, and that none is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/io/inject.h"
#include "pagerd/uffd/memory/overlay.h"
#include "tests/unit/uffd/uffd_bench.h"

#define PAGE	 4096u
#define SIZE	 (4u << 20)
#define SNAPSHOT "guest"
/* Of the first 16 pages these are no zeros: 3 to 7 and 11 to 15. */
#define RIDE 8u /* so many beside the two that are touched */

struct test {
	struct bench *bench;
	struct session *s, *other;
	struct vmm v, warm;
};

static struct session_options options(struct test *t, const char *id)
{
	struct session_options o = bench_session_options(t->bench, id);

	o.record = SESSION_RECORD_NEVER;
	o.prefetch = false;
	return o;
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	t->bench = bench_new(&(struct bench_options){0});
	bench_publish(t->bench, SNAPSHOT, SIZE);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

#ifdef PAGER_INJECT
	assert_int_equal(inject_configure(NULL), 0);
#endif
	bench_free(t->bench);
	free(t);
	return 0;
}

static const uint8_t *image(struct test *t, uint64_t page)
{
	return bench_image(t->bench) + page * PAGE;
}

static int64_t touch(struct test *t, uint64_t page)
{
	return VMM_DO(&t->v, CLIENT_TOUCH, 0, page * PAGE);
}

static void touch_right(struct test *t, uint64_t page)
{
	assert_int_equal(touch(t, page), image(t, page)[0]);
}

/* Another VM brings all into the cache. */
static void warm(struct test *t)
{
	t->other = bench_session(t->bench, SNAPSHOT, options(t, "other"));
	vmm_restore(&t->warm, t->other, SIZE, PAGE);
	vmm_compare(&t->warm, 0, bench_image(t->bench));
}

static void start(struct test *t, struct session_options o)
{
	t->s = bench_session(t->bench, SNAPSHOT, o);
	vmm_restore(&t->v, t->s, SIZE, PAGE);
}

static void finish(struct test *t)
{
	vmm_exit(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
	if (t->other) {
		vmm_exit(&t->warm);
		bench_expect_end(t->bench, t->other, SESSION_END_VMM_GONE);
	}
}

static uint64_t counter(struct test *t, enum session_counter c)
{
	return bench_counter(t->s, c);
}

static void the_second_fault_takes_its_neighbours_along(void **state)
{
	struct test *t = *state;

	warm(t);
	start(t, options(t, "one"));
	touch_right(t, 6);
	bench_wait_idle(t->s);
	assert_int_equal(counter(t, SESSION_COUNT_RIDDEN), 0);
	touch_right(t, 7);
	bench_wait_counter(t->s, SESSION_COUNT_RIDDEN, RIDE);
	for (uint64_t page = 0; page < 16; page++)
		if (!bench_is_zero(page))
			touch_right(t, page);
	assert_int_equal(counter(t, SESSION_COUNT_FAULTS), 2);
	assert_int_equal(counter(t, SESSION_COUNT_COPIED), RIDE + 2);
	assert_int_equal(counter(t, SESSION_COUNT_RIDDEN), RIDE);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

/* It reads nothing for them, and the cache does not take it for a use. */
static void what_is_not_cached_does_not_ride(void **state)
{
	struct test *t = *state;
	struct cache_stats before, after;

	start(t, options(t, "one"));
	touch_right(t, 6);
	touch_right(t, 14);
	bench_wait_idle(t->s);
	cache_stats(bench_cache(t->bench), &before);
	touch_right(t, 7);
	bench_wait_idle(t->s);
	cache_stats(bench_cache(t->bench), &after);
	/* The leaf, and the page. */
	assert_int_equal(after.hits - before.hits, 1);
	assert_int_equal(after.misses - before.misses, 1);
	assert_int_equal(counter(t, SESSION_COUNT_RIDDEN), 0);
	finish(t);
}

/* PITFALLS 5. */
static void what_was_given_back_does_not_ride(void **state)
{
	struct test *t = *state;
	uint8_t *expected = malloc(SIZE);

	warm(t);
	start(t, options(t, "one"));
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 4 * PAGE, 2 * PAGE),
			 0);
	touch_right(t, 6);
	touch_right(t, 7);
	bench_wait_counter(t->s, SESSION_COUNT_RIDDEN, RIDE - 2);
	assert_int_equal(touch(t, 4), 0);
	memcpy(expected, bench_image(t->bench), SIZE);
	memset(expected + 4 * PAGE, 0, 2 * PAGE);
	vmm_compare(&t->v, 0, expected);
	free(expected);
	finish(t);
}

static void private_bytes_do_not_ride(void **state)
{
	const struct overlay_piece piece = {5 * PAGE + 1, 2,
					    (const uint8_t *)"ab"};
	struct test *t = *state;
	struct session_options o = options(t, "one");
	uint8_t *expected = malloc(SIZE);

	warm(t);
	o.overlays = &piece;
	o.overlay_count = 1;
	start(t, o);
	touch_right(t, 6);
	touch_right(t, 7);
	bench_wait_counter(t->s, SESSION_COUNT_RIDDEN, RIDE - 1);
	memcpy(expected, bench_image(t->bench), SIZE);
	memcpy(expected + 5 * PAGE + 1, "ab", 2);
	vmm_compare(&t->v, 0, expected);
	free(expected);
	finish(t);
}

/* A region that begins and ends within 64 KiB of the image. */
static void nothing_rides_past_its_region(void **state)
{
	enum { FIRST = 5, COUNT = 8 };
	struct test *t = *state;

	warm(t);
	t->s = bench_session(t->bench, SNAPSHOT, options(t, "one"));
	vmm_start(&t->v);
	vmm_uffd(&t->v, UFFD_FEATURE_EVENT_REMOVE);
	(void)vmm_region(&t->v, COUNT * PAGE, FIRST * PAGE, PAGE);
	vmm_shake_hands(&t->v, t->s, VMM_1_12);
	assert_int_equal(touch(t, 6 - FIRST), image(t, 6)[0]);
	assert_int_equal(touch(t, 7 - FIRST), image(t, 7)[0]);
	/* 5, 11 and 12. */
	bench_wait_counter(t->s, SESSION_COUNT_RIDDEN, 3);
	vmm_compare(&t->v, 0, image(t, FIRST));
	assert_int_equal(counter(t, SESSION_COUNT_RIDDEN), 3);
	finish(t);
}

/* Else the working set would lack what rode. */
static void a_session_that_records_has_none(void **state)
{
	struct test *t = *state;
	struct session_options o = options(t, "one");

	warm(t);
	o.record = SESSION_RECORD_ALWAYS;
	start(t, o);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	bench_wait_idle(t->s);
	assert_int_equal(counter(t, SESSION_COUNT_RIDDEN), 0);
	finish(t);
}

/* Many at once: some faults wait for pages that ride meanwhile. */
static void faults_on_riders_are_answered(void **state)
{
	enum { THREADS = 128 };
	struct test *t = *state;
	int64_t sum = 0;

	warm(t);
	start(t, options(t, "one"));
	for (uint64_t page = 0; page < THREADS; page++)
		sum += image(t, page)[0];
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCHES, 0, 0, PAGE, THREADS),
			 sum);
	bench_wait_idle(t->s);
	assert_true(counter(t, SESSION_COUNT_RIDDEN) > 0);
	assert_int_equal(counter(t, SESSION_COUNT_FAILURES), 0);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

#ifdef PAGER_INJECT

/* PITFALLS 9: a copy of many that is put off, cut short, or done in part. */
static void riders_that_fail_cost_nothing(void **state)
{
	static const char *const specs[] = {
		"uffd-copy:EAGAIN@3", "uffd-copy:EAGAIN@4",
		"uffd-copy:ENOMEM@3", "uffd-copy:short@3",
		"uffd-copy:short@1+",
	};
	struct test *t = *state;

	warm(t);
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		start(t, options(t, "one"));
		assert_int_equal(inject_configure(specs[i]), 0);
		vmm_compare(&t->v, 0, bench_image(t->bench));
		bench_wait_idle(t->s);
		assert_int_equal(counter(t, SESSION_COUNT_FAILURES), 0);
		assert_int_equal(inject_configure(NULL), 0);
		vmm_exit(&t->v);
		bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
	}
	vmm_exit(&t->warm);
	bench_expect_end(t->bench, t->other, SESSION_END_VMM_GONE);
}

#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_second_fault_takes_its_neighbours_along),
		TEST(what_is_not_cached_does_not_ride),
		TEST(what_was_given_back_does_not_ride),
		TEST(private_bytes_do_not_ride),
		TEST(nothing_rides_past_its_region),
		TEST(a_session_that_records_has_none),
		TEST(faults_on_riders_are_answered),
#ifdef PAGER_INJECT
		TEST(riders_that_fail_cost_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
