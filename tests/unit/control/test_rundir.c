#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "pagerd/control/rundir.h"
#include "tests/unit/store/scratch.h"

struct fixture {
	char folder[SCRATCH_PATH_MAX];
	char path[SCRATCH_PATH_MAX]; /* FOLDER/run, not there yet */
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_make(f->folder);
	(void)snprintf(f->path, sizeof(f->path), "%s",
		       scratch_file(f->folder, "run"));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	scratch_remove(f->folder);
	free(f);
	return 0;
}

static mode_t mode_of(const char *folder, const char *name)
{
	struct stat st;

	assert_int_equal(lstat(scratch_file(folder, name), &st), 0);
	return st.st_mode;
}

static int connect_to(const char *folder)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		       scratch_file(folder, "control.sock"));
	r = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0
		    ? -errno
		    : 0;
	(void)close(fd);
	return r;
}

static void modes_do_not_hang_on_the_umask(void **state)
{
	static const mode_t masks[] = {0, 077, 0777};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		mode_t before = umask(masks[i]);
		struct rundir *rd;
		int fd;

		assert_int_equal(rundir_open(f->path, &rd), 0);
		fd = rundir_listen(rd);
		(void)umask(before);
		assert_true(fd >= 0);
		assert_int_equal(mode_of(f->path, "."), S_IFDIR | 0711);
		assert_int_equal(mode_of(f->path, "sessions"), S_IFDIR | 0711);
		assert_int_equal(mode_of(f->path, "control.sock"),
				 S_IFSOCK | 0600);
		assert_int_equal(connect_to(f->path), 0);
		(void)close(fd);
		rundir_close(rd);
		assert_int_equal(scratch_count(f->path), 2);
		scratch_remove(f->path);
	}
}

/* PITFALLS 22. */
static void second_is_refused_by_pid(void **state)
{
	struct fixture *f = *state;
	struct rundir *first, *second = NULL;
	char expected[ERR_TEXT_MAX];

	assert_int_equal(rundir_open(f->path, &first), 0);
	assert_int_equal(rundir_open(f->path, &second), -EBUSY);
	assert_null(second);
	(void)snprintf(expected, sizeof(expected),
		       "%s: another pagerd (pid %d) runs here; stop it or "
		       "choose another --runtime",
		       f->path, getpid());
	assert_string_equal(err_text(-EBUSY), expected);
	rundir_close(first);
	assert_int_equal(rundir_open(f->path, &second), 0);
	rundir_close(second);
}

/* Opens, listens, and dies without a word. */
static void die_while_listening(const char *path)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rundir *rd;

		if (rundir_open(path, &rd) < 0 || rundir_listen(rd) < 0)
			_exit(1);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

/* PITFALLS 23. */
static void leftovers_of_the_dead_are_replaced(void **state)
{
	struct fixture *f = *state;
	struct rundir *rd;
	int fd;

	die_while_listening(f->path);
	assert_int_equal(connect_to(f->path), -ECONNREFUSED);
	scratch_write(scratch_file(f->path, "control.sock.new"), "x", 1);
	assert_int_equal(rundir_open(f->path, &rd), 0);
	fd = rundir_listen(rd);
	assert_true(fd >= 0);
	assert_int_equal(connect_to(f->path), 0);
	(void)close(fd);
	rundir_close(rd);
}

static void unsafe_folders_are_refused(void **state)
{
	struct fixture *f = *state;
	struct rundir *rd = NULL;

	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_equal(chmod(f->path, 0775), 0);
	assert_int_equal(rundir_open(f->path, &rd), -EPERM);
	assert_non_null(strstr(err_text(-EPERM), "others may write to it"));
	assert_int_equal(chmod(f->path, 0700), 0);
	assert_int_equal(mkdir(scratch_file(f->path, "sessions"), 0700), 0);
	assert_int_equal(chmod(scratch_file(f->path, "sessions"), 0777), 0);
	assert_int_equal(rundir_open(f->path, &rd), -EPERM);
	assert_null(rd);
}

static void another_owner_is_refused(void **state)
{
	struct fixture *f = *state;
	struct rundir *rd = NULL;

	if (geteuid() != 0)
		skip();
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_equal(chown(f->path, 65534, 65534), 0);
	assert_int_equal(rundir_open(f->path, &rd), -EPERM);
	assert_non_null(strstr(err_text(-EPERM), "belongs to user 65534"));
	assert_null(rd);
}

static void what_is_no_folder_is_refused(void **state)
{
	struct fixture *f = *state;
	struct rundir *rd = NULL;

	scratch_write(f->path, "x", 1);
	assert_int_equal(rundir_open(f->path, &rd), -ENOTDIR);
	assert_int_equal(rundir_open(scratch_file(f->folder, "a/b"), &rd),
			 -ENOENT);
	assert_null(rd);
}

static void long_paths_are_refused(void **state)
{
	struct fixture *f = *state;
	char name[100];
	struct rundir *rd;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(rundir_open(scratch_file(f->folder, name), &rd), 0);
	assert_int_equal(rundir_listen(rd), -ENAMETOOLONG);
	rundir_close(rd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(modes_do_not_hang_on_the_umask),
		CASE(second_is_refused_by_pid),
		CASE(leftovers_of_the_dead_are_replaced),
		CASE(unsafe_folders_are_refused),
		CASE(another_owner_is_refused),
		CASE(what_is_no_folder_is_refused),
		CASE(long_paths_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
