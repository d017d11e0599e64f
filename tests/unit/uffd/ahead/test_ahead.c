/* Working sets: recorded from one restore, installed ahead of the next. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fs/cache/admin/evict.h"
#include "fs/io/inject.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/workingset/wsfile.h"
#include "pagerd/uffd/memory/overlay.h"
#include "tests/unit/uffd/uffd_bench.h"

#define PAGE	 4096u
#define HUGE	 (2u << 20)
#define SIZE	 (8u << 20)
#define PAGES	 (SIZE / PAGE)
#define SNAPSHOT "guest"

struct test {
	struct bench *bench;
	struct session_options options;
	struct session *s;
	struct vmm v;
};

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	t->bench = bench_new(&(struct bench_options){0});
	bench_publish(t->bench, SNAPSHOT, SIZE);
	t->options = bench_session_options(t->bench, "one");
	/* Tests end the window by its pages. */
	t->options.record_ns = UINT64_C(600000000000);
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

static void start(struct test *t, const char *snapshot)
{
	t->s = bench_session(t->bench, snapshot, t->options);
	vmm_restore(&t->v, t->s, SIZE, PAGE);
}

static void finish(struct test *t)
{
	vmm_exit(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
}

static void touch(struct test *t, uint64_t page)
{
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 0, page * PAGE),
			 bench_image(t->bench)[page * PAGE]);
}

static struct pager_digest image_of(struct test *t, const char *name)
{
	struct snapshot *snapshot;
	struct pager_digest digest;

	assert_int_equal(snapshot_open(bench_store(t->bench), name, &snapshot),
			 0);
	digest = snapshot_manifest(snapshot)->image.digest;
	snapshot_unref(snapshot);
	return digest;
}

/* Waits until one of that many pages is there. */
static struct workingset wait_recorded(struct test *t, const char *name,
				       size_t count)
{
	struct pager_digest digest = image_of(t, name);
	struct workingset set;

	for (;;) {
		if (wsfile_load(bench_store(t->bench), &digest, PAGES, &set) ==
		    0) {
			if (set.count == count)
				return set;
			workingset_release(&set);
		}
		(void)poll(NULL, 0, 1);
	}
}

static void give(struct test *t, const char *name, const uint64_t *pages,
		 size_t count)
{
	struct workingset old = {.image = image_of(t, name), .pages = PAGES};
	struct workingset set;

	assert_int_equal(workingset_merge(&old, pages, count, count, &set), 0);
	assert_int_equal(wsfile_save(bench_store(t->bench), &set), 0);
	workingset_release(&set);
}

static void wait_prefetched(struct test *t)
{
	struct session_status status;

	bench_wait_counter(t->s, SESSION_COUNT_PREFETCHED, 1);
	for (;;) {
		session_status(t->s, &status);
		if (!status.prefetching)
			return;
		(void)poll(NULL, 0, 1);
	}
}

static void first_touches_are_recorded_in_order(void **state)
{
	static const uint64_t pages[] = {1030, 6, 7, 300, 5};
	struct test *t = *state;
	struct workingset set;

	t->options.record_pages = 5;
	start(t, SNAPSHOT);
	for (size_t i = 0; i < 5; i++) {
		touch(t, pages[i]);
		touch(t, pages[0]);
	}
	touch(t, 12);
	set = wait_recorded(t, SNAPSHOT, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(set.entries[i].page, pages[i]);
	workingset_release(&set);
	finish(t);
}

static void the_window_ends_with_time(void **state)
{
	struct test *t = *state;
	struct workingset set;

	t->options.record_ns = 50000000;
	start(t, SNAPSHOT);
	touch(t, 6);
	set = wait_recorded(t, SNAPSHOT, 1);
	touch(t, 7);
	assert_int_equal(set.entries[0].page, 6);
	workingset_release(&set);
	finish(t);
}

static void a_session_may_not_record(void **state)
{
	struct pager_digest digest;
	struct test *t = *state;
	struct workingset set;

	t->options.record_pages = 1;
	t->options.record = SESSION_RECORD_NEVER;
	start(t, SNAPSHOT);
	touch(t, 6);
	touch(t, 7);
	finish(t);
	/* One that had no time to live tells nothing either. */
	t->options.record_pages = 100;
	t->options.record = SESSION_RECORD_ALWAYS;
	start(t, SNAPSHOT);
	touch(t, 6);
	finish(t);
	digest = image_of(t, SNAPSHOT);
	assert_int_equal(
		wsfile_load(bench_store(t->bench), &digest, PAGES, &set),
		-ENOENT);
}

/* Of a working set with zero pages and with neighbours. */
static const uint64_t some[] = {700, 6, 1100, 7, 5, 4, 1090, 1500, 0};
#define SOME (sizeof(some) / sizeof(some[0]))

static void a_working_set_is_installed_unasked(void **state)
{
	struct session_status status;
	struct test *t = *state;

	give(t, SNAPSHOT, some, SOME);
	start(t, SNAPSHOT);
	wait_prefetched(t);
	for (size_t i = 0; i < SOME; i++)
		touch(t, some[i]);
	session_status(t->s, &status);
	assert_int_equal(status.counters[SESSION_COUNT_FAULTS], 0);
	assert_int_equal(status.workingset_pages, SOME);
	assert_int_equal(status.pages_present,
			 status.counters[SESSION_COUNT_PREFETCHED]);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

static void zero_pages_of_it_cost_no_read(void **state)
{
	static const uint64_t zeros[] = {1090, 1100, 1150};
	struct cache_stats before, after;
	struct test *t = *state;

	give(t, SNAPSHOT, zeros, 3);
	start(t, SNAPSHOT);
	wait_prefetched(t);
	cache_stats(bench_cache(t->bench), &before);
	assert_int_equal(before.by_class[CACHE_PREFETCH].misses, 0);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_COPIED), 0);
	/* Zeros beside what was asked for came along. */
	for (uint64_t page = 1088; page < 1104; page++)
		touch(t, page);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAULTS), 0);
	cache_stats(bench_cache(t->bench), &after);
	assert_int_equal(after.by_class[CACHE_FAULT].misses,
			 before.by_class[CACHE_FAULT].misses);
	finish(t);
}

static void it_can_be_turned_off(void **state)
{
	struct test *t = *state;

	give(t, SNAPSHOT, some, SOME);
	t->options.prefetch = false;
	start(t, SNAPSHOT);
	for (size_t i = 0; i < SOME; i++)
		touch(t, some[i]);
	bench_wait_idle(t->s);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_PREFETCHED), 0);
	assert_true(bench_counter(t->s, SESSION_COUNT_FAULTS) > 0);
	finish(t);
}

static void recording_anew_prefetches_nothing(void **state)
{
	struct test *t = *state;
	struct workingset set;

	give(t, SNAPSHOT, some, SOME);
	t->options.record = SESSION_RECORD_ALWAYS;
	t->options.record_pages = SOME + 1;
	start(t, SNAPSHOT);
	for (uint64_t page = 22; page <= 22 + 8 * SOME; page += 8)
		touch(t, page);
	touch(t, 511);
	/* What was not touched now makes room for what was. */
	for (;;) {
		set = wait_recorded(t, SNAPSHOT, SOME + 1);
		if (set.entries[0].page == 22)
			break;
		workingset_release(&set);
	}
	workingset_release(&set);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_PREFETCHED), 0);
	finish(t);
}

/* PITFALLS 32. */
static void another_images_set_is_not_used(void **state)
{
	struct test *t = *state;
	struct workingset wrong = {.image = image_of(t, SNAPSHOT), .pages = 7};
	struct workingset set;

	assert_int_equal(workingset_merge(&wrong, (uint64_t[]){6}, 1, 1, &set),
			 0);
	assert_int_equal(wsfile_save(bench_store(t->bench), &set), 0);
	workingset_release(&set);
	t->options.record_pages = 1;
	start(t, SNAPSHOT);
	touch(t, 6);
	touch(t, 7);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_PREFETCHED), 0);
	/* It is replaced by one that fits. */
	set = wait_recorded(t, SNAPSHOT, 1);
	workingset_release(&set);
	finish(t);
}

static void a_parents_set_serves_its_child(void **state)
{
	struct session_status status;
	struct test *t = *state;

	give(t, SNAPSHOT, some, SOME);
	bench_publish_child(t->bench, "child", SNAPSHOT, SIZE, 6);
	bench_publish_child(t->bench, "grandchild", "child", SIZE, 700);
	start(t, "grandchild");
	/* Pages 6 and 700 are others now. */
	wait_prefetched(t);
	session_status(t->s, &status);
	assert_int_equal(status.workingset_pages, SOME - 2);
	touch(t, 7);
	touch(t, 1500);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAULTS), 0);
	touch(t, 6);
	touch(t, 700);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAULTS), 2);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

static void a_child_records_its_own(void **state)
{
	struct test *t = *state;
	struct workingset set;

	give(t, SNAPSHOT, some, SOME);
	bench_publish_child(t->bench, "child", SNAPSHOT, SIZE, 6);
	t->options.record_pages = SOME;
	start(t, "child");
	touch(t, 6);
	touch(t, 14);
	/* The parent's pages, which nobody had to ask for, and the new one. */
	set = wait_recorded(t, "child", SOME);
	assert_int_equal(set.entries[SOME - 1].page, 6);
	workingset_release(&set);
	finish(t);
}

static void removed_pages_are_not_prefetched(void **state)
{
	uint8_t *expected = malloc(SIZE);
	uint64_t *all = calloc(PAGES, sizeof(*all));
	struct test *t = *state;

	/* PITFALLS 5: while it goes on, pages are given back. */
	for (uint64_t i = 0; i < PAGES; i++)
		all[i] = PAGES - 1 - i;
	give(t, SNAPSHOT, all, PAGES);
	for (int round = 0; round < 8; round++) {
		memcpy(expected, bench_image(t->bench), SIZE);
		start(t, SNAPSHOT);
		for (uint64_t page = 0; page < PAGES; page += 64) {
			assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0,
						page * PAGE, 8 * PAGE),
					 0);
			memset(expected + page * PAGE, 0, 8 * PAGE);
		}
		vmm_compare(&t->v, 0, expected);
		finish(t);
	}
	free(all);
	free(expected);
}

static void overlays_are_seen_by_all(void **state)
{
	static const uint64_t pages[] = {6, 7, 8, 1090};
	uint8_t *expected = malloc(SIZE), bytes[2 * PAGE];
	/* Crosses pages 6 to 8; a zero page among others; a zero leaf's. */
	const struct overlay_piece pieces[] = {
		{7 * PAGE - 3, PAGE + 6, bytes},
		{1090 * PAGE + 17, 1, bytes + 9},
		{1900 * PAGE, PAGE, bytes},
		{SIZE - 1, 1, bytes},
	};
	struct test *t = *state;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	memcpy(expected, bench_image(t->bench), SIZE);
	for (size_t i = 0; i < 4; i++)
		memcpy(expected + pieces[i].offset, pieces[i].data,
		       pieces[i].size);
	t->options.overlays = pieces;
	t->options.overlay_count = 4;
	t->options.record = SESSION_RECORD_NEVER;
	for (int prefetch = 0; prefetch < 2; prefetch++) {
		start(t, SNAPSHOT);
		if (prefetch)
			wait_prefetched(t);
		vmm_compare(&t->v, 0, expected);
		bench_wait_idle(t->s);
		assert_int_equal(bench_counter(t->s, SESSION_COUNT_OVERLAY),
				 prefetch ? 2 : 6);
		finish(t);
		give(t, SNAPSHOT, pages, 4);
	}
	/* The store is as it was. */
	t->options.overlay_count = 0;
	start(t, SNAPSHOT);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
	free(expected);
}

#ifdef PAGER_INJECT

static void a_bad_block_costs_the_prefetch_alone(void **state)
{
	struct cache_stats stats;
	struct test *t = *state;

	give(t, SNAPSHOT, some, SOME);
	assert_int_equal(inject_configure("pack-read:EIO@3+"), 0);
	start(t, SNAPSHOT);
	do {
		(void)poll(NULL, 0, 1);
		cache_stats(bench_cache(t->bench), &stats);
	} while (stats.failures == 0);
	assert_int_equal(inject_configure(NULL), 0);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAILURES), 0);
	assert_true(vmm_is_alive(&t->v));
	finish(t);
}

static bool prefetch_has_failed_or_ended(struct test *t)
{
	struct session_status status;
	struct cache_stats stats;

	cache_stats(bench_cache(t->bench), &stats);
	session_status(t->s, &status);
	return stats.failures > 0 ||
	       (status.counters[SESSION_COUNT_PREFETCHED] &&
		!status.prefetching);
}

/* Wherever reads begin to fail, and with a fault among them: none is lost. */
static void reads_fail_from_any_on(void **state)
{
	char spec[] = "pack-read:EIO@00+";
	struct test *t = *state;

	give(t, SNAPSHOT, some, SOME);
	t->options.policy = SESSION_STALL;
	t->options.stall_ns = 20000000;
	t->options.record = SESSION_RECORD_NEVER;
	for (int n = 1; n <= 12; n++) {
		evict_all(bench_cache(t->bench), &(struct evict_report){0});
		t->s = bench_session(t->bench, SNAPSHOT, t->options);
		(void)snprintf(spec, sizeof(spec), "pack-read:EIO@%d+", n);
		assert_int_equal(inject_configure(spec), 0);
		vmm_restore(&t->v, t->s, SIZE, PAGE);
		assert_int_equal(
			VMM_DO(&t->v, CLIENT_START, 0, some[n % 4] * PAGE), 0);
		while (!prefetch_has_failed_or_ended(t))
			(void)poll(NULL, 0, 1);
		assert_int_equal(inject_configure(NULL), 0);
		assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0),
				 bench_image(t->bench)[some[n % 4] * PAGE]);
		vmm_compare(&t->v, 0, bench_image(t->bench));
		finish(t);
	}
}

/*
 * PITFALLS 31: all of the image is being read ahead, each read takes a while,
 * and a fault on one of its last pages is answered before that is over.
 */
static void a_fault_does_not_wait_for_the_prefetch(void **state)
{
	uint64_t *all = calloc(PAGES, sizeof(*all));
	struct test *t = *state;
	bool was_ahead = false;

	for (uint64_t i = 0; i < PAGES; i++)
		all[i] = i;
	give(t, SNAPSHOT, all, PAGES);
	for (int i = 0; i < 20 && !was_ahead; i++) {
		evict_all(bench_cache(t->bench), &(struct evict_report){0});
		t->s = bench_session(t->bench, SNAPSHOT, t->options);
		assert_int_equal(inject_configure("pack-read:slow=10+"), 0);
		vmm_restore(&t->v, t->s, SIZE, PAGE);
		touch(t, 1982);
		was_ahead = bench_counter(t->s, SESSION_COUNT_PREFETCHED) <
			    PAGES / 2;
		assert_int_equal(inject_configure(NULL), 0);
		vmm_kill(&t->v);
		bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
	}
	assert_true(was_ahead);
	free(all);
}

/* PITFALLS 9, for what nobody waits for. */
static void installs_put_off_come_again(void **state)
{
	struct test *t = *state;

	give(t, SNAPSHOT, some, SOME);
	assert_int_equal(inject_configure("uffd-copy:EAGAIN@1,"
					  "uffd-copy:ENOMEM@2,"
					  "uffd-zero:EAGAIN@1,"
					  "uffd-zero:short@2"),
			 0);
	start(t, SNAPSHOT);
	wait_prefetched(t);
	for (size_t i = 0; i < SOME; i++)
		touch(t, some[i]);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAULTS), 0);
	assert_true(bench_counter(t->s, SESSION_COUNT_RETRIES) >= 3);
	finish(t);
}

/* PITFALLS 19: what is under way for a VM that dies. */
static void a_vmm_dies_during_its_prefetch(void **state)
{
	uint64_t *all = calloc(PAGES, sizeof(*all));
	struct test *t = *state;

	for (uint64_t i = 0; i < PAGES; i++)
		all[i] = i;
	give(t, SNAPSHOT, all, PAGES);
	for (int i = 0; i < 3; i++) {
		evict_all(bench_cache(t->bench), &(struct evict_report){0});
		assert_int_equal(inject_configure("pack-read:slow=50+"), 0);
		start(t, SNAPSHOT);
		bench_wait_counter(t->s, SESSION_COUNT_PREFETCHED, 1 + i);
		vmm_kill(&t->v);
		bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
		assert_int_equal(inject_configure(NULL), 0);
	}
	free(all);
}

#endif

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(first_touches_are_recorded_in_order),
		TEST(the_window_ends_with_time),
		TEST(a_session_may_not_record),
		TEST(a_working_set_is_installed_unasked),
		TEST(zero_pages_of_it_cost_no_read),
		TEST(it_can_be_turned_off),
		TEST(recording_anew_prefetches_nothing),
		TEST(another_images_set_is_not_used),
		TEST(a_parents_set_serves_its_child),
		TEST(a_child_records_its_own),
		TEST(removed_pages_are_not_prefetched),
		TEST(overlays_are_seen_by_all),
#ifdef PAGER_INJECT
		TEST(a_bad_block_costs_the_prefetch_alone),
		TEST(reads_fail_from_any_on),
		TEST(a_fault_does_not_wait_for_the_prefetch),
		TEST(installs_put_off_come_again),
		TEST(a_vmm_dies_during_its_prefetch),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
