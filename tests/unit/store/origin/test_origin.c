#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/origin/origin.h"
#include "fs/store/publish/publish.h"
#include "fs/store/snapshot/snapshot.h"
#include "tests/unit/store/scratch.h"

static char folder[SCRATCH_PATH_MAX];
static struct store *store;

static int set_up(void **state)
{
	(void)state;
	scratch_make(folder);
	assert_int_equal(store_init(scratch_file(folder, "store"), NULL), 0);
	assert_int_equal(
		store_open(scratch_file(folder, "store"), STORE_WRITE, &store),
		0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	store_unref(store);
	scratch_remove(folder);
	return 0;
}

static void write_image(const char *name, char with)
{
	char image[8192];

	memset(image, with, sizeof(image));
	scratch_write(scratch_file(folder, name), image, sizeof(image));
}

static void publish_as(const char *name, const char *file)
{
	struct publish_options o = PUBLISH_OPTIONS_INIT;
	struct publish_result result;
	char path[2 * SCRATCH_PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s", scratch_file(folder, file));
	o.name = name;
	o.memory = (struct publish_file){"memory", path};
	assert_int_equal(publish(store, &o, &result), 0);
}

static struct manifest_origin origin(const char *file)
{
	int fd = open(scratch_file(folder, file), O_PATH | O_CLOEXEC);
	struct manifest_origin o = {0};

	assert_true(fd >= 0);
	assert_int_equal(origin_of(fd, &o), 0);
	(void)close(fd);
	return o;
}

static int find(const char *file, char name[PAGER_NAME_MAX + 1])
{
	struct manifest_origin o = origin(file);

	return origin_find(store, &o, name);
}

static void what_was_published_is_found(void **state)
{
	char name[PAGER_NAME_MAX + 1];

	(void)state;
	write_image("a", 'a');
	write_image("b", 'a');
	assert_int_equal(find("a", name), -ENOENT);
	publish_as("one", "a");
	publish_as("two", "b");
	assert_int_equal(find("a", name), 0);
	assert_string_equal(name, "one");
	assert_int_equal(find("b", name), 0);
	assert_string_equal(name, "two");
	assert_int_equal(snapshot_remove(store, "one"), 0);
	assert_int_equal(find("a", name), -ENOENT);
}

/* At once, as a clock that stands for a tick would hide. */
static void every_change_shows(void **state)
{
	char name[PAGER_NAME_MAX + 1], snapshot[16];

	(void)state;
	for (int i = 0; i < 50; i++) {
		int fd;

		(void)snprintf(snapshot, sizeof(snapshot), "s%d", i);
		write_image("a", (char)i);
		publish_as(snapshot, "a");
		assert_int_equal(find("a", name), 0);
		assert_string_equal(name, snapshot);
		fd = open(scratch_file(folder, "a"), O_WRONLY | O_CLOEXEC);
		assert_int_equal(pwrite(fd, "x", 1, 5000), 1);
		(void)close(fd);
		assert_int_equal(find("a", name), -ENOENT);
	}
}

static void another_file_in_its_place_is_another(void **state)
{
	char name[PAGER_NAME_MAX + 1], from[2 * SCRATCH_PATH_MAX];
	struct timespec times[2];
	struct stat st;

	(void)state;
	write_image("a", 'a');
	publish_as("one", "a");
	assert_int_equal(stat(scratch_file(folder, "a"), &st), 0);
	write_image("b", 'b');
	times[0] = times[1] = st.st_mtim;
	(void)snprintf(from, sizeof(from), "%s", scratch_file(folder, "b"));
	assert_int_equal(utimensat(AT_FDCWD, from, times, 0), 0);
	assert_int_equal(rename(from, scratch_file(folder, "a")), 0);
	assert_int_equal(find("a", name), -ENOENT);
}

static void a_time_to_come_settles_never(void **state)
{
	char name[PAGER_NAME_MAX + 1];
	struct timespec times[2];
	struct manifest_origin o;

	(void)state;
	write_image("a", 'a');
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &times[0]), 0);
	times[0].tv_sec += 3600;
	times[1] = times[0];
	assert_int_equal(
		utimensat(AT_FDCWD, scratch_file(folder, "a"), times, 0), 0);
	o = origin("a");
	assert_false(origin_settle(&o));
	publish_as("one", "a");
	assert_int_equal(find("a", name), -ENOENT);
}

static void other_than_files_have_none(void **state)
{
	struct manifest_origin o;
	int fd = open("/dev/null", O_PATH | O_CLOEXEC);

	(void)state;
	assert_int_equal(origin_of(fd, &o), -EINVAL);
	(void)close(fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_was_published_is_found),
		CASE(every_change_shows),
		CASE(another_file_in_its_place_is_another),
		CASE(a_time_to_come_settles_never),
		CASE(other_than_files_have_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
