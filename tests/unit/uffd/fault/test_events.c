/* What the kernel tells in what order, and floods of it. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/io/inject.h"
#include "tests/unit/uffd/uffd_bench.h"

#define PAGE	 4096u
#define SIZE	 (8u << 20)
#define SNAPSHOT "guest"
#define REMOVE	 UFFD_FEATURE_EVENT_REMOVE

/* First words of /proc/PID/task/TID/syscall: in a page fault, in madvise(). */
#define IN_A_FAULT   "-1 "
#define IN_A_DISCARD "28 "

struct test {
	struct bench *bench;
	struct session_options options;
	struct session *s;
	struct vmm v;
};

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	t->bench = bench_new(&(struct bench_options){.workers = 1});
	bench_publish(t->bench, SNAPSHOT, SIZE);
	t->options = bench_session_options(t->bench, "one");
	t->options.record = SESSION_RECORD_NEVER;
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

static int64_t first_byte(struct test *t, uint64_t page)
{
	return bench_image(t->bench)[page * PAGE];
}

static void start(struct test *t)
{
	t->s = bench_session(t->bench, SNAPSHOT, t->options);
	vmm_restore(&t->v, t->s, SIZE, PAGE);
}

/* All but the handshake. */
static void prepare(struct test *t)
{
	t->s = bench_session(t->bench, SNAPSHOT, t->options);
	vmm_start(&t->v);
	vmm_uffd(&t->v, REMOVE);
	(void)vmm_region(&t->v, SIZE, 0, PAGE);
}

static void finish(struct test *t)
{
	vmm_exit(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
}

static bool is_blocked(pid_t pid, const char *task, const char *in)
{
	char path[300], text[8] = "";
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", pid,
		       task);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	(void)fclose(file);
	return strncmp(text, in, strlen(in)) == 0;
}

static unsigned int count_blocked(pid_t pid, const char *in)
{
	char path[32];
	struct dirent *entry;
	unsigned int count = 0;
	DIR *tasks;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	assert_non_null(tasks);
	while ((entry = readdir(tasks)))
		count += is_blocked(pid, entry->d_name, in);
	(void)closedir(tasks);
	return count;
}

/* Until so many of the VMM's threads wait for the daemon. */
static void wait_blocked(struct test *t, const char *in, unsigned int count)
{
	while (count_blocked(t->v.pid, in) < count)
		(void)poll(NULL, 0, 1);
}

static void start_touch(struct test *t, uint64_t page)
{
	assert_int_equal(VMM_DO(&t->v, CLIENT_START, 0, page * PAGE), 0);
}

static int64_t join(struct test *t)
{
	return VMM_DO(&t->v, CLIENT_JOIN, 0, 0);
}

/* PITFALLS 2: Firecracker touches memory before its load call returns. */
static void a_fault_before_the_handshake_is_answered(void **state)
{
	struct test *t = *state;

	prepare(t);
	start_touch(t, 6);
	start_touch(t, 1);
	wait_blocked(t, IN_A_FAULT, 2);
	vmm_shake_hands(&t->v, t->s, VMM_1_12);
	assert_int_equal(join(t), first_byte(t, 6));
	assert_int_equal(join(t), 0);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

/*
 * PITFALLS 6. All of it is told before anybody reads, and the kernel hands out
 * the faults first.
 */
static void a_fault_is_read_together_with_its_remove(void **state)
{
	struct test *t = *state;

	prepare(t);
	start_touch(t, 6);
	start_touch(t, 22);
	assert_int_equal(
		VMM_DO(&t->v, CLIENT_START_DISCARD, 0, 4 * PAGE, 4 * PAGE), 0);
	wait_blocked(t, IN_A_FAULT, 2);
	wait_blocked(t, IN_A_DISCARD, 1);
	vmm_shake_hands(&t->v, t->s, VMM_1_12);
	assert_int_equal(join(t), 0);
	assert_int_equal(join(t), first_byte(t, 22));
	assert_int_equal(join(t), 0);
	bench_wait_idle(t->s);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_REMOVES), 1);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_REMOVED), 1);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_MISSING), 1);
	finish(t);
}

/* PITFALLS 12, and 13 where two messages are of one page. */
static void messages_of_one_page_are_one_answer(void **state)
{
	struct test *t = *state;

	prepare(t);
	for (int i = 0; i < 8; i++)
		start_touch(t, 6);
	wait_blocked(t, IN_A_FAULT, 8);
	vmm_shake_hands(&t->v, t->s, VMM_1_12);
	for (int i = 0; i < 8; i++)
		assert_int_equal(join(t), first_byte(t, 6));
	bench_wait_idle(t->s);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAULTS), 8);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_JOINED), 7);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_RESOLVED), 1);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_COPIED), 1);
	finish(t);
}

static uint64_t resident_kib(void)
{
	char line[128];
	uint64_t kib = 0;
	FILE *file = fopen("/proc/self/status", "re");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "RssAnon:", 8) == 0)
			kib = strtoull(line + 8, NULL, 10);
	(void)fclose(file);
	return kib;
}

/* A sanitizer keeps more than the program does. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GROWS_LEAST UINT64_MAX
#else
#define GROWS_LEAST 4096u /* KiB */
#endif

/* PITFALLS 8 and 30: one worker, one hostile VM, and one that is not. */
static void a_flood_costs_no_memory_and_no_other_vm(void **state)
{
	struct test *t = *state;
	struct session *calm;
	struct pollfd done;
	uint64_t before;
	struct vmm v;

	start(t);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	vmm_say(&t->v, CLIENT_CHURN, 0,
		(const uint64_t[3]){64, UINT64_C(1) << 40});
	bench_wait_counter(t->s, SESSION_COUNT_REMOVES, 1000);
	before = resident_kib();
	t->options.id = "calm";
	calm = bench_session(t->bench, SNAPSHOT, t->options);
	vmm_restore(&v, calm, SIZE, PAGE);
	vmm_compare(&v, 0, bench_image(t->bench));
	bench_wait_counter(t->s, SESSION_COUNT_REMOVES, 20000);
	assert_true(resident_kib() - before < GROWS_LEAST ||
		    resident_kib() < before);
	/* It goes on all the time. */
	done = (struct pollfd){.fd = t->v.control, .events = POLLIN};
	assert_int_equal(poll(&done, 1, 0), 0);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_FAILURES), 0);
	vmm_exit(&v);
	bench_expect_end(t->bench, calm, SESSION_END_VMM_GONE);
	vmm_kill(&t->v);
	bench_expect_end(t->bench, t->s, SESSION_END_VMM_GONE);
}

#ifdef PAGER_INJECT

/* PITFALLS 13: who waits is woken for nothing, and asks again. */
static void spurious_wakes_change_nothing(void **state)
{
	struct test *t = *state;

	t->options.policy = SESSION_STALL;
	t->options.stall_ns = 10000000;
	start(t);
	assert_int_equal(inject_configure("pack-read:EIO+"), 0);
	start_touch(t, 6);
	for (uint64_t faults = 1; faults < 6; faults++) {
		bench_wait_counter(t->s, SESSION_COUNT_FAULTS, faults);
		wait_blocked(t, IN_A_FAULT, 1);
		assert_int_equal(VMM_DO(&t->v, CLIENT_WAKE, 0, 0, SIZE), 0);
	}
	bench_wait_counter(t->s, SESSION_COUNT_FAULTS, 6);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_JOINED), 5);
	assert_int_equal(inject_configure(NULL), 0);
	assert_int_equal(join(t), first_byte(t, 6));
	bench_wait_idle(t->s);
	assert_int_equal(bench_counter(t->s, SESSION_COUNT_RESOLVED), 1);
	/* A wake where nobody waits. */
	assert_int_equal(VMM_DO(&t->v, CLIENT_WAKE, 0, 0, SIZE), 0);
	vmm_compare(&t->v, 0, bench_image(t->bench));
	finish(t);
}

#endif

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_fault_before_the_handshake_is_answered),
		TEST(a_fault_is_read_together_with_its_remove),
		TEST(messages_of_one_page_are_one_answer),
		TEST(a_flood_costs_no_memory_and_no_other_vm),
#ifdef PAGER_INJECT
		TEST(spurious_wakes_change_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
