#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/io/text.h"
#include "tests/unit/control/daemon_fixture.h"

/* Long enough to be over before; no test waits for it to pass. */
#define WAIT_NS UINT64_C(60000000000)

static struct registry *registry_of(void **state)
{
	struct daemon_fixture *f = *state;

	return f->daemon->registry;
}

static int create(struct registry *r, const char *id, const char *snapshot)
{
	const struct registry_request request = {
		.id = id,
		.snapshot = snapshot,
		.uid = geteuid(),
		.gid = getegid(),
	};
	struct session *s = NULL;
	int err = registry_create(r, &request, &s);

	assert_true((err == 0) == (s != NULL));
	session_unref(s);
	return err;
}

static void known_until_closed(void **state)
{
	struct registry *r = registry_of(state);
	struct session *s = daemon_fixture_create(*state, "one"), *found;

	assert_string_equal(session_id(s), "one");
	assert_int_equal(access(session_socket_path(s), F_OK), 0);
	found = registry_find(r, "one");
	assert_ptr_equal(found, s);
	session_unref(found);
	assert_int_equal(registry_count(r), 1);
	assert_int_equal(registry_close(r, "one", POOL_CLOSE_IDLE, WAIT_NS), 0);
	assert_null(registry_find(r, "one"));
	assert_int_equal(registry_count(r), 0);
	assert_int_equal(access(session_socket_path(s), F_OK), -1);
	session_unref(s);
	assert_int_equal(registry_close(r, "one", POOL_CLOSE_IDLE, WAIT_NS),
			 -ENOENT);
	assert_int_equal(create(r, "one", FIXTURE_SNAPSHOT), 0);
}

static void ids_are_made_up_where_none_is_given(void **state)
{
	struct session *a = daemon_fixture_create(*state, NULL);
	struct session *b = daemon_fixture_create(*state, NULL);
	uint8_t bytes[8];

	assert_int_equal(strlen(session_id(a)), 16);
	assert_int_equal(text_from_hex(session_id(a), 8, bytes), 0);
	assert_string_not_equal(session_id(a), session_id(b));
	session_unref(a);
	session_unref(b);
}

static void wrong_requests_are_refused(void **state)
{
	struct registry *r = registry_of(state);
	char long_id[201];

	memset(long_id, 'i', sizeof(long_id) - 1);
	long_id[sizeof(long_id) - 1] = '\0';
	assert_int_equal(create(r, long_id, FIXTURE_SNAPSHOT), -ENAMETOOLONG);
	assert_int_equal(create(r, "../x", FIXTURE_SNAPSHOT), -EINVAL);
	assert_int_equal(create(r, "", FIXTURE_SNAPSHOT), -EINVAL);
	assert_int_equal(create(r, "id", "nobody"), -ENOENT);
	assert_int_equal(create(r, "id", "../store/format"), -EINVAL);
	assert_int_equal(registry_count(r), 0);
	assert_int_equal(create(r, "id", FIXTURE_SNAPSHOT), 0);
	assert_int_equal(create(r, "id", FIXTURE_SNAPSHOT), -ENOTUNIQ);
	assert_int_equal(create(r, "ID", FIXTURE_SNAPSHOT), 0);
	assert_int_equal(registry_count(r), 2);
}

static void cap_holds_and_is_freed(void **state)
{
	struct registry *r = registry_of(state);
	char id[8];

	for (int i = 0; i < 4; i++) {
		(void)snprintf(id, sizeof(id), "s%d", i);
		assert_int_equal(create(r, id, FIXTURE_SNAPSHOT), 0);
	}
	assert_int_equal(create(r, "s4", FIXTURE_SNAPSHOT), -EUSERS);
	assert_int_equal(registry_close(r, "s0", POOL_CLOSE_IDLE, WAIT_NS), 0);
	assert_int_equal(create(r, "s4", FIXTURE_SNAPSHOT), 0);
}

static void draining_refuses_until_undrained(void **state)
{
	struct registry *r = registry_of(state);

	registry_drain(r);
	assert_true(registry_draining(r));
	assert_int_equal(create(r, "x", FIXTURE_SNAPSHOT), -ESHUTDOWN);
	assert_int_equal(registry_undrain(r), 0);
	assert_int_equal(create(r, "x", FIXTURE_SNAPSHOT), 0);
	registry_stop(r);
	assert_int_equal(registry_undrain(r), -ESHUTDOWN);
	assert_int_equal(create(r, "y", FIXTURE_SNAPSHOT), -ESHUTDOWN);
}

static void live_vm_is_not_closed(void **state)
{
	struct registry *r = registry_of(state);
	struct session *s = daemon_fixture_create(*state, "vm");
	pid_t vmm = daemon_fixture_vmm(session_socket_path(s));
	struct session_status st;
	int err;

	assert_int_equal(registry_close(r, "vm", POOL_CLOSE_IDLE, WAIT_NS),
			 -EBUSY);
	assert_non_null(strstr(err_text(-EBUSY), "a VM depends on it"));
	assert_int_equal(registry_close(r, "vm", POOL_CLOSE_LINGER, 0),
			 -EINPROGRESS);
	session_status(s, &st);
	assert_int_equal(st.state, SESSION_SERVING);
	assert_true(st.lingering);
	assert_int_equal(st.vmm_pid, vmm);
	daemon_fixture_kill(vmm);
	/* It ends by itself, before or while we ask. */
	err = registry_close(r, "vm", POOL_CLOSE_LINGER, WAIT_NS);
	assert_true(err == 0 || err == -ENOENT);
	assert_int_equal(registry_count(r), 0);
	session_unref(s);
}

static void forced_close_applies_the_policy(void **state)
{
	struct registry *r = registry_of(state);
	struct session *s = daemon_fixture_create(*state, "vm");
	pid_t vmm = daemon_fixture_vmm(session_socket_path(s));

	assert_int_equal(registry_close(r, "vm", POOL_CLOSE_FORCE, WAIT_NS), 0);
	assert_int_equal(daemon_fixture_reap(vmm), SIGKILL);
	assert_int_equal(registry_count(r), 0);
	session_unref(s);
}

static void sums_outlive_their_sessions(void **state)
{
	struct registry *r = registry_of(state);
	struct session *s = daemon_fixture_create(*state, "vm");
	pid_t vmm = daemon_fixture_vmm(session_socket_path(s));
	struct registry_totals before, after;

	assert_int_equal(registry_totals(r, &before), 0);
	assert_int_equal(before.sessions, 1);
	assert_int_equal(before.by_state[SESSION_SERVING], 1);
	assert_true(before.counters[SESSION_COUNT_FAULTS] > 0);
	assert_int_equal(registry_close(r, "vm", POOL_CLOSE_FORCE, WAIT_NS), 0);
	(void)daemon_fixture_reap(vmm);
	assert_int_equal(registry_totals(r, &after), 0);
	assert_int_equal(after.sessions, 0);
	assert_int_equal(after.by_state[SESSION_SERVING], 0);
	assert_int_equal(after.ended[SESSION_END_CLOSED] +
				 after.ended[SESSION_END_FAILED] +
				 after.ended[SESSION_END_VMM_GONE],
			 1);
	for (int i = 0; i < SESSION_COUNTER_COUNT; i++)
		assert_true(after.counters[i] >= before.counters[i]);
	assert_true(after.latency.count >= before.latency.count);
	session_unref(s);
}

#define RACERS 4
#define ROUNDS 50

struct race {
	struct registry *registry;
	int created; /* owned by its thread */
};

/* Everybody makes and closes one and the same id. */
static void *race_for_an_id(void *arg)
{
	struct race *race = arg;

	for (int i = 0; i < ROUNDS; i++) {
		int r = create(race->registry, "same", FIXTURE_SNAPSHOT);

		if (r == 0)
			race->created++;
		else
			assert_int_equal(r, -ENOTUNIQ);
		r = registry_close(race->registry, "same", POOL_CLOSE_IDLE,
				   WAIT_NS);
		assert_true(r == 0 || r == -ENOENT);
	}
	return NULL;
}

/* PITFALLS 24. */
static void one_id_is_had_by_one(void **state)
{
	struct registry *r = registry_of(state);
	struct race races[RACERS] = {0};
	pthread_t threads[RACERS];
	struct registry_totals totals;
	int created = 0;

	for (int i = 0; i < RACERS; i++) {
		races[i].registry = r;
		assert_int_equal(pthread_create(&threads[i], NULL,
						race_for_an_id, &races[i]),
				 0);
	}
	for (int i = 0; i < RACERS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		created += races[i].created;
	}
	assert_int_equal(registry_totals(r, &totals), 0);
	assert_int_equal(totals.sessions, 0);
	assert_true(created > 0);
	assert_int_equal(totals.ended[SESSION_END_CLOSED], created);
}

#define CASE(name)                                                   \
	cmocka_unit_test_setup_teardown(name, daemon_fixture_set_up, \
					daemon_fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(known_until_closed),
		CASE(ids_are_made_up_where_none_is_given),
		CASE(wrong_requests_are_refused),
		CASE(cap_holds_and_is_freed),
		CASE(draining_refuses_until_undrained),
		CASE(live_vm_is_not_closed),
		CASE(forced_close_applies_the_policy),
		CASE(sums_outlive_their_sessions),
		CASE(one_id_is_had_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
