/* Faults and events: the right byte, whatever comes together. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/cache/admin/evict.h"
#include "fs/io/inject.h"
#include "tests/unit/uffd/uffd_bench.h"

#define PAGE	 4096u
#define SIZE	 (8u << 20)
#define SNAPSHOT "guest"
#define REMOVE	 UFFD_FEATURE_EVENT_REMOVE

struct test {
	struct bench *bench;
	struct session *s;
	struct vmm v;
};

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

static void start(struct test *t)
{
	t->s = bench_session(t->bench, SNAPSHOT,
			     bench_session_options(t->bench, "one"));
	vmm_restore(&t->v, t->s, SIZE, PAGE);
}

static void finish(struct test *t)
{
	vmm_exit(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
}

static int64_t touch(struct test *t, uint64_t page)
{
	return VMM_DO(&t->v, CLIENT_TOUCH, 0, page * PAGE);
}

/* Compares all, with the given pages zero in the image's stead. */
static void compare_without(struct test *t, uint64_t first, uint64_t count)
{
	uint8_t *expected = malloc(SIZE);

	memcpy(expected, bench_image(t->bench), SIZE);
	memset(expected + first * PAGE, 0, count * PAGE);
	vmm_compare(&t->v, 0, expected);
	free(expected);
}

/* PITFALLS 5. */
static void removed_pages_are_zero_for_ever(void **state)
{
	struct test *t = *state;
	struct session_status status;

	start(t);
	assert_int_equal(touch(t, 6), image(t, 6)[0]);
	/* From a page that is there to pages that never were. */
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 6 * PAGE, 20 * PAGE),
			 0);
	assert_int_equal(touch(t, 6), 0);
	compare_without(t, 6, 20);
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 6 * PAGE, 20 * PAGE),
			 0);
	compare_without(t, 6, 20);
	bench_wait_idle(t->s);
	session_status(t->s, &status);
	assert_int_equal(status.pages_removed, 20);
	assert_int_equal(status.pages_present, SIZE / PAGE - 20);
	assert_int_equal(status.counters[SESSION_COUNT_REMOVES], 2);
	assert_int_equal(status.counters[SESSION_COUNT_REMOVED], 40);
	assert_int_equal(status.counters[SESSION_COUNT_DISCARDED], 0);
	finish(t);
}

static void written_pages_stay_the_guests(void **state)
{
	struct test *t = *state;
	uint8_t *expected = malloc(SIZE);

	start(t);
	memcpy(expected, bench_image(t->bench), SIZE);
	for (uint64_t page = 0; page < 100; page += 7) {
		assert_int_equal(
			VMM_DO(&t->v, CLIENT_WRITE, 0, page * PAGE + 9, 0x5a),
			0);
		expected[page * PAGE + 9] = 0x5a;
	}
	vmm_compare(&t->v, 0, expected);
	free(expected);
	finish(t);
}

/* PITFALLS 7. */
static void forty_thousand_alternating_pages_are_removed(void **state)
{
	enum { PAGES = 80000 };
	struct test *t = *state;
	struct session_status status;

	bench_publish(t->bench, "large", PAGES * (uint64_t)PAGE);
	t->s = bench_session(t->bench, "large",
			     bench_session_options(t->bench, "one"));
	vmm_restore(&t->v, t->s, PAGES * (uint64_t)PAGE, PAGE);
	assert_int_equal(VMM_DO(&t->v, CLIENT_STRIPE, 0, PAGES), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_READ, 0, 0, 8192u * PAGE), 0);
	for (uint64_t page = 0; page < 8192; page++) {
		const uint8_t *is = t->v.shared + page * PAGE;

		if (page % 2)
			assert_memory_equal(is, image(t, page), PAGE);
		else
			assert_memory_equal(is, image(t, 0), PAGE);
	}
	bench_wait_idle(t->s);
	session_status(t->s, &status);
	assert_int_equal(status.pages_removed, PAGES / 2);
	assert_int_equal(status.counters[SESSION_COUNT_REMOVES], PAGES / 2);
	finish(t);
}

/* The pages that churn() of the client discards. */
static void forget_discarded(uint8_t *expected, uint64_t pages, uint64_t rounds)
{
	for (uint64_t seed = 1; seed <= 2; seed++) {
		uint64_t x = seed;

		for (uint64_t i = 0; i < rounds; i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			memset(expected + (x >> 33) % pages * PAGE, 0, PAGE);
		}
	}
}

/* PITFALLS 6, 8, 9, 13: races of touches and discards, beside another VM. */
static void churn_gives_the_right_bytes(void **state)
{
	enum { ROUNDS = 3000 };
	struct test *t = *state;
	uint8_t *expected = malloc(SIZE);
	struct session *calm;
	struct vmm other;

	start(t);
	calm = bench_session(t->bench, SNAPSHOT,
			     bench_session_options(t->bench, "calm"));
	vmm_restore(&other, calm, SIZE, PAGE);
	vmm_say(&t->v, CLIENT_CHURN, 0,
		(const uint64_t[3]){SIZE / PAGE, ROUNDS});
	vmm_compare(&other, 0, bench_image(t->bench));
	assert_int_equal(vmm_reply(&t->v), 0);
	memcpy(expected, bench_image(t->bench), SIZE);
	forget_discarded(expected, SIZE / PAGE, ROUNDS);
	vmm_compare(&t->v, 0, expected);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_DISCARDED), 0);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAILURES), 0);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_REMOVES),
			 2 * ROUNDS);
	free(expected);
	vmm_exit(&other);
	bench_expect_end(t->bench, calm, SESSION_END_VMM_GONE);
	finish(t);
}

/* On eight pages the same is one collision after another. */
static void churn_on_few_pages_gives_the_right_bytes(void **state)
{
	struct test *t = *state;

	start(t);
	assert_int_equal(VMM_DO(&t->v, CLIENT_CHURN, 0, 8, 4000), 0);
	compare_without(t, 0, 8);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_DISCARDED), 0);
	finish(t);
}

static void a_client_without_remove_events_gets_zeros(void **state)
{
	struct test *t = *state;

	t->s = bench_session(t->bench, SNAPSHOT,
			     bench_session_options(t->bench, "one"));
	vmm_start(&t->v);
	vmm_uffd(&t->v, 0);
	(void)vmm_region(&t->v, SIZE, 0, PAGE);
	vmm_shake_hands(&t->v, t->s, VMM_1_7);
	assert_int_equal(touch(t, 4), 0xff);
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 4 * PAGE, PAGE), 0);
	assert_int_equal(touch(t, 4), 0);
	compare_without(t, 4, 1);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_DISCARDED), 1);
	finish(t);
}

/* PITFALLS 14. */
static void unmapped_ranges_are_let_go(void **state)
{
	struct test *t = *state;

	t->s = bench_session(t->bench, SNAPSHOT,
			     bench_session_options(t->bench, "one"));
	vmm_start(&t->v);
	vmm_uffd(&t->v, REMOVE | UFFD_FEATURE_EVENT_UNMAP);
	(void)vmm_region(&t->v, SIZE, 0, PAGE);
	vmm_shake_hands(&t->v, t->s, VMM_1_7);
	assert_int_equal(touch(t, 4), 0xff);
	assert_int_equal(VMM_DO(&t->v, CLIENT_UNMAP, 0, 0, 64 * PAGE), 0);
	bench_wait_counter(t->s, SESSION_COUNT_REMOVES, 1);
	assert_int_equal(VMM_DO(&t->v, CLIENT_READ, 0, 64 * PAGE, 64 * PAGE),
			 0);
	assert_memory_equal(t->v.shared, image(t, 64), 64 * PAGE);
	finish(t);
}

static void a_zero_run_is_one_fault(void **state)
{
	struct test *t = *state;
	struct session_status status;

	start(t);
	/* Pages 1088 to 1154 are zero: runs of 16, 32 and 19. */
	for (uint64_t page = 1088; page < 1152; page++)
		assert_int_equal(touch(t, page), 0);
	bench_wait_idle(t->s);
	session_status(t->s, &status);
	assert_int_equal(status.counters[SESSION_COUNT_ZEROED], 67);
	assert_int_equal(status.counters[SESSION_COUNT_FAULTS], 3);
	assert_int_equal(status.counters[SESSION_COUNT_ZERO], 3);
	assert_int_equal(status.counters[SESSION_COUNT_COPIED], 0);
	assert_int_equal(status.pages_present, 67);
	/* A removed page in a run is not part of it. */
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 1220 * PAGE, PAGE),
			 0);
	assert_int_equal(touch(t, 1216), 0);
	assert_int_equal(touch(t, 1220), 0);
	assert_int_equal(touch(t, 1231), 0);
	bench_wait_idle(t->s);
	session_status(t->s, &status);
	assert_int_equal(status.counters[SESSION_COUNT_ZEROED], 67 + 16);
	assert_int_equal(status.counters[SESSION_COUNT_REMOVED], 1);
	assert_int_equal(status.pages_removed, 1);
	finish(t);
}

/* PITFALLS 8, 30: one that floods gets a slice a turn, as all others. */
static void a_flood_is_answered_in_slices(void **state)
{
	enum { THREADS = 128, SLICE = 16 };
	struct test *t = *state;
	struct session *calm;
	struct vmm other;
	int64_t sum = 0;

	start(t);
	calm = bench_session(t->bench, SNAPSHOT,
			     bench_session_options(t->bench, "calm"));
	vmm_restore(&other, calm, SIZE, PAGE);
	vmm_compare(&other, 0, bench_image(t->bench));
	for (uint64_t i = 0; i < THREADS; i++)
		sum += image(t, i * 8 + 6)[0];
	assert_int_equal(
		VMM_DO(&t->v, CLIENT_TOUCHES, 0, 6 * PAGE, 8 * PAGE, THREADS),
		sum);
	bench_wait_idle(t->s);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_RESOLVED), THREADS);
	assert_true(bench_counter(t->s, SESSION_COUNT_SLICES) >=
		    THREADS / SLICE);
	vmm_exit(&other);
	bench_expect_end(t->bench, calm, SESSION_END_VMM_GONE);
	finish(t);
}

static void serve_image(struct test *t, uint64_t size)
{
	bench_publish(t->bench, "odd", size);
	t->s = bench_session(t->bench, "odd",
			     bench_session_options(t->bench, "one"));
	vmm_restore(&t->v, t->s, size, PAGE);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

/* PITFALLS 33. */
static void a_last_partial_page_ends_in_zeros(void **state)
{
	serve_image(*state, 100 * PAGE + 3 * PAGE + 17);
}

static void an_image_of_one_page_is_served(void **state)
{
	struct test *t = *state;
	uint8_t page[PAGE];

	bench_publish_one_page(t->bench, "odd", PAGE, 0, page);
	t->s = bench_session(t->bench, "odd",
			     bench_session_options(t->bench, "one"));
	vmm_restore(&t->v, t->s, PAGE, PAGE);
	vmm_compare(&t->v, 0, page);
	finish(t);
}

static void an_image_over_4_gib_is_served(void **state)
{
	const uint64_t size = UINT64_C(5) << 30, at = size - (16 << 20);
	struct test *t = *state;
	uint8_t page[PAGE];
	unsigned int low, high;

	bench_publish_one_page(t->bench, "odd", size, at + 3 * PAGE, page);
	t->s = bench_session(t->bench, "odd",
			     bench_session_options(t->bench, "one"));
	vmm_start(&t->v);
	vmm_uffd(&t->v, REMOVE);
	high = vmm_region(&t->v, 16 << 20, at, PAGE);
	low = vmm_region(&t->v, 1 << 20, 0, PAGE);
	vmm_shake_hands(&t->v, t->s, VMM_1_12);
	assert_int_equal(VMM_DO(&t->v, CLIENT_READ, high, 3 * PAGE, PAGE), 0);
	assert_memory_equal(t->v.shared, page, PAGE);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, high, (16 << 20) - 1), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, low, 3 * PAGE), 0);
	finish(t);
}

/* PITFALLS 28, 29, 34: the least cache there is, more VMs than it holds. */
static void a_tiny_cache_serves_all(void **state)
{
	enum { COUNT = 6 };
	struct test *t = *state;
	struct bench *b = bench_new(&(struct bench_options){.cache = 1 << 20});
	struct session *s[COUNT];
	struct vmm v[COUNT];
	char id[] = "vm-0";
	struct cache_stats stats;

	(void)t;
	bench_publish(b, SNAPSHOT, SIZE);
	for (int i = 0; i < COUNT; i++) {
		id[3] = (char)('0' + i);
		s[i] = bench_session(b, SNAPSHOT, bench_session_options(b, id));
		vmm_restore(&v[i], s[i], SIZE, PAGE);
		vmm_say(&v[i], CLIENT_READ, 0, (const uint64_t[3]){0, SIZE});
	}
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(vmm_reply(&v[i]), 0);
		assert_memory_equal(v[i].shared, bench_image(b), SIZE);
		vmm_exit(&v[i]);
		bench_expect_end(b, s[i], SESSION_END_VMM_GONE);
	}
	cache_stats(bench_cache(b), &stats);
	assert_true(stats.evictions > 0);
	assert_true(stats.bytes <= stats.limit);
	bench_free(b);
}

#ifdef PAGER_INJECT

static void inject(const char *spec)
{
	assert_int_equal(inject_configure(spec), 0);
}

static void wait_outstanding(struct test *t, uint64_t count)
{
	bench_wait_counter(t->s, SESSION_COUNT_FAULTS, count);
}

/* PITFALLS 10. */
static void a_discard_overtakes_a_fetch(void **state)
{
	struct test *t = *state;
	struct session_status status;

	start(t);
	inject("pack-read:slow=200@2");
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, 6 * PAGE), 0);
	wait_outstanding(t, 1);
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 6 * PAGE, PAGE), 0);
	session_status(t->s, &status);
	assert_int_equal(status.outstanding, 1);
	assert_true(status.oldest_fault_ns > 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0), 0);
	compare_without(t, 6, 1);
	finish(t);
}

/* PITFALLS 11: the client installed the page itself and woke nobody. */
static void a_page_that_exists_wakes_who_waits(void **state)
{
	struct test *t = *state;

	start(t);
	inject("pack-read:slow=200@2");
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, 6 * PAGE), 0);
	wait_outstanding(t, 1);
	assert_int_equal(VMM_DO(&t->v, CLIENT_POPULATE, 0, 6 * PAGE), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0), 0xaa);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_COPIED), 0);
	finish(t);
}

/* PITFALLS 12. */
static void many_threads_on_one_page_are_one_read(void **state)
{
	enum { THREADS = 16 };
	struct test *t = *state;
	struct cache_stats before, after;

	start(t);
	/* The leaf comes first, so that only the page is left to be read. */
	assert_int_equal(touch(t, 7), image(t, 7)[0]);
	cache_stats(bench_cache(t->bench), &before);
	inject("pack-read:slow=200@1");
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, 6 * PAGE), 0);
	wait_outstanding(t, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0),
				 image(t, 6)[0]);
	cache_stats(bench_cache(t->bench), &after);
	assert_int_equal(after.misses - before.misses, 1);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_JOINED),
			 THREADS - 1);
	bench_wait_idle(t->s);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_RESOLVED), 2);
	finish(t);
}

/* PITFALLS 12, of two VMs that two workers serve. */
static void two_vms_on_one_block_are_one_read(void **state)
{
	struct test *t = *state;
	struct cache_stats before, after;
	struct session_status a, b;
	struct session *s;
	struct vmm v;

	start(t);
	s = bench_session(t->bench, SNAPSHOT,
			  bench_session_options(t->bench, "two"));
	vmm_restore(&v, s, SIZE, PAGE);
	assert_int_equal(touch(t, 7), image(t, 7)[0]);
	assert_int_equal(VMM_DO(&v, CLIENT_TOUCH, 0, 7 * PAGE), image(t, 7)[0]);
	session_status(t->s, &a);
	session_status(s, &b);
	assert_int_not_equal(a.worker, b.worker);
	cache_stats(bench_cache(t->bench), &before);
	inject("pack-read:slow=200@1");
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, 6 * PAGE), 0);
	assert_int_equal(VMM_DO(&v, CLIENT_START, 0, 6 * PAGE), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0), image(t, 6)[0]);
	assert_int_equal(VMM_DO(&v, CLIENT_JOIN, 0, 0), image(t, 6)[0]);
	cache_stats(bench_cache(t->bench), &after);
	assert_int_equal(after.misses - before.misses, 1);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAILURES), 0);
	vmm_exit(&v);
	bench_expect_end(t->bench, s, SESSION_END_VMM_GONE);
	finish(t);
}

/* Of one VM: what is cached is answered while a read is under way. */
static void a_slow_read_holds_up_no_cached_page(void **state)
{
	enum { SLOW = 6, LAST = 64 };
	struct test *t = *state;
	struct session_status status;
	struct session *other;
	struct vmm v;

	other = bench_session(t->bench, SNAPSHOT,
			      bench_session_options(t->bench, "other"));
	vmm_restore(&v, other, SIZE, PAGE);
	for (uint64_t page = 0; page < LAST; page++)
		if (page != SLOW)
			(void)VMM_DO(&v, CLIENT_TOUCH, 0, page * PAGE);
	start(t);
	inject("pack-read:slow=1500@1");
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, SLOW * PAGE), 0);
	wait_outstanding(t, 1);
	for (uint64_t page = 0; page < LAST; page++)
		if (page != SLOW)
			assert_int_equal(touch(t, page), image(t, page)[0]);
	bench_wait_outstanding(t->s, 1);
	session_status(t->s, &status);
	assert_int_equal(status.counters[SESSION_COUNT_DISK], 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0), image(t, SLOW)[0]);
	bench_wait_idle(t->s);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_DISK), 1);
	vmm_exit(&v);
	bench_expect_end(t->bench, other, SESSION_END_VMM_GONE);
	finish(t);
}

/* PITFALLS 27: a slow read is for that VM alone. */
static void a_slow_read_holds_up_no_other_vm(void **state)
{
	struct test *t = *state;
	struct session_status status;
	struct session *other;
	struct vmm v;

	/* The other one's pages come into the cache first. */
	other = bench_session(t->bench, SNAPSHOT,
			      bench_session_options(t->bench, "other"));
	vmm_restore(&v, other, SIZE, PAGE);
	vmm_compare(&v, 0, bench_image(t->bench));
	bench_publish(t->bench, "second", 2 * SIZE);
	t->s = bench_session(t->bench, "second",
			     bench_session_options(t->bench, "one"));
	vmm_restore(&t->v, t->s, 2 * SIZE, PAGE);
	assert_int_equal(touch(t, 8 + 1024 * 3), 0);
	inject("pack-read:slow=1500@1");
	assert_int_equal(
		VMM_DO(&t->v, CLIENT_START, 0, (SIZE / PAGE + 6) * PAGE), 0);
	bench_wait_counter(t->s, SESSION_COUNT_FAULTS, 2);
	assert_int_equal(VMM_DO(&v, CLIENT_DISCARD, 0, 0, SIZE), 0);
	assert_int_equal(VMM_DO(&v, CLIENT_READ, 0, 0, SIZE), 0);
	session_status(t->s, &status);
	assert_int_equal(status.outstanding, 1);
	assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0),
			 image(t, SIZE / PAGE + 6)[0]);
	vmm_exit(&v);
	bench_expect_end(t->bench, other, SESSION_END_VMM_GONE);
	finish(t);
}

/* PITFALLS 9: every form of "not now", and calls that do a part. */
static void installs_that_are_put_off_are_made_good(void **state)
{
	static const char *const specs[] = {
		"uffd-copy:EAGAIN@1",
		"uffd-copy:EAGAIN@5",
		"uffd-copy:ENOMEM@2",
		"uffd-zero:EAGAIN@1",
		"uffd-zero:ENOMEM@3",
		"uffd-zero:short@1+",
		"uffd-copy:EINTR@1",
		("uffd-copy:EAGAIN@1,uffd-copy:EAGAIN@2,"
		 "uffd-copy:EAGAIN@3"),
	};
	struct test *t = *state;

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		start(t);
		inject(specs[i]);
		vmm_compare(&t->v, 0, bench_image(t->bench));
		assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAILURES),
				 0);
		if (!strstr(specs[i], "short"))
			assert_true(bench_counter(t->s, SESSION_COUNT_RETRIES) >
				    0);
		bench_wait_idle(t->s);
		finish(t);
		inject(NULL);
	}
}

static void more_faults_than_there_is_room_for_come_again(void **state)
{
	enum { THREADS = 128 };
	struct test *t = *state;
	struct session_options o = bench_session_options(t->bench, "one");
	struct session_status status;
	int64_t sum = 0;

	o.faults_max = 4;
	t->s = bench_session(t->bench, SNAPSHOT, o);
	vmm_restore(&t->v, t->s, SIZE, PAGE);
	for (uint64_t i = 0; i < THREADS; i++)
		sum += image(t, i)[0];
	inject("pack-read:slow=20+");
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCHES, 0, 0, PAGE, THREADS),
			 sum);
	bench_wait_idle(t->s);
	inject(NULL);
	session_status(t->s, &status);
	assert_true(status.counters[SESSION_COUNT_OVERFLOWS] > 0);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

/* PITFALLS 18, 19: fetches outlive their session. */
static void a_vmm_dies_while_its_pages_are_read(void **state)
{
	struct test *t = *state;

	for (int i = 0; i < 3; i++) {
		evict_all(bench_cache(t->bench), &(struct evict_report){0});
		start(t);
		inject("pack-read:slow=100+");
		for (uint64_t page = 6; page < 800; page += 100)
			assert_int_equal(
				VMM_DO(&t->v, CLIENT_START, 0, page * PAGE), 0);
		wait_outstanding(t, 8);
		vmm_kill(&t->v);
		bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
		inject(NULL);
	}
	start(t);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(removed_pages_are_zero_for_ever),
		TEST(written_pages_stay_the_guests),
		TEST(forty_thousand_alternating_pages_are_removed),
		TEST(churn_gives_the_right_bytes),
		TEST(churn_on_few_pages_gives_the_right_bytes),
		TEST(a_client_without_remove_events_gets_zeros),
		TEST(unmapped_ranges_are_let_go),
		TEST(a_zero_run_is_one_fault),
		TEST(a_flood_is_answered_in_slices),
		TEST(a_last_partial_page_ends_in_zeros),
		TEST(an_image_of_one_page_is_served),
		TEST(an_image_over_4_gib_is_served),
		TEST(a_tiny_cache_serves_all),
#ifdef PAGER_INJECT
		TEST(a_discard_overtakes_a_fetch),
		TEST(a_page_that_exists_wakes_who_waits),
		TEST(many_threads_on_one_page_are_one_read),
		TEST(two_vms_on_one_block_are_one_read),
		TEST(a_slow_read_holds_up_no_cached_page),
		TEST(a_slow_read_holds_up_no_other_vm),
		TEST(installs_that_are_put_off_are_made_good),
		TEST(more_faults_than_there_is_room_for_come_again),
		TEST(a_vmm_dies_while_its_pages_are_read),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
