/* 2 MiB pages. Sets the number of huge pages itself, and sets it back. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/io/inject.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/workingset/wsfile.h"
#include "pagerd/uffd/memory/overlay.h"
#include "tests/unit/uffd/uffd_bench.h"

#define PAGE	 4096u
#define HUGE	 (2u << 20)
#define WHOLE	 8u /* whole 2 MiB pages of the image */
#define SIZE	 (WHOLE * HUGE + 5 * PAGE + 100)
#define PAGES	 ((WHOLE + 1) * HUGE / PAGE)
#define WANTED	 32
#define SNAPSHOT "guest"
#define NUMBER	 "/proc/sys/vm/nr_hugepages"

struct test {
	struct bench *bench;
	struct session *s;
	struct vmm v;
};

static long before = -1;

static long read_number(void)
{
	FILE *f = fopen(NUMBER, "re");
	long n = -1;

	if (!f || fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		(void)fclose(f);
	return n;
}

static void write_number(long n)
{
	FILE *f = fopen(NUMBER, "we");

	if (!f)
		return;
	(void)fprintf(f, "%ld", n);
	(void)fclose(f);
}

static int setup_all(void **state)
{
	(void)state;
	before = read_number();
	if (before >= 0 && before < WANTED)
		write_number(WANTED);
	return 0;
}

static int teardown_all(void **state)
{
	(void)state;
	if (before >= 0 && before < WANTED)
		write_number(before);
	return 0;
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	t->bench = bench_new(&(struct bench_options){.workers = 1});
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

static void need_huge_pages(void)
{
	if (read_number() >= WANTED)
		return;
	print_message("this machine grants no huge pages\n");
	skip();
}

static void start(struct test *t, enum session_policy policy)
{
	struct session_options o = bench_session_options(t->bench, "one");

	need_huge_pages();
	o.policy = policy;
	t->s = bench_session(t->bench, SNAPSHOT, o);
	vmm_restore(&t->v, t->s, SIZE, HUGE);
}

static void finish(struct test *t)
{
	vmm_exit(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
}

/* PITFALLS 34, and an image that does not end with a 2 MiB page. */
static void every_huge_page_is_one_copy(void **state)
{
	struct test *t = *state;
	struct session_status status;

	start(t, SESSION_KILL);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	bench_wait_idle(t->s);
	session_status(t->s, &status);
	assert_int_equal(status.pages_total, PAGES);
	assert_int_equal(status.pages_present, PAGES);
	assert_int_equal(status.counters[SESSION_COUNT_FAULTS], WHOLE + 1);
	assert_int_equal(status.counters[SESSION_COUNT_RESOLVED], WHOLE + 1);
	assert_int_equal(status.counters[SESSION_COUNT_COPIED], PAGES);
	finish(t);
}

static void removed_huge_pages_are_zero(void **state)
{
	struct test *t = *state;
	uint8_t *expected = calloc(1, (WHOLE + 1) * HUGE);
	struct session_status status;

	start(t, SESSION_KILL);
	memcpy(expected, bench_image(t->bench), (WHOLE + 1) * HUGE);
	memset(expected + HUGE, 0, 2 * HUGE);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 0, HUGE + 4 * PAGE), 0xff);
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, HUGE, 2 * HUGE), 0);
	vmm_compare(&t->v, 0, expected);
	bench_wait_idle(t->s);
	session_status(t->s, &status);
	assert_int_equal(status.pages_removed, 2 * HUGE / PAGE);
	assert_int_equal(status.counters[SESSION_COUNT_REMOVED], 2);
	free(expected);
	finish(t);
}

/* More at once than there are buffers to gather in. */
static void huge_pages_wait_their_turn(void **state)
{
	struct test *t = *state;
	int64_t sum = 0;

	start(t, SESSION_KILL);
	for (uint64_t i = 0; i < WHOLE; i++)
		sum += bench_image(t->bench)[i * HUGE + 6 * PAGE];
#ifdef PAGER_INJECT
	assert_int_equal(inject_configure("pack-read:slow=10+"), 0);
#endif
	assert_int_equal(
		VMM_DO(&t->v, CLIENT_TOUCHES, 0, 6 * PAGE, HUGE, WHOLE), sum);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

static void a_mix_of_page_sizes_is_served(void **state)
{
	struct test *t = *state;

	need_huge_pages();
	t->s = bench_session(t->bench, SNAPSHOT,
			     bench_session_options(t->bench, "one"));
	vmm_start(&t->v);
	vmm_uffd(&t->v, UFFD_FEATURE_EVENT_REMOVE);
	(void)vmm_region(&t->v, 2 * HUGE, 2 * HUGE, HUGE);
	(void)vmm_region(&t->v, HUGE, 0, PAGE);
	vmm_shake_hands(&t->v, t->s, VMM_1_7);
	vmm_compare(&t->v, 0, bench_image(t->bench) + 2 * HUGE);
	vmm_compare(&t->v, 1, bench_image(t->bench));
	finish(t);
}

/* A region of small pages that says huge ones, and gives back a small one. */
static void a_lie_about_the_page_size_ends_by_policy(void **state)
{
	struct test *t = *state;

	t->s = bench_session(t->bench, SNAPSHOT,
			     bench_session_options(t->bench, "one"));
	vmm_start(&t->v);
	vmm_uffd(&t->v, UFFD_FEATURE_EVENT_REMOVE);
	(void)vmm_region(&t->v, 2 * HUGE, 0, PAGE);
	t->v.regions[0].page_size = HUGE;
	t->v.regions[0].size = HUGE;
	t->v.regions[0].base = (t->v.regions[0].base + HUGE - 1) / HUGE * HUGE;
	vmm_shake_hands(&t->v, t->s, VMM_1_12);
	bench_wait_state(t->s, SESSION_SERVING);
	vmm_say(&t->v, CLIENT_DISCARD, 0,
		(const uint64_t[3]){HUGE - PAGE, PAGE});
	assert_int_equal(vmm_reap(&t->v), SIGKILL);
	bench_expect_end(t->bench, t->s, SESSION_END_FAILED);
}

static void give_workingset(struct test *t, const uint64_t *pages, size_t count)
{
	struct workingset old = {.pages = (SIZE + PAGE - 1) / PAGE};
	struct snapshot *snapshot;
	struct workingset set;

	assert_int_equal(
		snapshot_open(bench_store(t->bench), SNAPSHOT, &snapshot), 0);
	old.image = snapshot_manifest(snapshot)->image.digest;
	snapshot_unref(snapshot);
	assert_int_equal(workingset_merge(&old, pages, count, count, &set), 0);
	assert_int_equal(wsfile_save(bench_store(t->bench), &set), 0);
	workingset_release(&set);
}

/* Working set and completion, with private bytes over the end of a page. */
static void huge_pages_are_installed_ahead(void **state)
{
	static const uint64_t wanted[] = {2 * HUGE / PAGE + 7, 5 * HUGE / PAGE};
	static const uint8_t own[3 * PAGE] = {[0] = 1, [3 * PAGE - 1] = 2};
	const struct overlay_piece overlay = {.offset = 3 * HUGE - PAGE - 9,
					      .size = sizeof(own),
					      .data = own};
	struct test *t = *state;
	struct session_options o = bench_session_options(t->bench, "one");
	uint8_t *expected = calloc(1, (WHOLE + 1) * HUGE);

	need_huge_pages();
	memcpy(expected, bench_image(t->bench), (WHOLE + 1) * HUGE);
	memcpy(expected + overlay.offset, own, sizeof(own));
	give_workingset(t, wanted, 2);
	o.prefetch = true;
	o.overlays = &overlay;
	o.overlay_count = 1;
	t->s = bench_session(t->bench, SNAPSHOT, o);
	vmm_restore(&t->v, t->s, SIZE, HUGE);
	bench_wait_counter(t->s, SESSION_COUNT_PREFETCHED, 2 * HUGE / PAGE);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(
			VMM_DO(&t->v, CLIENT_TOUCH, 0, wanted[i] * PAGE),
			expected[wanted[i] * PAGE]);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAULTS), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 6 * HUGE, HUGE), 0);
	memset(expected + 6 * HUGE, 0, HUGE);
	assert_int_equal(pool_complete(bench_pool(t->bench), t->s), 0);
	bench_expect_end(t->bench, t->s, SESSION_END_COMPLETED);
	vmm_compare(&t->v, 0, expected);
	vmm_exit(&t->v);
	free(expected);
}

/*
 * The kernel says EEXIST where no 2 MiB page is free. That is no page that is
 * there: the guest waits, and gets the image's bytes once there are some.
 */
static void none_free_is_not_there_already(void **state)
{
	struct test *t = *state;
	struct session_status status;

	start(t, SESSION_KILL);
	write_number(0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, HUGE + 4 * PAGE), 0);
	bench_wait_counter(t->s, SESSION_COUNT_RETRIES, 5);
	session_status(t->s, &status);
	assert_int_equal(status.pages_present, 0);
	write_number(WANTED);
	assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0), 0xff);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

static void none_free_for_long_ends_by_policy(void **state)
{
	struct test *t = *state;
	struct session_options o = bench_session_options(t->bench, "one");

	need_huge_pages();
	o.retry_ns = 30000000;
	t->s = bench_session(t->bench, SNAPSHOT, o);
	vmm_restore(&t->v, t->s, SIZE, HUGE);
	write_number(0);
	vmm_say(&t->v, CLIENT_TOUCH, 0, (const uint64_t[3]){HUGE + 4 * PAGE});
	assert_int_equal(vmm_reap(&t->v), SIGKILL);
	bench_expect_end(t->bench, t->s, SESSION_END_FAILED);
	write_number(WANTED);
}

#ifdef PAGER_INJECT

static void a_missing_block_spoils_its_huge_page_alone(void **state)
{
	struct test *t = *state;
	struct session_status status;

	start(t, SESSION_POISON);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 0, 4 * PAGE), 0xff);
	assert_int_equal(inject_configure("pack-read:flip@30+"), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 0, HUGE), -EFAULT);
	assert_int_equal(inject_configure(NULL), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 0, HUGE), -EFAULT);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 0, 2 * HUGE + 4 * PAGE),
			 0xff);
	session_status(t->s, &status);
	assert_int_equal(status.pages_poisoned, HUGE / PAGE);
	assert_int_equal(status.counters[SESSION_COUNT_FAILURES], 1);
	finish(t);
}

static void a_vmm_dies_while_a_huge_page_is_gathered(void **state)
{
	struct test *t = *state;

	start(t, SESSION_KILL);
	assert_int_equal(inject_configure("pack-read:slow=50+"), 0);
	for (uint64_t i = 0; i < WHOLE; i++)
		assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, i * HUGE), 0);
	bench_wait_counter(t->s, SESSION_COUNT_FAULTS, WHOLE);
	vmm_kill(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
	assert_int_equal(inject_configure(NULL), 0);
	start(t, SESSION_KILL);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_huge_page_is_one_copy),
		TEST(removed_huge_pages_are_zero),
		TEST(huge_pages_wait_their_turn),
		TEST(a_mix_of_page_sizes_is_served),
		TEST(a_lie_about_the_page_size_ends_by_policy),
		TEST(huge_pages_are_installed_ahead),
		TEST(none_free_is_not_there_already),
		TEST(none_free_for_long_ends_by_policy),
#ifdef PAGER_INJECT
		TEST(a_missing_block_spoils_its_huge_page_alone),
		TEST(a_vmm_dies_while_a_huge_page_is_gathered),
#endif
	};

	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
