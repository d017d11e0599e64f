#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/store/publish/publishing.h"
#include "tests/unit/store/scratch.h"

/* -- bad input ------------------------------------------------------------- */

static void bad_memory_is_refused(void **state)
{
	struct publish_options o = publishing_options("bad");
	char path[4 * SCRATCH_PATH_MAX], line[5 * SCRATCH_PATH_MAX];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	(void)snprintf(line, sizeof(line),
		       "cannot read memory file '%s': No such file or "
		       "directory",
		       t.file);
	publishing_bad(&o, -ENOENT, line);
	scratch_write(t.file, "", 0);
	(void)snprintf(line, sizeof(line), "memory file '%s' is empty", t.file);
	publishing_bad(&o, -EINVAL, line);
	o.memory.path = t.folder;
	(void)snprintf(line, sizeof(line), "memory file '%s' is a directory",
		       t.folder);
	publishing_bad(&o, -EINVAL, line);
	o.memory.path = "/dev/zero";
	publishing_bad(
		&o, -EINVAL,
		"memory file '/dev/zero' is no regular file and no pipe");
	o.memory.path = "/dev/null";
	publishing_bad(&o, -EINVAL, NULL);
	(void)snprintf(path, sizeof(path), "%s/s", t.folder);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (void *)&address, sizeof(address)), 0);
	o.memory.path = path;
	publishing_bad(&o, -ENXIO, NULL);
	(void)close(fd);
	assert_int_equal(publishing_packs(), 0);
}

static void an_empty_pipe_is_refused(void **state)
{
	struct publish_options o = publishing_options("bad");
	char path[64];
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	o.memory.path = path;
	image_wait(image_feed(ends[1], NULL, 0));
	publishing_bad(&o, -EINVAL, NULL);
	(void)close(ends[0]);
}

static void an_unreadable_file_is_refused(void **state)
{
	struct publish_options o = publishing_options("bad");

	(void)state;
	if (geteuid() == 0)
		skip(); /* root reads everything */
	scratch_write(t.file, "x", 1);
	assert_int_equal(chmod(t.file, 0), 0);
	publishing_bad(&o, -EACCES, NULL);
}

static void bad_options_are_refused(void **state)
{
	static const struct publish_file twice[] = {{"vmstate", "/dev/null"},
						    {"vmstate", "/dev/null"}},
					 memory[] = {{"memory", "/dev/null"}},
					 slash[] = {{"a/b", "/dev/null"}},
					 from_stdin[] = {{"vmstate", "-"}},
					 missing[] = {{"vmstate", "/none"}};
	static const struct publish_label same[] = {{"k", "1"}, {"k", "2"}},
					  unnamed[] = {{"", "1"}};
	static const struct {
		const struct publish_file *files;
		unsigned int file_count;
		const struct publish_label *labels;
		unsigned int label_count;
		const char *parent;
		int code;
	} bad[] = {
		{twice, 2, NULL, 0, NULL, -EINVAL},
		{memory, 1, NULL, 0, NULL, -EINVAL},
		{slash, 1, NULL, 0, NULL, -EINVAL},
		{from_stdin, 1, NULL, 0, NULL, -EINVAL},
		{missing, 1, NULL, 0, NULL, -ENOENT},
		{missing, 65, NULL, 0, NULL, -EINVAL},
		{NULL, 0, same, 2, NULL, -EINVAL},
		{NULL, 0, unnamed, 1, NULL, -EINVAL},
		{NULL, 0, same, 65, NULL, -EINVAL},
		{NULL, 0, NULL, 0, "none", -ENOENT},
		{NULL, 0, NULL, 0, "../x", -EINVAL},
	};

	(void)state;
	scratch_write(t.file, "x", 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct publish_options o = publishing_options("bad");

		o.files = bad[i].files;
		o.file_count = bad[i].file_count;
		o.labels = bad[i].labels;
		o.label_count = bad[i].label_count;
		o.parent = bad[i].parent;
		publishing_bad(&o, bad[i].code, NULL);
	}
	assert_int_equal(publishing_packs(), 0);
}

static void bad_and_taken_names_are_refused(void **state)
{
	struct publish_options o = publishing_options("..");

	(void)state;
	scratch_write(t.file, "x", 1);
	assert_int_equal(publish(t.store, &o, &t.result), -EINVAL);
	o.name = "";
	assert_int_equal(publish(t.store, &o, &t.result), -EINVAL);
	o.name = "a";
	publishing_good(&o);
	scratch_write(t.file, "y", 1);
	assert_int_equal(publish(t.store, &o, &t.result), -ENOTUNIQ);
	assert_int_equal(publishing_packs(), 1);
}

static void a_store_for_reading_takes_nothing(void **state)
{
	struct publish_options o = publishing_options("bad");
	struct store *reader = NULL;

	(void)state;
	scratch_write(t.file, "x", 1);
	assert_int_equal(store_open(t.path, STORE_READ, &reader), 0);
	assert_int_equal(publish(reader, &o, &t.result), -EROFS);
	store_unref(reader);
}

/* -- files that change meanwhile ------------------------------------------- */

struct change {
	off_t size;
	unsigned int calls;
};

static void resize_file(void *arg, uint64_t done, uint64_t total)
{
	struct change *c = arg;

	assert_true(done <= total);
	if (c->calls++ == 0)
		assert_int_equal(truncate(t.file, c->size), 0);
}

static void a_file_that_shrinks_is_refused(void **state)
{
	const size_t size = 16 * UNIT;
	_cleanup_free_ uint8_t *image = image_make(9, size);
	char line[3 * SCRATCH_PATH_MAX];

	(void)state;
	(void)snprintf(line, sizeof(line),
		       "memory file '%s' became shorter while it was read",
		       t.file);
	/* Within a unit, at a unit's edge, to nothing, by one byte. */
	for (int i = 0; i < 4; i++) {
		const off_t sizes[] = {9 * UNIT + 5, 8 * UNIT, 0, size - 1};
		struct change c = {.size = sizes[i]};
		struct publish_options o = publishing_options("bad");

		image_write(t.file, image, size);
		o.threads = 1;
		o.progress = resize_file;
		o.progress_arg = &c;
		publishing_bad(&o, -ENODATA, line);
	}
}

static void the_end_of_a_cut_file_is_no_hole(void **state)
{
	const size_t size = 16 * UNIT;
	struct change c = {.size = 3 * UNIT};
	struct publish_options o = publishing_options("bad");

	(void)state;
	/* All but the first unit is a hole, before and after. */
	scratch_write(t.file, "x", 1);
	assert_int_equal(truncate(t.file, (off_t)size), 0);
	o.threads = 1;
	o.progress = resize_file;
	o.progress_arg = &c;
	publishing_bad(&o, -ENODATA, NULL);
}

static void a_file_that_grows_is_published_as_it_was(void **state)
{
	const size_t size = 16 * UNIT + 11;
	_cleanup_free_ uint8_t *image = image_make(9, size);
	struct change c = {.size = 40 * UNIT};
	struct publish_options o = publishing_options("good");

	(void)state;
	image_write(t.file, image, size);
	o.threads = 2;
	o.progress = resize_file;
	o.progress_arg = &c;
	publishing_good(&o);
	image_check(t.store, "good", "memory", image, size);
}

/* -- cancelling -------------------------------------------------------------
 */

static volatile int cancelled;

static void cancel(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	__atomic_store_n(&cancelled, 1, __ATOMIC_RELAXED);
}

static void a_cancelled_publish_leaves_nothing(void **state)
{
	const size_t size = 40 * UNIT;
	_cleanup_free_ uint8_t *image = image_make(9, size);
	struct publish_options o = publishing_options("bad");

	(void)state;
	image_write(t.file, image, size);
	cancelled = 0;
	o.progress = cancel;
	o.cancelled = &cancelled;
	publishing_bad(&o, -ECANCELED, "cancelled");
	assert_int_equal(publishing_packs(), 0);
}

/* A pipe whose writer says nothing does not hold a cancelled publish. */
static void a_silent_pipe_can_be_cancelled(void **state)
{
	struct publish_options o = publishing_options("bad");
	char path[64];
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	o.memory.path = path;
	o.cancelled = &cancelled;
	cancelled = 1;
	publishing_bad(&o, -ECANCELED, NULL);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

struct seen_progress {
	uint64_t done, total;
	unsigned int calls;
};

static void see_progress(void *arg, uint64_t done, uint64_t total)
{
	struct seen_progress *seen = arg;

	assert_true(done >= seen->done && done <= total);
	*seen = (struct seen_progress){done, total, seen->calls + 1};
}

static void progress_rises_to_the_total(void **state)
{
	const size_t size = 9 * UNIT + 100;
	_cleanup_free_ uint8_t *image = image_make(9, size);
	struct publish_options o = publishing_options("good");
	struct publish_file again = {"copy", t.file};
	struct seen_progress seen = {0};

	(void)state;
	image[size - 1] = 1;
	image_write(t.file, image, size);
	o.files = &again;
	o.file_count = 1;
	o.progress = see_progress;
	o.progress_arg = &seen;
	publishing_good(&o);
	assert_int_equal(seen.total, 2 * size);
	assert_int_equal(seen.done, seen.total);
	assert_true(seen.calls > 4);
}

#define CASE(name)                                              \
	cmocka_unit_test_setup_teardown(name, publishing_setup, \
					publishing_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(bad_memory_is_refused),
		CASE(an_empty_pipe_is_refused),
		CASE(an_unreadable_file_is_refused),
		CASE(bad_options_are_refused),
		CASE(bad_and_taken_names_are_refused),
		CASE(a_store_for_reading_takes_nothing),
		CASE(a_file_that_shrinks_is_refused),
		CASE(the_end_of_a_cut_file_is_no_hole),
		CASE(a_file_that_grows_is_published_as_it_was),
		CASE(a_cancelled_publish_leaves_nothing),
		CASE(a_silent_pipe_can_be_cancelled),
		CASE(progress_rises_to_the_total),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
