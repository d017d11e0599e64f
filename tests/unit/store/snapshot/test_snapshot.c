#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/store/lease/removed.h"
#include "fs/store/snapshot/snapshot.h"
#include "tests/unit/store/scratch.h"

static struct {
	char folder[SCRATCH_PATH_MAX];
	char path[2 * SCRATCH_PATH_MAX];
	struct store *store;
} t;

static int setup(void **state)
{
	(void)state;
	scratch_make(t.folder);
	(void)snprintf(t.path, sizeof(t.path), "%s/store", t.folder);
	assert_int_equal(store_init(t.path, NULL), 0);
	assert_int_equal(store_open(t.path, STORE_WRITE, &t.store), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	store_unref(t.store);
	scratch_remove(t.folder);
	return 0;
}

/* Zeros only, so that no block has to be there. */
static const struct manifest zeros = {
	.created = 1,
	.image = {.key = (char *)"memory",
		  .size = 5000,
		  .levels = 1,
		  .pages = 2,
		  .zero_pages = 2},
	.codec = (char *)"zstd",
};

static void commit(const char *name)
{
	assert_int_equal(snapshot_commit(t.store, name, &zeros), 0);
}

static const char *manifest_path(const char *name)
{
	static char path[4 * SCRATCH_PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/snapshots/%s", t.path, name);
	return path;
}

static unsigned int temporary_files(void)
{
	return scratch_count(scratch_file(t.path, "tmp"));
}

static void what_is_committed_opens(void **state)
{
	struct snapshot *snap = NULL;

	(void)state;
	commit("web 1");
	assert_int_equal(snapshot_open(t.store, "web 1", &snap), 0);
	assert_string_equal(snapshot_name(snap), "web 1");
	assert_int_equal(snapshot_manifest(snap)->image.size, 5000);
	assert_ptr_equal(snapshot_store(snap), t.store);
	snapshot_unref(snap);
	snapshot_unref(NULL);
	assert_int_equal(temporary_files(), 0);
}

static void a_taken_name_is_refused(void **state)
{
	(void)state;
	commit("a");
	assert_int_equal(snapshot_check_free(t.store, "a"), -ENOTUNIQ);
	assert_int_equal(snapshot_commit(t.store, "a", &zeros), -ENOTUNIQ);
	assert_string_equal(err_text(-ENOTUNIQ),
			    "there is a snapshot 'a' already");
	assert_int_equal(temporary_files(), 0);
	assert_int_equal(snapshot_check_free(t.store, "b"), 0);
}

static void bad_names_are_refused_everywhere(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "/", "a\nb"};
	struct snapshot *snap = NULL;
	char name[301];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(snapshot_open(t.store, bad[i], &snap),
				 -EINVAL);
		assert_int_equal(snapshot_check_free(t.store, bad[i]), -EINVAL);
		assert_int_equal(snapshot_commit(t.store, bad[i], &zeros),
				 -EINVAL);
		assert_int_equal(snapshot_remove(t.store, bad[i]), -EINVAL);
	}
	memset(name, 'n', 300);
	name[300] = '\0';
	assert_int_equal(snapshot_commit(t.store, name, &zeros), -EINVAL);
	name[255] = '\0';
	commit(name);
	assert_int_equal(snapshot_open(t.store, name, &snap), 0);
	snapshot_unref(snap);
}

static void what_is_not_there_is_said_so(void **state)
{
	struct snapshot *snap = NULL;

	(void)state;
	assert_int_equal(snapshot_open(t.store, "gone", &snap), -ENOENT);
	assert_string_equal(err_text(-ENOENT), "no snapshot 'gone'");
	assert_int_equal(snapshot_remove(t.store, "gone"), -ENOENT);
	assert_string_equal(err_text(-ENOENT), "no snapshot 'gone'");
	assert_null(snap);
}

static void a_lease_holds_removal_off(void **state)
{
	struct snapshot *one = NULL, *two = NULL;
	char line[128];

	(void)state;
	commit("a");
	assert_int_equal(snapshot_open(t.store, "a", &one), 0);
	assert_int_equal(snapshot_open(t.store, "a", &two), 0);
	assert_int_equal(snapshot_remove(t.store, "a"), -EBUSY);
	(void)snprintf(line, sizeof(line),
		       "snapshot 'a' is in use by test_snapshot (process %d)",
		       getpid());
	assert_string_equal(err_text(-EBUSY), line);
	snapshot_unref(one);
	assert_int_equal(snapshot_remove(t.store, "a"), -EBUSY);
	one = snapshot_ref(two);
	snapshot_unref(two);
	assert_int_equal(snapshot_remove(t.store, "a"), -EBUSY);
	snapshot_unref(one);
	assert_int_equal(snapshot_remove(t.store, "a"), 0);
	assert_int_equal(snapshot_open(t.store, "a", &one), -ENOENT);
}

/* Takes a lease, says so, and waits to be killed. */
static void hold_lease(int say)
{
	struct snapshot *snap;
	struct store *s;

	if (store_open(t.path, STORE_READ, &s) < 0 ||
	    snapshot_open(s, "a", &snap) < 0 || write(say, "x", 1) != 1)
		_exit(1);
	for (;;)
		(void)pause();
}

static void a_lease_dies_with_its_process(void **state)
{
	int said[2], pid;
	char byte;

	(void)state;
	commit("a");
	assert_int_equal(pipe(said), 0);
	pid = fork();
	if (pid == 0)
		hold_lease(said[1]);
	assert_int_equal(read(said[0], &byte, 1), 1);
	assert_int_equal(snapshot_remove(t.store, "a"), -EBUSY);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(snapshot_remove(t.store, "a"), 0);
	(void)close(said[0]);
	(void)close(said[1]);
}

static unsigned int out_of_sight(void)
{
	char path[3 * SCRATCH_PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/removed", t.path);
	return scratch_count(path);
}

static void one_that_is_read_goes_out_of_sight_and_then_for_good(void **state)
{
	struct snapshot *one = NULL, *two = NULL, *other = NULL;
	bool read = true;

	(void)state;
	commit("a");
	assert_int_equal(snapshot_remove_when_unused(t.store, "a", &read), 0);
	assert_false(read);
	commit("a");
	assert_int_equal(snapshot_open(t.store, "a", &one), 0);
	assert_int_equal(snapshot_open(t.store, "a", &two), 0);
	assert_int_equal(snapshot_remove_when_unused(t.store, "a", &read), 0);
	assert_true(read);
	assert_int_equal(snapshot_open(t.store, "a", &other), -ENOENT);
	assert_int_equal(snapshot_remove(t.store, "a"), -ENOENT);
	assert_int_equal(out_of_sight(), 1);
	/* The name is free, and what has it now is another. */
	commit("a");
	assert_int_equal(snapshot_open(t.store, "a", &other), 0);
	snapshot_unref(one);
	assert_int_equal(out_of_sight(), 1);
	snapshot_unref(two);
	assert_int_equal(out_of_sight(), 0);
	assert_int_equal(snapshot_remove(t.store, "a"), -EBUSY);
	snapshot_unref(other);
}

static void what_a_killed_reader_leaves_is_swept_later(void **state)
{
	int said[2], pid;
	char byte;
	bool is_read = false;

	(void)state;
	commit("a");
	assert_int_equal(pipe(said), 0);
	pid = fork();
	if (pid == 0)
		hold_lease(said[1]);
	assert_int_equal(read(said[0], &byte, 1), 1);
	assert_int_equal(snapshot_remove_when_unused(t.store, "a", &is_read),
			 0);
	assert_true(is_read);
	removed_sweep(t.store);
	assert_int_equal(out_of_sight(), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(out_of_sight(), 1);
	assert_int_equal(snapshot_remove(t.store, "other"), -ENOENT);
	assert_int_equal(out_of_sight(), 0);
	(void)close(said[0]);
	(void)close(said[1]);
}

static void who_needs_the_name_keeps_it(void **state)
{
	struct snapshot *lasting = NULL, *reader = NULL;
	bool read = false;

	(void)state;
	commit("a");
	assert_int_equal(snapshot_open_lasting(t.store, "a", &lasting), 0);
	assert_int_equal(snapshot_open(t.store, "a", &reader), 0);
	assert_int_equal(snapshot_remove_when_unused(t.store, "a", &read),
			 -EBUSY);
	assert_int_equal(snapshot_rename(t.store, "a", "b"), -EBUSY);
	assert_int_equal(snapshot_remove(t.store, "a"), -EBUSY);
	snapshot_unref(lasting);
	assert_int_equal(snapshot_rename(t.store, "a", "b"), 0);
	snapshot_unref(reader);
}

static void a_name_is_changed_wholly_or_not(void **state)
{
	struct snapshot *reader = NULL, *by_name = NULL;

	(void)state;
	commit("a");
	commit("b");
	assert_int_equal(snapshot_open(t.store, "a", &reader), 0);
	assert_int_equal(snapshot_rename(t.store, "a", "b"), -ENOTUNIQ);
	assert_int_equal(snapshot_rename(t.store, "a", "a"), -ENOTUNIQ);
	assert_int_equal(snapshot_rename(t.store, "none", "c"), -ENOENT);
	assert_int_equal(snapshot_rename(t.store, "a", "x/y"), -EINVAL);
	assert_int_equal(snapshot_rename(t.store, "a", "c"), 0);
	assert_int_equal(snapshot_open(t.store, "a", &by_name), -ENOENT);
	assert_int_equal(snapshot_open(t.store, "c", &by_name), 0);
	snapshot_unref(by_name);
	/* The lease has gone with the file. */
	assert_int_equal(snapshot_remove(t.store, "c"), -EBUSY);
	snapshot_unref(reader);
	assert_int_equal(snapshot_remove(t.store, "c"), 0);
}

static void lists_are_sorted_and_hold_names_only(void **state)
{
	static const char *const names[] = {"b", "a", "B", "\xc3\xa9", "a b"};
	static const char *const sorted[] = {"B", "a", "a b", "b", "\xc3\xa9"};
	char **list = NULL;
	size_t count = 77;

	(void)state;
	assert_int_equal(snapshot_list(t.store, &list, &count), 0);
	assert_int_equal(count, 0);
	snapshot_names_free(list, count);
	for (size_t i = 0; i < 5; i++)
		commit(names[i]);
	scratch_write(manifest_path("new\nline"), "", 0);
	scratch_write(manifest_path("\xff"), "", 0);
	assert_int_equal(snapshot_list(t.store, &list, &count), 0);
	assert_int_equal(count, 5);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(list[i], sorted[i]);
	snapshot_names_free(list, count);
}

static void damage_is_named_and_can_be_removed(void **state)
{
	static const uint8_t garbage[200] = "no manifest of ours";
	struct snapshot *snap = NULL;
	const char *line = "snapshot 'a': damaged manifest: ";

	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		commit("a");
		if (kind == 0)
			scratch_write(manifest_path("a"), "", 0);
		else if (kind == 1)
			scratch_write(manifest_path("a"), garbage, 200);
		else if (kind == 2)
			scratch_flip(manifest_path("a"), -5);
		else
			assert_int_equal(truncate(manifest_path("a"), 5 << 20),
					 0);
		assert_int_equal(snapshot_open(t.store, "a", &snap), -EBADMSG);
		assert_memory_equal(err_text(-EBADMSG), line, strlen(line));
		assert_null(snap);
		assert_int_equal(snapshot_check_free(t.store, "a"), -ENOTUNIQ);
		assert_int_equal(snapshot_remove(t.store, "a"), 0);
	}
}

static void what_is_no_file_is_no_snapshot(void **state)
{
	struct snapshot *snap = NULL;

	(void)state;
	assert_int_equal(mkdir(manifest_path("folder"), 0700), 0);
	assert_int_equal(mkfifo(manifest_path("fifo"), 0600), 0);
	assert_int_equal(symlink("/etc/passwd", manifest_path("link")), 0);
	assert_int_equal(snapshot_open(t.store, "folder", &snap), -EBADMSG);
	assert_int_equal(snapshot_open(t.store, "fifo", &snap), -EBADMSG);
	assert_int_equal(snapshot_open(t.store, "link", &snap), -ELOOP);
	assert_int_equal(snapshot_remove(t.store, "folder"), -EISDIR);
}

static void a_store_opened_for_reading_gives_leases(void **state)
{
	struct snapshot *snap = NULL;
	struct store *reader = NULL;

	(void)state;
	commit("a");
	assert_int_equal(store_open(t.path, STORE_READ, &reader), 0);
	assert_int_equal(snapshot_open(reader, "a", &snap), 0);
	store_unref(reader); /* the snapshot holds it */
	assert_int_equal(snapshot_remove(t.store, "a"), -EBUSY);
	snapshot_unref(snap);
	assert_int_equal(snapshot_remove(t.store, "a"), 0);
}

enum { ROUNDS = 100 };

static void *come_and_go(void *arg)
{
	_Atomic unsigned int *left = arg;

	while (atomic_load(left)) {
		int r = snapshot_commit(t.store, "a", &zeros);

		if (r == 0)
			atomic_fetch_sub(left, 1);
		else if (r != -ENOTUNIQ)
			return arg;
		r = snapshot_remove(t.store, "a");
		if (r < 0 && r != -EBUSY && r != -ENOENT)
			return arg;
	}
	return NULL;
}

/* A lease is on what the name means, or there is none. */
static void names_that_come_and_go_never_confuse(void **state)
{
	_Atomic unsigned int left[2] = {ROUNDS, ROUNDS};
	unsigned int opened = 0;
	pthread_t threads[2];
	void *bad;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go,
						&left[i]),
				 0);
	while (atomic_load(&left[0]) && atomic_load(&left[1])) {
		struct snapshot *snap = NULL;
		int r = snapshot_open(t.store, "a", &snap);

		if (r == -ENOENT)
			continue;
		assert_int_equal(r, 0);
		assert_int_equal(access(manifest_path("a"), F_OK), 0);
		opened++;
		snapshot_unref(snap);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], &bad), 0);
		assert_null(bad);
	}
	assert_true(opened > 0);
	assert_int_equal(temporary_files(), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_is_committed_opens),
		CASE(a_taken_name_is_refused),
		CASE(bad_names_are_refused_everywhere),
		CASE(what_is_not_there_is_said_so),
		CASE(a_lease_holds_removal_off),
		CASE(a_lease_dies_with_its_process),
		CASE(one_that_is_read_goes_out_of_sight_and_then_for_good),
		CASE(what_a_killed_reader_leaves_is_swept_later),
		CASE(who_needs_the_name_keeps_it),
		CASE(a_name_is_changed_wholly_or_not),
		CASE(lists_are_sorted_and_hold_names_only),
		CASE(damage_is_named_and_can_be_removed),
		CASE(what_is_no_file_is_no_snapshot),
		CASE(a_store_opened_for_reading_gives_leases),
		CASE(names_that_come_and_go_never_confuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
