/* Pages that cannot be had, and closes by force. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fs/cache/admin/evict.h"
#include "fs/io/inject.h"
#include "tests/unit/uffd/uffd_bench.h"

#define PAGE	 4096u
#define SIZE	 (4u << 20)
#define SNAPSHOT "guest"
#define MS	 UINT64_C(1000000)

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

static void start(struct test *t, enum session_policy policy)
{
	struct session_options o = bench_session_options(t->bench, "one");

	o.policy = policy;
	o.retry_ns = 30 * MS;
	o.stall_ns = 20 * MS;
	t->s = bench_session(t->bench, SNAPSHOT, o);
	vmm_restore(&t->v, t->s, SIZE, PAGE);
}

static int64_t touch(struct test *t, uint64_t page)
{
	return VMM_DO(&t->v, CLIENT_TOUCH, 0, page * PAGE);
}

static void finish(struct test *t)
{
	vmm_exit(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
}

static void a_forced_close_kills(void **state)
{
	struct test *t = *state;

	start(t, SESSION_KILL);
	assert_int_equal(touch(t, 4), 0xff);
	assert_int_equal(
		pool_close(bench_pool(t->bench), t->s, POOL_CLOSE_FORCE), 0);
	assert_int_equal(vmm_reap(&t->v), SIGKILL);
	bench_expect_end(t->bench, t->s, SESSION_END_CLOSED);
}

/* PITFALLS 20: what is absent becomes SIGBUS, never zero. */
static void a_forced_close_poisons_what_is_absent(void **state)
{
	struct test *t = *state;

	start(t, SESSION_POISON);
	assert_int_equal(touch(t, 4), 0xff);
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 12 * PAGE, PAGE), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_CLOSE_UFFD, 0, 0), 0);
	session_ref(t->s);
	assert_int_equal(
		pool_close(bench_pool(t->bench), t->s, POOL_CLOSE_FORCE), 0);
	bench_expect_end(t->bench, t->s, SESSION_END_CLOSED);
	for (uint64_t page = 0; page < SIZE / PAGE; page++) {
		int64_t expected = -EFAULT;

		if (page == 4)
			expected = 0xff;
		else if (page == 12)
			expected = 0;
		assert_int_equal(touch(t, page), expected);
	}
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_POISONED),
			 SIZE / PAGE - 2);
	session_unref(t->s);
	vmm_exit(&t->v);
}

static void a_stalling_session_is_not_closed_by_force(void **state)
{
	struct test *t = *state;

	start(t, SESSION_STALL);
	assert_int_equal(touch(t, 4), 0xff);
	assert_int_equal(
		pool_close(bench_pool(t->bench), t->s, POOL_CLOSE_FORCE),
		-EBUSY);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

/* Two regions are registered and one is told. */
static void start_hiding_a_region(struct test *t, enum session_policy policy,
				  uint64_t features)
{
	struct session_options o = bench_session_options(t->bench, "one");

	o.policy = policy;
	t->s = bench_session(t->bench, SNAPSHOT, o);
	vmm_start(&t->v);
	vmm_uffd(&t->v, UFFD_FEATURE_EVENT_REMOVE | features);
	(void)vmm_region(&t->v, SIZE, 0, PAGE);
	(void)vmm_region(&t->v, SIZE, 0, PAGE);
	t->v.region_count = 1;
	vmm_shake_hands(&t->v, t->s, VMM_1_12);
}

static void an_address_in_no_region_is_no_zero(void **state)
{
	struct test *t = *state;

	start_hiding_a_region(t, SESSION_POISON, 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 1, 4 * PAGE), -EFAULT);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_OUTSIDE), 1);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
	start_hiding_a_region(t, SESSION_KILL, 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 1, 4 * PAGE), -EPIPE);
	assert_int_equal(vmm_reap(&t->v), SIGKILL);
	bench_expect_end(t->bench, t->s, SESSION_END_FAILED);
}

/* PITFALLS 14. */
static void memory_that_moves_is_no_zero(void **state)
{
	struct test *t = *state;

	start_hiding_a_region(t, SESSION_POISON, UFFD_FEATURE_EVENT_REMAP);
	assert_int_equal(touch(t, 4), 0xff);
	assert_int_equal(VMM_DO(&t->v, CLIENT_MOVE, 0, 0), 0);
	assert_int_equal(touch(t, 4), 0xff);
	assert_int_equal(touch(t, 6), -EFAULT);
	finish(t);
}

#ifdef PAGER_INJECT

static const uint8_t *image(struct test *t, uint64_t page)
{
	return bench_image(t->bench) + page * PAGE;
}

static void inject(const char *spec)
{
	assert_int_equal(inject_configure(spec), 0);
}

/* PITFALLS 27. */
static void kill_by(struct test *t, const char *spec)
{
	struct session *other;
	struct vmm v;

	/* It has its pages already. */
	other = bench_session(t->bench, SNAPSHOT,
			      bench_session_options(t->bench, "other"));
	vmm_restore(&v, other, SIZE, PAGE);
	vmm_compare(&v, 0, bench_image(t->bench));
	evict_all(bench_cache(t->bench), &(struct evict_report){0});
	start(t, SESSION_KILL);
	inject(spec);
	assert_int_equal(touch(t, 6), -EPIPE);
	assert_int_equal(vmm_reap(&t->v), SIGKILL);
	bench_expect_end(t->bench, t->s, SESSION_END_FAILED);
	inject(NULL);
	vmm_compare(&v, 0, bench_image(t->bench));
	vmm_exit(&v);
	bench_expect_end(t->bench, other, SESSION_END_VMM_GONE);
}

static void an_unreadable_block_kills_its_vm_alone(void **state)
{
	kill_by(*state, "pack-read:EIO+");
}

static void a_damaged_block_kills_its_vm_alone(void **state)
{
	kill_by(*state, "pack-read:flip+");
}

static void an_install_put_off_for_ever_kills(void **state)
{
	kill_by(*state, "uffd-copy:EAGAIN+");
}

static void an_install_that_fails_kills(void **state)
{
	kill_by(*state, "uffd-copy:EIO@1");
}

static void a_read_that_fails_once_is_made_good(void **state)
{
	struct test *t = *state;

	start(t, SESSION_KILL);
	inject("pack-read:EIO@2,pack-read:flip@9,pack-read:short@20");
	vmm_compare(&t->v, 0, bench_image(t->bench));
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAILURES), 0);
	finish(t);
}

static void a_damaged_block_is_poisoned(void **state)
{
	struct test *t = *state;
	struct session_status status;

	start(t, SESSION_POISON);
	assert_int_equal(touch(t, 7), image(t, 7)[0]);
	inject("pack-read:flip+");
	assert_int_equal(touch(t, 6), -EFAULT);
	inject(NULL);
	assert_int_equal(touch(t, 6), -EFAULT);
	for (uint64_t page = 7; page < 64; page++)
		assert_int_equal(touch(t, page), image(t, page)[0]);
	session_status(t->s, &status);
	assert_int_equal(status.pages_poisoned, 1);
	assert_int_equal(status.counters[SESSION_COUNT_POISONED], 1);
	assert_int_equal(status.counters[SESSION_COUNT_FAILURES], 1);
	assert_int_equal(status.state, SESSION_SERVING);
	finish(t);
}

static void a_stalled_page_comes_when_it_can(void **state)
{
	struct test *t = *state;
	struct session_status status;

	start(t, SESSION_STALL);
	assert_int_equal(touch(t, 7), image(t, 7)[0]);
	inject("pack-read:EIO+");
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, 6 * PAGE), 0);
	bench_wait_counter(t->s, SESSION_COUNT_STALLS, 3);
	/* What is not damaged is served meanwhile. */
	assert_int_equal(touch(t, 7), image(t, 7)[0]);
	assert_int_equal(touch(t, 0), 0);
	bench_wait_outstanding(t->s, 1);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAILURES), 1);
	inject(NULL);
	assert_int_equal(VMM_DO(&t->v, CLIENT_JOIN, 0, 0), image(t, 6)[0]);
	bench_wait_idle(t->s);
	session_status(t->s, &status);
	assert_int_equal(status.stalled, 0);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

static void a_vmm_dies_while_it_is_stalled(void **state)
{
	struct test *t = *state;

	start(t, SESSION_STALL);
	inject("pack-read:EIO+,uffd-zero:EAGAIN+");
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, 6 * PAGE), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, 0), 0);
	bench_wait_counter(t->s, SESSION_COUNT_STALLS, 2);
	vmm_kill(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
}

#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_forced_close_kills),
		TEST(a_forced_close_poisons_what_is_absent),
		TEST(a_stalling_session_is_not_closed_by_force),
		TEST(an_address_in_no_region_is_no_zero),
		TEST(memory_that_moves_is_no_zero),
#ifdef PAGER_INJECT
		TEST(an_unreadable_block_kills_its_vm_alone),
		TEST(a_damaged_block_kills_its_vm_alone),
		TEST(an_install_put_off_for_ever_kills),
		TEST(an_install_that_fails_kills),
		TEST(a_read_that_fails_once_is_made_good),
		TEST(a_damaged_block_is_poisoned),
		TEST(a_stalled_page_comes_when_it_can),
		TEST(a_vmm_dies_while_it_is_stalled),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
