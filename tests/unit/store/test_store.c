#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/store.h"
#include "fs/store/superblock.h"
#include "tests/unit/store/scratch.h"

static char folder[SCRATCH_PATH_MAX];

static int make_folder(void **state)
{
	(void)state;
	scratch_make(folder);
	return 0;
}

static int make_store(void **state)
{
	struct store_init_options options = {
		.secret = scratch_colliding_secret(),
	};

	make_folder(state);
	assert_int_equal(store_init(folder, &options), 0);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
#ifdef PAGER_INJECT
	assert_int_equal(inject_configure(NULL), 0);
#endif
	scratch_remove(folder);
	return 0;
}

static const char *in_store(const char *name)
{
	return scratch_file(folder, name);
}

static struct store *open_as(enum store_access access)
{
	struct store *s = NULL;

	assert_int_equal(store_open(folder, access, &s), 0);
	return s;
}

static void assert_mode(const char *name, mode_t mode)
{
	struct stat st;

	assert_int_equal(stat(in_store(name), &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void init_makes_a_store_that_opens(void **state)
{
	struct store *s;

	(void)state;
	assert_mode("format", 0600);
	assert_mode("packs", 0700);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
	assert_int_equal(scratch_count(folder), 7);
	s = open_as(STORE_WRITE);
	assert_memory_equal(store_secret(s), scratch_colliding_secret(),
			    PAGER_SECRET_SIZE);
	assert_string_equal(store_path(s), folder);
	store_unref(s);
}

static void init_makes_the_folder_too(void **state)
{
	char path[SCRATCH_PATH_MAX * 2];
	struct store *s;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/new", folder);
	assert_int_equal(store_init(path, NULL), 0);
	assert_int_equal(store_open(path, STORE_READ, &s), 0);
	store_unref(s);
	(void)snprintf(path, sizeof(path), "%s/none/new", folder);
	assert_int_equal(store_init(path, NULL), -ENOENT);
}

static void secrets_and_ids_are_random(void **state)
{
	char path[2][SCRATCH_PATH_MAX * 2];
	struct store *s[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		(void)snprintf(path[i], sizeof(path[i]), "%s/%d", folder, i);
		assert_int_equal(store_init(path[i], NULL), 0);
		assert_int_equal(store_open(path[i], STORE_READ, &s[i]), 0);
	}
	assert_memory_not_equal(store_id(s[0]), store_id(s[1]), 16);
	assert_memory_not_equal(store_secret(s[0]), store_secret(s[1]),
				PAGER_SECRET_SIZE);
	store_unref(s[0]);
	store_unref(s[1]);
}

static void init_leaves_what_is_there_alone(void **state)
{
	(void)state;
	assert_int_equal(store_init(folder, NULL), 0);
	assert_int_equal(store_init(folder, NULL), -EEXIST);
	assert_non_null(strstr(err_text(-EEXIST), "holds a store already"));

	/* A store that has lost its superblock is not an empty folder. */
	assert_int_equal(unlink(in_store("format")), 0);
	scratch_write(in_store("packs/0000000000000001.pack"), "x", 1);
	assert_int_equal(store_init(folder, NULL), -ENOTEMPTY);
	assert_int_equal(unlink(in_store("packs/0000000000000001.pack")), 0);

	/* What a crashed init leaves is. */
	scratch_write(in_store("tmp/format.0123"), "x", 1);
	assert_int_equal(store_init(folder, NULL), 0);

	assert_int_equal(unlink(in_store("format")), 0);
	scratch_write(in_store("notes.txt"), "x", 1);
	assert_int_equal(store_init(folder, NULL), -ENOTEMPTY);
	assert_non_null(strstr(err_text(-ENOTEMPTY), "notes.txt"));
}

static int status_of(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void of_many_inits_one_wins(void **state)
{
	enum { CHILDREN = 8 };
	pid_t children[CHILDREN];
	unsigned int won = 0;
	struct store *s;

	(void)state;
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			int r = store_init(folder, NULL);

			_exit(r == 0 ? 0 : r == -EEXIST ? 1 : 2);
		}
	}
	for (int i = 0; i < CHILDREN; i++) {
		int status = status_of(children[i]);

		assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
		won += WEXITSTATUS(status) == 0;
	}
	assert_int_equal(won, 1);
	s = open_as(STORE_WRITE);
	store_unref(s);
}

static void assert_refused(int code, const char *words)
{
	struct store *s = NULL;

	assert_int_equal(store_open(folder, STORE_WRITE, &s), code);
	assert_null(s);
	assert_non_null(strstr(err_text(code), words));
	assert_non_null(strstr(err_text(code), folder));
	assert_int_equal(store_open(folder, STORE_READ, &s), code);
}

static void what_is_no_store_is_refused(void **state)
{
	struct store *s;

	(void)state;
	assert_refused(-EMEDIUMTYPE, "no file `format`");
	scratch_write(in_store("format"), "", 0);
	assert_refused(-EBADMSG, "cut short");
	scratch_write(in_store("format"), "#!/bin/sh\necho\n", 15);
	assert_refused(-EMEDIUMTYPE, "another program's");
	assert_int_equal(unlink(in_store("format")), 0);
	assert_int_equal(mkfifo(in_store("format"), 0600), 0);
	assert_refused(-EMEDIUMTYPE, "no small file");
	assert_int_equal(store_open(in_store("nowhere"), STORE_READ, &s),
			 -ENOENT);
	assert_non_null(strstr(err_text(-ENOENT), "pagerctl init"));
	scratch_write(in_store("file"), "x", 1);
	assert_int_equal(store_open(in_store("file"), STORE_READ, &s),
			 -EMEDIUMTYPE);
}

struct superblock_case {
	size_t at; /* byte to turn over, or: */
	size_t len;
	bool sealed; /* with a checksum that matches */
	int code;
	const char *words;
};

static void damaged_superblocks_are_refused(void **state)
{
	static const struct superblock_case cases[] = {
		{0, 0, false, -EMEDIUMTYPE, "another program's"},
		{20, 0, false, -EBADMSG, "checksum"},
		{100, 0, false, -EBADMSG, "checksum"},
		{400, 0, false, -EBADMSG, "checksum"},
		{511, 0, false, -EBADMSG, "checksum"},
		{12, 0, true, -EBADMSG, "no program writes"},
		{300, 0, true, -EBADMSG, "no program writes"},
		{0, 511, false, -EBADMSG, "511 bytes"},
		{0, 513, false, -EBADMSG, "513 bytes"},
		{0, 10, false, -EBADMSG, "10 bytes"},
		{0, 4, false, -EBADMSG, "cut short"},
	};
	struct pager_superblock sb;
	uint8_t *good, bad[600];
	size_t len;

	(void)state;
	good = scratch_read(in_store("format"), &len);
	assert_int_equal(len, sizeof(sb));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(bad, 0, sizeof(bad));
		memcpy(bad, good, len);
		if (!cases[i].len)
			bad[cases[i].at] ^= 1;
		if (cases[i].sealed) {
			memcpy(&sb, bad, sizeof(sb));
			superblock_seal(&sb);
			memcpy(bad, &sb, sizeof(sb));
		}
		scratch_write(in_store("format"), bad,
			      cases[i].len ? cases[i].len : len);
		assert_refused(cases[i].code, cases[i].words);
	}
	free(good);
}

static void a_newer_format_is_told(void **state)
{
	struct pager_superblock sb = {
		.magic = PAGER_STORE_MAGIC,
		.version = 2,
	};

	(void)state;
	scratch_write(in_store("format"), &sb, sizeof(sb));
	assert_refused(-ENOTSUP, "has format 2, this program reads 1: use a "
				 "newer pagerd");
	scratch_write(in_store("format"), &sb, 16);
	assert_refused(-ENOTSUP, "has format 2");
}

static void lost_folders_are_told_or_made_again(void **state)
{
	struct store *s;

	(void)state;
	assert_int_equal(rmdir(in_store("tmp")), 0);
	assert_int_equal(rmdir(in_store("index")), 0);
	assert_int_equal(unlink(in_store("lock")), 0);
	s = open_as(STORE_READ);
	store_unref(s);
	s = open_as(STORE_WRITE);
	store_unref(s);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
	assert_int_equal(rmdir(in_store("packs")), 0);
	assert_refused(-EBADMSG, "no folder `packs`");
}

static void folders_that_others_may_write_are_refused(void **state)
{
	(void)state;
	assert_int_equal(chmod(folder, 0770), 0);
	assert_refused(-EPERM, "chmod go-w");
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(chmod(in_store("packs"), 0777), 0);
	assert_refused(-EPERM, "packs");
	assert_int_equal(chmod(in_store("packs"), 0700), 0);
	store_unref(open_as(STORE_WRITE));
}

static void a_folder_of_another_user_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip(); /* only root can give a folder away */
	assert_int_equal(chown(folder, 12345, (gid_t)-1), 0);
	assert_refused(-EPERM, "belongs to user 12345");
}

/* In a mount namespace of its own: 0, or where it went wrong. */
static int open_on_read_only_mount(void)
{
	struct store *s;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(folder, folder, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, folder, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) <
		    0)
		return 77;
	if (store_open(folder, STORE_WRITE, &s) != -EROFS)
		return 1;
	if (!strstr(err_text(-EROFS), "cannot be written"))
		return 2;
	if (store_open(folder, STORE_READ, &s) != 0)
		return 3;
	store_unref(s);
	return 0;
}

static void a_read_only_store_can_be_read(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0)
		_exit(open_on_read_only_mount());
	status = status_of(child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip(); /* no right to mount */
	assert_int_equal(status, 0);
}

static void digests_collide_with_the_known_secret_only(void **state)
{
	uint8_t a[PAGER_PAGE_SIZE], b[PAGER_PAGE_SIZE];
	struct pager_digest da, db;
	char path[SCRATCH_PATH_MAX * 2];
	struct store *s = open_as(STORE_READ), *other;

	(void)state;
	scratch_fixture("collide-a.bin", a);
	scratch_fixture("collide-b.bin", b);
	assert_memory_not_equal(a, b, sizeof(a));
	store_digest(s, a, PAGER_KIND_PAGE, &da);
	store_digest(s, b, PAGER_KIND_PAGE, &db);
	assert_memory_equal(&da, &db, sizeof(da));
	store_digest(s, b, PAGER_KIND_NODE_1, &db);
	assert_memory_not_equal(&da, &db, sizeof(da));
	(void)snprintf(path, sizeof(path), "%s/other", folder);
	assert_int_equal(store_init(path, NULL), 0);
	assert_int_equal(store_open(path, STORE_READ, &other), 0);
	store_digest(other, a, PAGER_KIND_PAGE, &da);
	store_digest(other, b, PAGER_KIND_PAGE, &db);
	assert_memory_not_equal(&da, &db, sizeof(da));
	store_unref(other);
	store_unref(s);
}

static void locks_exclude_and_die_with_their_holder(void **state)
{
	struct store *s = open_as(STORE_WRITE);
	int a = store_lock(s, STORE_LOCK_PUBLISH, false, false);
	int b = store_lock(s, STORE_LOCK_PUBLISH, false, false);
	int told[2];
	pid_t child;
	char byte;

	(void)state;
	assert_true(a >= 0 && b >= 0);
	assert_int_equal(store_lock(s, STORE_LOCK_PUBLISH, true, false),
			 -EBUSY);
	/* Another byte is another lock. */
	close(store_lock(s, STORE_LOCK_INDEX, true, false));
	close(a);
	close(b);
	assert_int_equal(pipe(told), 0);
	child = fork();
	if (child == 0) {
		if (store_lock(s, STORE_LOCK_PUBLISH, true, false) >= 0)
			(void)!write(told[1], "x", 1);
		(void)pause();
		_exit(1);
	}
	assert_int_equal(read(told[0], &byte, 1), 1);
	assert_int_equal(store_lock(s, STORE_LOCK_PUBLISH, false, false),
			 -EBUSY);
	assert_int_equal(kill(child, SIGKILL), 0);
	(void)status_of(child);
	a = store_lock(s, STORE_LOCK_PUBLISH, true, true);
	assert_true(a >= 0);
	close(a);
	close(told[0]);
	close(told[1]);
	store_unref(s);
}

static void sweeping_waits_until_nobody_publishes(void **state)
{
	struct store *s = open_as(STORE_WRITE);
	int publisher = store_lock(s, STORE_LOCK_PUBLISH, false, true);

	(void)state;
	scratch_write(in_store("tmp/pack.0123"), "x", 1);
	assert_int_equal(store_sweep_tmp(s), 0);
	assert_int_equal(scratch_count(in_store("tmp")), 1);
	close(publisher);
	assert_int_equal(store_sweep_tmp(s), 0);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
	store_unref(s);
}

/* -- the counter --------------------------------------------------------- */

static uint64_t next_pack(struct store *s)
{
	uint64_t number = 0;

	assert_int_equal(store_next_pack(s, &number), 0);
	return number;
}

static void pack_numbers_ascend_over_restarts(void **state)
{
	struct store *s = open_as(STORE_WRITE);

	(void)state;
	assert_int_equal(next_pack(s), 1);
	assert_int_equal(next_pack(s), 2);
	store_unref(s);
	s = open_as(STORE_WRITE);
	assert_int_equal(next_pack(s), 3);
	/* A counter restored from a backup is behind the packs. */
	scratch_write(in_store("packs/000000000000002a.pack"), "", 0);
	assert_int_equal(next_pack(s), 0x2b);
	store_unref(s);
}

static void a_lost_counter_jumps(void **state)
{
	struct store *s = open_as(STORE_WRITE);
	const uint64_t margin = 1 << 20;

	(void)state;
	assert_int_equal(next_pack(s), 1);
	assert_int_equal(unlink(in_store("sequence")), 0);
	assert_int_equal(next_pack(s), margin);
	assert_int_equal(next_pack(s), margin + 1);
	scratch_write(in_store("packs/0000000000200000.pack"), "", 0);
	scratch_flip(in_store("sequence"), 0);
	assert_int_equal(next_pack(s), 0x200000 + margin);
	scratch_write(in_store("sequence"), "", 0);
	assert_int_equal(next_pack(s), 0x200000 + margin);
	scratch_write(in_store("sequence"), "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
		      16);
	assert_int_equal(next_pack(s), 0x200000 + margin);
	store_unref(s);
}

static void the_last_number_is_the_last(void **state)
{
	struct store *s = open_as(STORE_WRITE);
	uint64_t number = 7;

	(void)state;
	scratch_write(in_store("packs/0000007fffffffff.pack"), "", 0);
	assert_int_equal(store_next_pack(s, &number), -EOVERFLOW);
	assert_int_equal(number, 7);
	store_unref(s);
}

#define DRAWS 50
static void *draw_many(void *arg)
{
	uint64_t *numbers = arg;
	struct store *s = open_as(STORE_WRITE);

	for (int i = 0; i < DRAWS; i++)
		numbers[i] = next_pack(s);
	store_unref(s);
	return NULL;
}

static void no_two_draw_one_number(void **state)
{
	enum { THREADS = 4 };
	static uint64_t numbers[THREADS][DRAWS];
	bool seen[THREADS * DRAWS + 1] = {false};
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, draw_many,
						numbers[i]),
				 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < THREADS * DRAWS; i++) {
		uint64_t n = numbers[i / DRAWS][i % DRAWS];

		assert_in_range(n, 1, THREADS * DRAWS);
		assert_false(seen[n]);
		seen[n] = true;
	}
}

#ifdef PAGER_INJECT
static void a_counter_that_cannot_be_written_gives_nothing(void **state)
{
	static const struct {
		const char *fault;
		int code;
	} cases[] = {
		{"sequence-write:ENOSPC", -ENOSPC},
		{"sequence-write:EIO", -EIO},
		{"sequence-write:EDQUOT", -EDQUOT},
	};
	struct store *s = open_as(STORE_WRITE);
	uint64_t number = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(inject_configure(cases[i].fault), 0);
		assert_int_equal(store_next_pack(s, &number), cases[i].code);
		assert_int_equal(number, 0);
	}
	assert_int_equal(inject_configure("sequence-write:short+"), 0);
	assert_int_equal(next_pack(s), 1);
	store_unref(s);
}

static void a_torn_counter_never_goes_back(void **state)
{
	struct store *s = open_as(STORE_WRITE);
	uint64_t before = 0, number;
	pid_t child;

	(void)state;
	for (int i = 0; i < 3; i++)
		before = next_pack(s);
	child = fork();
	if (child == 0) {
		/* Half of it is written, then we die. */
		(void)inject_configure(
			"sequence-write:short,sequence-write:crash@2");
		(void)store_next_pack(s, &number);
		_exit(0);
	}
	assert_true(WIFSIGNALED(status_of(child)));
	assert_true(next_pack(s) > before);
	store_unref(s);
}

/* However init ends, the next one makes a store of the folder. */
static void init_that_fails_can_be_repeated(void **state)
{
	static const char *const faults[] = {
		"sequence-write:ENOSPC",
		"dir-sync:EIO",
		"dir-sync:EIO@2",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		char path[SCRATCH_PATH_MAX * 2];
		struct store *s;
		int r;

		(void)snprintf(path, sizeof(path), "%s/%zu", folder, i);
		assert_int_equal(inject_configure(faults[i]), 0);
		assert_int_not_equal(store_init(path, NULL), 0);
		r = store_init(path, NULL);
		assert_true(r == 0 || r == -EEXIST);
		assert_int_equal(store_open(path, STORE_WRITE, &s), 0);
		store_unref(s);
	}
}

static void init_that_dies_can_be_repeated(void **state)
{
	static const char *const faults[] = {
		"sequence-write:crash",
		"dir-sync:crash",
		"dir-sync:crash@2",
		"dir-sync:crash@3",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		char path[SCRATCH_PATH_MAX * 2];
		struct store *s;
		pid_t child;
		int r;

		(void)snprintf(path, sizeof(path), "%s/%zu", folder, i);
		child = fork();
		if (child == 0) {
			(void)inject_configure(faults[i]);
			(void)store_init(path, NULL);
			_exit(0);
		}
		assert_true(WIFSIGNALED(status_of(child)));
		r = store_init(path, NULL);
		assert_true(r == 0 || r == -EEXIST);
		assert_int_equal(store_open(path, STORE_WRITE, &s), 0);
		store_unref(s);
	}
}
#endif

#define IN_FOLDER(f) \
	cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
#define IN_STORE(f) \
	cmocka_unit_test_setup_teardown(f, make_store, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_STORE(init_makes_a_store_that_opens),
		IN_FOLDER(init_makes_the_folder_too),
		IN_FOLDER(secrets_and_ids_are_random),
		IN_FOLDER(init_leaves_what_is_there_alone),
		IN_FOLDER(of_many_inits_one_wins),
		IN_FOLDER(what_is_no_store_is_refused),
		IN_STORE(damaged_superblocks_are_refused),
		IN_STORE(a_newer_format_is_told),
		IN_STORE(lost_folders_are_told_or_made_again),
		IN_STORE(folders_that_others_may_write_are_refused),
		IN_STORE(a_folder_of_another_user_is_refused),
		IN_STORE(a_read_only_store_can_be_read),
		IN_STORE(digests_collide_with_the_known_secret_only),
		IN_STORE(locks_exclude_and_die_with_their_holder),
		IN_STORE(sweeping_waits_until_nobody_publishes),
		IN_STORE(pack_numbers_ascend_over_restarts),
		IN_STORE(a_lost_counter_jumps),
		IN_STORE(the_last_number_is_the_last),
		IN_STORE(no_two_draw_one_number),
#ifdef PAGER_INJECT
		IN_STORE(a_counter_that_cannot_be_written_gives_nothing),
		IN_STORE(a_torn_counter_never_goes_back),
		IN_FOLDER(init_that_fails_can_be_repeated),
		IN_FOLDER(init_that_dies_can_be_repeated),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
