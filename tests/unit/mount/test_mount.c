#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/mount/mount.h"
#include "fs/store/snapshot/snapshot.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/mount/mount_fixture.h"

#define SIZE ((size_t)300 * PAGER_PAGE_SIZE)

static struct {
	struct mount_fixture fixture;
	struct mount_options options;
	char path[2 * SCRATCH_PATH_MAX];
	char memory[3 * SCRATCH_PATH_MAX];
	uint8_t *bytes;
	unsigned int files; /* open ones of this process, before the mount */
} t;

static unsigned int open_files(void)
{
	return scratch_count("/proc/self/fd");
}

static int setup(void **state)
{
	(void)state;
	mount_fixture_open(&t.fixture);
	t.bytes = image_make(5, SIZE);
	mount_fixture_publish(&t.fixture, "web", t.bytes, SIZE, NULL);
	(void)snprintf(t.path, sizeof(t.path), "%s/mnt", t.fixture.folder);
	(void)snprintf(t.memory, sizeof(t.memory), "%s/snapshots/web/memory",
		       t.path);
	assert_int_equal(mkdir(t.path, 0700), 0);
	t.options = (struct mount_options){
		.view = t.fixture.view,
		.path = t.path,
		.threads = 3,
		.nice = 1,
		.uid = geteuid(),
		.gid = getegid(),
	};
	t.files = open_files();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(mount_fixture_pinned(&t.fixture), 0);
	mount_fixture_close(&t.fixture);
	free(t.bytes);
	return 0;
}

static struct mount *start(void)
{
	struct mount *m = NULL;

	assert_int_equal(mount_new(&t.options, &m), 0);
	assert_int_equal(mount_start(m), 0);
	return m;
}

static void check_memory(void)
{
	size_t len;
	uint8_t *read = scratch_read(t.memory, &len);

	assert_int_equal(len, SIZE);
	assert_memory_equal(read, t.bytes, SIZE);
	free(read);
}

static void it_starts_and_stops_without_a_trace(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		struct mount *m = start();

		check_memory();
		mount_free(m);
		assert_int_equal(access(t.memory, F_OK), -1);
	}
	/* Packs stay open in the store, once each. */
	assert_in_range(open_files(), t.files, t.files + 2);
}

static void it_can_be_given_up_before_it_starts(void **state)
{
	struct mount *m = NULL;

	(void)state;
	assert_int_equal(mount_new(&t.options, &m), 0);
	mount_free(m);
	mount_free(NULL);
	assert_int_equal(scratch_count(t.path), 0);
}

static void what_is_open_at_the_end_leases_nothing(void **state)
{
	struct mount *m = start();
	int fd = open(t.memory, O_RDONLY | O_CLOEXEC);
	DIR *folder = opendir(t.path);
	char byte;

	(void)state;
	assert_true(fd >= 0 && folder);
	assert_int_equal(snapshot_remove(t.fixture.store, "web"), -EBUSY);
	mount_free(m);
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ENOTCONN);
	assert_int_equal(snapshot_remove(t.fixture.store, "web"), 0);
	(void)close(fd);
	(void)closedir(folder);
}

static void it_tells_when_it_was_unmounted(void **state)
{
	struct mount *m = start();
	struct pollfd ended = {.fd = mount_ended_fd(m), .events = POLLIN};

	(void)state;
	check_memory();
	assert_int_equal(poll(&ended, 1, 0), 0);
	assert_int_equal(umount2(t.path, 0), 0);
	assert_int_equal(poll(&ended, 1, 60000), 1);
	mount_free(m);
}

static void a_path_that_is_no_folder_is_refused(void **state)
{
	struct mount *m;

	(void)state;
	t.options.path = "/dev/none";
	assert_int_equal(mount_new(&t.options, &m), -ENOENT);
	assert_non_null(strstr(err_text(-ENOENT), "/dev/none"));
	t.options.path = "/dev/null";
	assert_int_equal(mount_new(&t.options, &m), -ENOTDIR);
	t.options.path = "";
	assert_int_equal(mount_new(&t.options, &m), -ENOENT);
	assert_int_equal(open_files(), t.files);
}

static void a_path_may_be_relative_and_end_in_slashes(void **state)
{
	char path[3 * SCRATCH_PATH_MAX];
	struct mount *m;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/../mnt//", t.path);
	t.options.path = path;
	m = start();
	check_memory();
	mount_free(m);
	(void)snprintf(path, sizeof(path), "%s/.", t.path);
	m = start();
	check_memory();
	mount_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		TEST(it_starts_and_stops_without_a_trace),
		TEST(it_can_be_given_up_before_it_starts),
		TEST(what_is_open_at_the_end_leases_nothing),
		TEST(it_tells_when_it_was_unmounted),
		TEST(a_path_that_is_no_folder_is_refused),
		TEST(a_path_may_be_relative_and_end_in_slashes),
	};

	return cmocka_run_group_tests_name("mount", tests, NULL, NULL);
}
