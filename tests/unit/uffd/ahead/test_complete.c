/* Completion: all installed, all verified, the VM on its own. */
#include <errno.h>
#include <poll.h>
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
#define HUGE	 (2u << 20)
#define SIZE	 (8u << 20)
#define SNAPSHOT "guest"

struct test {
	struct bench *bench;
	struct session_options options;
	struct session *s;
	struct vmm v;
};

static void begin(struct test *t, const struct bench_options *options)
{
	t->bench = bench_new(options);
	bench_publish(t->bench, SNAPSHOT, SIZE);
	t->options = bench_session_options(t->bench, "one");
	t->options.record = SESSION_RECORD_NEVER;
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	begin(t, &(struct bench_options){0});
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

static void start(struct test *t)
{
	t->s = bench_session(t->bench, SNAPSHOT, t->options);
	vmm_restore(&t->v, t->s, SIZE, PAGE);
	bench_wait_state(t->s, SESSION_SERVING);
}

static void complete(struct test *t)
{
	assert_int_equal(pool_complete(bench_pool(t->bench), t->s), 0);
	bench_expect_end(t->bench, t->s, SESSION_END_COMPLETED);
}

static void a_completed_vm_needs_nobody(void **state)
{
	struct test *t = *state;

	start(t);
	complete(t);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	/* What it gives back from here on is zero, as ever. */
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 6 * PAGE, PAGE), 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 0, 6 * PAGE), 0);
	vmm_exit(&t->v);
}

/* PITFALLS 5 and 21. */
static void removed_and_written_pages_stay(void **state)
{
	struct test *t = *state;
	uint8_t *expected = malloc(SIZE);

	memcpy(expected, bench_image(t->bench), SIZE);
	start(t);
	assert_int_equal(VMM_DO(&t->v, CLIENT_DISCARD, 0, 6 * PAGE, 20 * PAGE),
			 0);
	memset(expected + 6 * PAGE, 0, 20 * PAGE);
	assert_int_equal(VMM_DO(&t->v, CLIENT_WRITE, 0, 30 * PAGE + 9, 0x5a),
			 0);
	expected[30 * PAGE + 9] = 0x5a;
	complete(t);
	vmm_compare(&t->v, 0, expected);
	vmm_exit(&t->v);
	free(expected);
}

/* PITFALLS 26. */
static void without_a_vm_there_is_nothing_to_complete(void **state)
{
	struct test *t = *state;
	struct pool *pool = bench_pool(t->bench);

	t->s = bench_session(t->bench, SNAPSHOT, t->options);
	assert_int_equal(pool_complete(pool, t->s), -ENOTCONN);
	assert_int_equal(pool_completion(pool, t->s), 0);
	bench_close(t->bench, t->s);
}

static void holes_in_a_region_are_no_obstacle(void **state)
{
	struct test *t = *state;

	start(t);
	assert_int_equal(VMM_DO(&t->v, CLIENT_UNMAP, 0, 100 * PAGE, 300 * PAGE),
			 0);
	assert_int_equal(VMM_DO(&t->v, CLIENT_UNMAP, 0, 777 * PAGE, PAGE), 0);
	complete(t);
	assert_int_equal(VMM_DO(&t->v, CLIENT_READ, 0, 400 * PAGE, 300 * PAGE),
			 0);
	assert_memory_equal(t->v.shared, bench_image(t->bench) + 400 * PAGE,
			    300 * PAGE);
	vmm_exit(&t->v);
}

static void several_regions_are_completed(void **state)
{
	static const struct {
		uint64_t size, offset;
	} parts[] = {
		{3u << 20, 5u << 20},
		{PAGE, 0},
		{(5u << 20) - 3 * PAGE, 3 * PAGE},
	};
	struct test *t = *state;

	t->s = bench_session(t->bench, SNAPSHOT, t->options);
	vmm_start(&t->v);
	vmm_uffd(&t->v, UFFD_FEATURE_EVENT_REMOVE);
	for (int i = 0; i < 3; i++)
		(void)vmm_region(&t->v, parts[i].size, parts[i].offset, PAGE);
	vmm_shake_hands(&t->v, t->s, VMM_1_12);
	bench_wait_state(t->s, SESSION_SERVING);
	complete(t);
	for (unsigned int i = 0; i < 3; i++)
		vmm_compare(&t->v, i, bench_image(t->bench) + parts[i].offset);
	vmm_exit(&t->v);
}

static void overlays_are_completed(void **state)
{
	const struct overlay_piece piece = {100 * PAGE - 5, 10,
					    (const uint8_t *)"0123456789"};
	struct test *t = *state;
	uint8_t *expected = malloc(SIZE);

	memcpy(expected, bench_image(t->bench), SIZE);
	memcpy(expected + piece.offset, piece.data, piece.size);
	t->options.overlays = &piece;
	t->options.overlay_count = 1;
	start(t);
	complete(t);
	vmm_compare(&t->v, 0, expected);
	vmm_exit(&t->v);
	free(expected);
}

/*
 * Threads that touch and give back pages all through it: a fault that comes
 * just when the memory is unregistered is woken, too.
 */
static void a_busy_guest_is_completed(void **state)
{
	struct test *t = *state;

	for (int round = 0; round < 25; round++) {
		start(t);
		vmm_say(&t->v, CLIENT_CHURN, 0,
			(const uint64_t[3]){600, round % 5 ? 2000 : 60});
		complete(t);
		assert_int_equal(vmm_reply(&t->v), 0);
		assert_int_equal(VMM_DO(&t->v, CLIENT_READ, 0, 700 * PAGE,
					SIZE - 700 * PAGE),
				 0);
		assert_memory_equal(t->v.shared,
				    bench_image(t->bench) + 700 * PAGE,
				    SIZE - 700 * PAGE);
		vmm_exit(&t->v);
	}
}

static void a_vmm_dies_while_it_is_completed(void **state)
{
	struct test *t = *state;

	for (int round = 0; round < 5; round++) {
		start(t);
		assert_int_equal(pool_complete(bench_pool(t->bench), t->s), 0);
		vmm_kill(&t->v);
		bench_expect_any_end(t->bench, t->s);
	}
}

static void sessions_complete_by_themselves(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	(void)state;
	begin(t, &(struct bench_options){
			 .complete_age_ns = 1,
			 .complete_rate = UINT64_C(64) << 20,
		 });
	start(t);
	bench_expect_end(t->bench, t->s, SESSION_END_COMPLETED);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	vmm_exit(&t->v);
	bench_free(t->bench);
	free(t);
}

#ifdef PAGER_INJECT

static int try_to_complete(struct test *t)
{
	struct pool *pool = bench_pool(t->bench);
	int r;

	assert_int_equal(pool_complete(pool, t->s), 0);
	while ((r = pool_completion(pool, t->s)) == -EINPROGRESS)
		(void)poll(NULL, 0, 1);
	return r;
}

static void what_cannot_be_read_ends_the_attempt_alone(void **state)
{
	struct test *t = *state;

	start(t);
	assert_int_equal(inject_configure("pack-read:EIO@100+"), 0);
	assert_int_equal(try_to_complete(t), -EIO);
	assert_true(vmm_is_alive(&t->v));
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAILURES), 0);
	assert_int_equal(inject_configure(NULL), 0);
	/* Nothing was lost, and it can be tried again; after the quarantine. */
	while (try_to_complete(t) == -EIO)
		(void)poll(NULL, 0, 20);
	bench_expect_end(t->bench, t->s, SESSION_END_COMPLETED);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	vmm_exit(&t->v);
}

static void poisoned_pages_are_not_left_alone(void **state)
{
	struct test *t = *state;

	t->options.policy = SESSION_POISON;
	start(t);
	assert_int_equal(inject_configure("pack-read:EIO@1+"), 0);
	if (VMM_DO(&t->v, CLIENT_TOUCH, 0, 6 * PAGE) != -EFAULT) {
		/* A kernel without UFFDIO_POISON has killed it. */
		assert_int_equal(vmm_reap(&t->v), 9);
		bench_expect_end(t->bench, t->s, SESSION_END_FAILED);
		return;
	}
	assert_int_equal(inject_configure(NULL), 0);
	assert_int_equal(try_to_complete(t), -EIO);
	assert_int_equal(VMM_DO(&t->v, CLIENT_TOUCH, 0, 6 * PAGE), -EFAULT);
	vmm_exit(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
}

#endif

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_completed_vm_needs_nobody),
		TEST(removed_and_written_pages_stay),
		TEST(without_a_vm_there_is_nothing_to_complete),
		TEST(holes_in_a_region_are_no_obstacle),
		TEST(several_regions_are_completed),
		TEST(overlays_are_completed),
		TEST(a_busy_guest_is_completed),
		TEST(a_vmm_dies_while_it_is_completed),
		cmocka_unit_test(sessions_complete_by_themselves),
#ifdef PAGER_INJECT
		TEST(what_cannot_be_read_ends_the_attempt_alone),
		TEST(poisoned_pages_are_not_left_alone),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
