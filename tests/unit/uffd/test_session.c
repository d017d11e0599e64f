/* A session's life: ids, sockets, handshakes, peers, closing. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "pager/pagestate.h"
#include "tests/unit/store/scratch.h"
#include "tests/unit/uffd/uffd_bench.h"

#define PAGE	 4096u
#define SIZE	 (4u << 20)
#define SNAPSHOT "guest"
#define MS	 UINT64_C(1000000)

static int setup(void **state)
{
	struct bench *b = bench_new(&(struct bench_options){0});

	bench_publish(b, SNAPSHOT, SIZE);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	bench_free(*state);
	return 0;
}

static struct session *simple_session(struct bench *b)
{
	return bench_session(b, SNAPSHOT, bench_session_options(b, "one"));
}

static unsigned int open_fds(void)
{
	return scratch_count("/proc/self/fd");
}

/* PITFALLS 24. */
static void ids_are_taken_as_they_are_or_refused(void **state)
{
	static const char *const bad[] = {
		"", ".", "..", "../x", "a/b", "a b", "a\n", "\xc3\xa4", ".a",
	};
	char longest[201];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(session_id_check(bad[i]), -EINVAL);
	memset(longest, 'a', sizeof(longest));
	longest[200] = '\0';
	assert_int_equal(session_id_check(longest), -ENAMETOOLONG);
	longest[SESSION_ID_MAX] = '\0';
	assert_int_equal(session_id_check(longest), 0);
	assert_int_equal(session_id_check("A.b-c_9"), 0);
}

/* PITFALLS 24. */
static void an_id_is_free_again_only_after_the_end(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b), *second = NULL;
	struct session_status status;

	session_status(s, &status);
	assert_int_equal(status.state, SESSION_LISTENING);
	assert_int_equal(status.pages_total, SIZE / PAGE);
	assert_string_equal(status.snapshot, SNAPSHOT);
	assert_int_equal(bench_try_session(b, SNAPSHOT,
					   bench_session_options(b, "one"),
					   &second),
			 -EBUSY);
	assert_int_equal(access(session_socket_path(s), F_OK), 0);
	assert_int_equal(pool_add(bench_pool(b), s), -EALREADY);
	session_ref(s);
	bench_close(b, s);
	assert_int_equal(pool_close(bench_pool(b), s, POOL_CLOSE_IDLE),
			 -ENOENT);
	session_unref(s);
	bench_close(b, simple_session(b));
}

/* PITFALLS 23. */
static void what_a_dead_daemon_left_is_replaced(void **state)
{
	struct bench *b = *state;
	struct session *s;
	char path[SCRATCH_PATH_MAX * 2];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/one.sock", bench_folder(b));
	scratch_write(path, "stale", 5);
	(void)snprintf(path, sizeof(path), "%s/one.pages", bench_folder(b));
	scratch_write(path, "stale", 5);
	s = simple_session(b);
	assert_int_equal(stat(session_socket_path(s), &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, PAGER_PAGESTATE_HEADER + SIZE / PAGE / 4);
	bench_close(b, s);
}

static void a_socket_path_must_fit(void **state)
{
	struct bench *b = *state;
	struct session_options o = bench_session_options(b, "one");
	struct session *s = NULL;
	char folder[200] = "/tmp/";

	memset(folder + 5, 'x', 120);
	o.folder = folder;
	assert_int_equal(bench_try_session(b, SNAPSHOT, o, &s), -ENAMETOOLONG);
}

static void the_socket_belongs_to_whom_it_is_for(void **state)
{
	struct bench *b = *state;
	struct session_options o = bench_session_options(b, "one");
	struct session *s;
	struct stat st;

	if (getuid() != 0)
		skip();
	o.uid = 12345;
	o.gid = 12346;
	s = bench_session(b, SNAPSHOT, o);
	assert_int_equal(stat(session_socket_path(s), &st), 0);
	assert_int_equal(st.st_uid, 12345);
	assert_int_equal(st.st_gid, 12346);
	bench_close(b, s);
}

/* PITFALLS 1, each version of Firecracker; the old ones hang up at once. */
static void serve_all(struct bench *b, enum vmm_dialect dialect)
{
	struct session *s = simple_session(b);
	struct session_status status;
	struct vmm v;

	vmm_start(&v);
	vmm_uffd(&v, UFFD_FEATURE_EVENT_REMOVE);
	(void)vmm_region(&v, SIZE, 0, PAGE);
	vmm_shake_hands(&v, s, dialect);
	if (dialect != VMM_1_12)
		assert_int_equal(VMM_DO(&v, CLIENT_HANG_UP, 0, 0), 0);
	vmm_compare(&v, 0, bench_image(b));
	bench_wait_idle(s);
	session_status(s, &status);
	assert_int_equal(status.state, SESSION_SERVING);
	assert_int_equal(status.vmm_pid, v.pid);
	assert_int_equal(status.pages_present, SIZE / PAGE);
	assert_int_equal(status.oldest_fault_ns, 0);
	assert_true(status.p50_ns > 0 && status.p99_ns >= status.p50_ns);
	assert_true(status.blocked_ns > 0);
	assert_int_equal(pool_close(bench_pool(b), s, POOL_CLOSE_IDLE), -EBUSY);
	vmm_exit(&v);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
}

static void every_dialect_is_served(void **state)
{
	struct bench *b = *state;

	for (int d = VMM_1_1; d <= VMM_MAPPINGS; d++)
		serve_all(b, (enum vmm_dialect)d);
}

/* PITFALLS 1 and 4: 40 regions, descending, with gaps between them. */
static void many_regions_in_any_order_are_served(void **state)
{
	enum { COUNT = 40 };
	struct bench *b = *state;
	struct session *s = simple_session(b);
	const uint64_t part = SIZE / 64;
	struct vmm v;

	vmm_start(&v);
	vmm_uffd(&v, UFFD_FEATURE_EVENT_REMOVE);
	for (unsigned int i = 0; i < COUNT; i++)
		(void)vmm_region(&v, part, (COUNT - i) * part, PAGE);
	vmm_connect(&v, s);
	assert_int_equal(VMM_DO(&v, CLIENT_SEND, 0, vmm_text(&v, VMM_1_12), 1,
				CLIENT_THE_UFFD),
			 0);
	for (unsigned int i = 0; i < COUNT; i++)
		vmm_compare(&v, i, bench_image(b) + (COUNT - i) * part);
	vmm_exit(&v);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
}

/* One handshake that is refused; the text stands in the shared file. */
static void expect_refusal(struct session *s, struct vmm *v, size_t len,
			   enum client_fds fds)
{
	uint64_t before = bench_counter(s, SESSION_COUNT_REFUSED);
	unsigned int fds_before = open_fds();
	struct session_status status;

	vmm_connect(v, s);
	assert_int_equal(VMM_DO(v, CLIENT_SEND, 0, len, 0, fds), 0);
	bench_wait_counter(s, SESSION_COUNT_REFUSED, before + 1);
	bench_wait_state(s, SESSION_LISTENING);
	session_status(s, &status);
	assert_int_equal(status.vmm_pid, 0);
	assert_int_equal(open_fds(), fds_before);
	assert_int_equal(VMM_DO(v, CLIENT_HANG_UP, 0, 0), 0);
}

/* PITFALLS 1 and 4. */
static void bad_handshakes_cost_the_connection_only(void **state)
{
	static const enum client_fds bad_fds[] = {
		CLIENT_TWO_FDS, CLIENT_THREE_FDS,  CLIENT_MANY_FDS,
		CLIENT_A_FILE,	CLIENT_FRESH_UFFD,
	};
	static const char *const bad_texts[] = {
		"garbage",
		"[]",
		"[1]",
		"[{\"base_host_virt_addr\":4096}]",
		"[{\"base_host_virt_addr\":4096,\"size\":4096,\"offset\":0}]xy",
		"[{\"base_host_virt_addr\":4096,\"size\":4096,\"offset\":0}]",
	};
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct vmm v;
	size_t len;

	vmm_start(&v);
	vmm_uffd(&v, UFFD_FEATURE_EVENT_REMOVE);
	(void)vmm_region(&v, SIZE, 0, PAGE);
	for (size_t i = 0; i < sizeof(bad_fds) / sizeof(bad_fds[0]); i++) {
		len = vmm_text(&v, VMM_1_7);
		expect_refusal(s, &v, len, bad_fds[i]);
	}
	for (size_t i = 0; i < sizeof(bad_texts) / sizeof(bad_texts[0]); i++) {
		len = strlen(bad_texts[i]);
		memcpy(v.shared, bad_texts[i], len);
		expect_refusal(s, &v, len, CLIENT_THE_UFFD);
	}
	vmm_shake_hands(&v, s, VMM_1_12);
	vmm_compare(&v, 0, bench_image(b));
	vmm_exit(&v);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
}

static void the_fd_may_come_behind_the_text(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct vmm v;

	vmm_start(&v);
	vmm_uffd(&v, UFFD_FEATURE_EVENT_REMOVE);
	(void)vmm_region(&v, SIZE, 0, PAGE);
	vmm_connect(&v, s);
	assert_int_equal(VMM_DO(&v, CLIENT_SEND, 0, vmm_text(&v, VMM_1_7), 0,
				CLIENT_NO_FD),
			 0);
	bench_wait_state(s, SESSION_HANDSHAKE);
	v.shared[0] = 'x';
	assert_int_equal(VMM_DO(&v, CLIENT_SEND, 0, 1, 0, CLIENT_THE_UFFD), 0);
	vmm_compare(&v, 0, bench_image(b));
	vmm_exit(&v);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
}

static void a_userfaultfd_that_follows_forks_is_refused(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct vmm v;

	vmm_start(&v);
	vmm_uffd(&v, UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_FORK);
	(void)vmm_region(&v, SIZE, 0, PAGE);
	expect_refusal(s, &v, vmm_text(&v, VMM_1_7), CLIENT_THE_UFFD);
	vmm_exit(&v);
	bench_close(b, s);
}

/* PITFALLS 1. */
static void a_silent_peer_meets_a_deadline(void **state)
{
	struct bench *b = *state;
	struct session_options o = bench_session_options(b, "one");
	struct session *s;
	struct vmm v;

	o.handshake_ns = 20 * MS;
	s = bench_session(b, SNAPSHOT, o);
	vmm_start(&v);
	vmm_connect(&v, s);
	bench_wait_counter(s, SESSION_COUNT_REFUSED, 1);
	bench_wait_state(s, SESSION_LISTENING);
	vmm_exit(&v);
	bench_close(b, s);
}

/* PITFALLS 3 and 26. */
static void a_peer_that_dies_in_its_handshake_is_forgotten(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct vmm v;

	vmm_start(&v);
	vmm_connect(&v, s);
	bench_wait_state(s, SESSION_HANDSHAKE);
	vmm_kill(&v);
	bench_wait_state(s, SESSION_LISTENING);
	assert_int_equal(bench_counter(s, SESSION_COUNT_REFUSED), 1);
	vmm_start(&v);
	vmm_connect(&v, s);
	bench_wait_state(s, SESSION_HANDSHAKE);
	bench_close(b, s);
	vmm_exit(&v);
}

static void a_vmm_that_dies_right_after_ends_its_session(void **state)
{
	struct bench *b = *state;

	for (int i = 0; i < 20; i++) {
		struct session *s = simple_session(b);
		struct vmm v;

		vmm_start(&v);
		vmm_uffd(&v, UFFD_FEATURE_EVENT_REMOVE);
		(void)vmm_region(&v, SIZE, 0, PAGE);
		vmm_shake_hands(&v, s, VMM_1_12);
		vmm_kill(&v);
		/* Either its word was heard before it was seen dead, or not. */
		if (bench_settles(s) == SESSION_LISTENING)
			bench_close(b, s);
		else
			bench_expect_end(b, s, SESSION_END_VMM_GONE);
	}
}

static void a_second_peer_is_refused(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct vmm first, second;

	vmm_restore(&first, s, SIZE, PAGE);
	assert_int_equal(VMM_DO(&first, CLIENT_TOUCH, 0, 0), 0);
	vmm_start(&second);
	vmm_connect(&second, s);
	bench_wait_counter(s, SESSION_COUNT_REFUSED, 1);
	vmm_compare(&first, 0, bench_image(b));
	vmm_exit(&second);
	vmm_exit(&first);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
}

/* The mode of the socket keeps most out; that it opens is not enough. */
static void another_user_is_refused(void **state)
{
	struct bench *b = *state;
	struct session *s;
	struct vmm v;

	if (getuid() != 0)
		skip();
	s = simple_session(b);
	bench_let_others_in(b, s);
	vmm_start(&v);
	assert_int_equal(VMM_DO(&v, CLIENT_BECOME, 0, 12345), 0);
	vmm_connect(&v, s);
	bench_wait_counter(s, SESSION_COUNT_REFUSED, 1);
	vmm_exit(&v);
	bench_close(b, s);
}

/* The process that connected is gone, its memory is not. */
static void memory_may_outlive_the_process_that_connected(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct vmm v;

	vmm_restore(&v, s, SIZE, PAGE);
	assert_int_equal(VMM_DO(&v, CLIENT_TOUCH, 0, 0), 0);
	vmm_say(&v, CLIENT_MOULT, 0, (const uint64_t[3]){0});
	vmm_wait_dead(&v);
	vmm_compare(&v, 0, bench_image(b));
	assert_int_equal(pool_close(bench_pool(b), s, POOL_CLOSE_IDLE), -EBUSY);
	vmm_exit(&v);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
}

/* PITFALLS 18: nothing is left of a VMM that was killed. */
static void a_killed_vmm_leaves_nothing(void **state)
{
	struct bench *b = *state;
	unsigned int fds = 0;

	for (int i = 0; i < 5; i++) {
		struct session *s = simple_session(b);
		struct vmm v;

		/* The first one makes the store open its pack, for good. */
		if (i == 1)
			fds = open_fds();
		vmm_restore(&v, s, SIZE, PAGE);
		vmm_say(&v, CLIENT_READ, 0, (const uint64_t[3]){0, SIZE});
		bench_wait_counter(s, SESSION_COUNT_RESOLVED, 20);
		vmm_kill(&v);
		bench_expect_end(b, s, SESSION_END_VMM_GONE);
	}
	assert_int_equal(scratch_count(bench_folder(b)), 0);
	/* Less its socket, its pages and its lease. */
	assert_int_equal(open_fds(), fds - 3);
}

/* PITFALLS 20. */
static void a_live_vm_is_closed_by_force_only(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct session_status status;
	struct vmm v;

	vmm_restore(&v, s, SIZE, PAGE);
	assert_int_equal(VMM_DO(&v, CLIENT_CLOSE_UFFD, 0, 0), 0);
	assert_int_equal(VMM_DO(&v, CLIENT_HANG_UP, 0, 0), 0);
	vmm_compare(&v, 0, bench_image(b));
	assert_int_equal(pool_close(bench_pool(b), s, POOL_CLOSE_IDLE), -EBUSY);
	assert_int_equal(pool_close(bench_pool(b), s, POOL_CLOSE_LINGER), 0);
	session_status(s, &status);
	assert_true(status.lingering);
	assert_int_equal(status.state, SESSION_SERVING);
	assert_int_equal(pool_close(bench_pool(b), s, POOL_CLOSE_FORCE), 0);
	assert_int_equal(vmm_reap(&v), SIGKILL);
	bench_expect_end(b, s, SESSION_END_CLOSED);
}

static void a_vm_that_let_its_memory_go_needs_no_session(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct vmm v;

	vmm_restore(&v, s, SIZE, PAGE);
	assert_int_equal(VMM_DO(&v, CLIENT_TOUCH, 0, 0), 0);
	assert_int_equal(VMM_DO(&v, CLIENT_UNMAP, 0, 0, SIZE), 0);
	assert_int_equal(VMM_DO(&v, CLIENT_HANG_UP, 0, 0), 0);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
	assert_true(vmm_is_alive(&v));
	vmm_exit(&v);
}

/* The peer shares the descriptor's flags and can make it block. */
static void a_blocking_userfaultfd_holds_nobody_up(void **state)
{
	struct bench *b = *state;
	struct session *s = simple_session(b);
	struct vmm v;

	vmm_restore(&v, s, SIZE, PAGE);
	assert_int_equal(VMM_DO(&v, CLIENT_TOUCH, 0, 0), 0);
	assert_int_equal(VMM_DO(&v, CLIENT_BLOCKING, 0, 0), 0);
	vmm_compare(&v, 0, bench_image(b));
	assert_int_equal(pool_close(bench_pool(b), s, POOL_CLOSE_IDLE), -EBUSY);
	vmm_exit(&v);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
}

static void sixteen_vms_of_one_snapshot_share_the_cache(void **state)
{
	enum { COUNT = 16 };
	struct bench *b = *state;
	struct session *s[COUNT];
	struct vmm v[COUNT];
	struct pool_stats stats;
	uint64_t reads = 0;
	char id[16];

	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(id, sizeof(id), "vm-%d", i);
		s[i] = bench_session(b, SNAPSHOT, bench_session_options(b, id));
		vmm_restore(&v[i], s[i], SIZE, PAGE);
		vmm_say(&v[i], CLIENT_READ, 0, (const uint64_t[3]){0, SIZE});
	}
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(vmm_reply(&v[i]), 0);
		assert_memory_equal(v[i].shared, bench_image(b), SIZE);
	}
	pool_stats(bench_pool(b), &stats);
	assert_int_equal(stats.sessions, COUNT);
	for (int i = 0; i < COUNT; i++) {
		reads += bench_counter(s[i], SESSION_COUNT_DISK);
		vmm_exit(&v[i]);
		bench_expect_end(b, s[i], SESSION_END_VMM_GONE);
	}
	pool_stats(bench_pool(b), &stats);
	assert_int_equal(stats.sessions, 0);
	assert_int_equal(stats.ended[SESSION_END_VMM_GONE], COUNT);
	assert_int_equal(stats.counters[SESSION_COUNT_DISK], reads);
	assert_true(stats.counters[SESSION_COUNT_CACHE] > reads);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_taken_as_they_are_or_refused),
		TEST(an_id_is_free_again_only_after_the_end),
		TEST(what_a_dead_daemon_left_is_replaced),
		TEST(a_socket_path_must_fit),
		TEST(the_socket_belongs_to_whom_it_is_for),
		TEST(every_dialect_is_served),
		TEST(many_regions_in_any_order_are_served),
		TEST(bad_handshakes_cost_the_connection_only),
		TEST(the_fd_may_come_behind_the_text),
		TEST(a_userfaultfd_that_follows_forks_is_refused),
		TEST(a_silent_peer_meets_a_deadline),
		TEST(a_peer_that_dies_in_its_handshake_is_forgotten),
		TEST(a_vmm_that_dies_right_after_ends_its_session),
		TEST(a_second_peer_is_refused),
		TEST(another_user_is_refused),
		TEST(memory_may_outlive_the_process_that_connected),
		TEST(a_killed_vmm_leaves_nothing),
		TEST(a_live_vm_is_closed_by_force_only),
		TEST(a_vm_that_let_its_memory_go_needs_no_session),
		TEST(a_blocking_userfaultfd_holds_nobody_up),
		TEST(sixteen_vms_of_one_snapshot_share_the_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
