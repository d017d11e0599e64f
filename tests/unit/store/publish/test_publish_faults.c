/*
 * A publish that fails or dies at any of its steps leaves the store as before
 * or as after: the list of snapshots is one of the two, what was published
 * comes out byte for byte, and the next publish works.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/index/index.h"
#include "fs/store/snapshot/snapshot.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/store/publish/publishing.h"
#include "tests/unit/store/scratch.h"

#ifdef PAGER_INJECT

#define SIZE (2 * UNIT + 100)

/* All points that a publish passes. */
static const char *const points[] = {
	"pack-create",	   "pack-write",      "pack-sync",	"pack-rename",
	"pack-commit",	   "pack-read",	      "table-read",	"run-write",
	"run-rename",	   "sequence-write",  "manifest-write", "manifest-sync",
	"manifest-rename", "manifest-commit", "dir-sync",	"image-read",
	"run-drop",
};

#ifdef __SANITIZE_THREAD__
#define TIMES 1 /* and threads are not what this is about */
#else
#define TIMES 3
#endif

enum { POINTS = sizeof(points) / sizeof(*points) };

static uint8_t *before_image, *image;

static int setup(void **state)
{
	(void)publishing_setup(state);
	before_image = image_make(1, SIZE);
	image = image_make(2, SIZE);
	/* Half of it is shared. */
	memcpy(image, before_image, SIZE / 2);
	image_write(t.file, before_image, SIZE);
	assert_int_equal(image_publish(t.store, "before", t.file, &t.result),
			 0);
	image_write(t.file, image, SIZE);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(inject_configure(NULL), 0);
	free(before_image);
	free(image);
	return publishing_teardown(state);
}

static void reopen(void)
{
	store_unref(t.store);
	t.store = NULL;
	assert_int_equal(store_open(t.path, STORE_WRITE, &t.store), 0);
}

static bool is_listed(const char *name)
{
	char **names;
	size_t count;
	bool found = false;

	assert_int_equal(snapshot_list(t.store, &names, &count), 0);
	for (size_t i = 0; i < count; i++)
		found = found || strcmp(names[i], name) == 0;
	snapshot_names_free(names, count);
	return found;
}

/* What was there before is whole, and so is NAME where it is listed. */
static void store_is_whole(const char *name)
{
	reopen();
	image_check(t.store, "before", "memory", before_image, SIZE);
	if (is_listed(name))
		image_check(t.store, name, "memory", image, SIZE);
}

/* Another image than any before, so that packs have to be written. */
static void change_image(void)
{
	uint64_t count;

	memcpy(&count, image + SIZE / 2, sizeof(count));
	count++;
	memcpy(image + SIZE / 2, &count, sizeof(count));
	image_write(t.file, image, SIZE);
}

/* The next publish works and leaves nothing in tmp/ of what died before. */
static void store_goes_on(const char *name)
{
	if (is_listed(name))
		assert_int_equal(snapshot_remove(t.store, name), 0);
	assert_int_equal(image_publish(t.store, name, t.file, &t.result), 0);
	assert_int_equal(scratch_count(scratch_file(t.path, "tmp")), 0);
	image_check(t.store, name, "memory", image, SIZE);
}

/* In a process that may die on its way: 0, or the signal or the errno. */
static int publish_apart(const char *spec, int *ret_signal)
{
	int pid = fork(), status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct store *s;
		int r = inject_configure(spec);

		if (r == 0)
			r = store_open(t.path, STORE_WRITE, &s);
		if (r == 0)
			r = image_publish(s, "new", t.file, &t.result);
		_exit(-r);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	*ret_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : 0;
}

static void a_crash_anywhere_is_before_or_after(void **state)
{
	unsigned int crashes = 0, committed = 0;

	(void)state;
	for (int i = 0; i < POINTS; i++) {
		for (int n = 1; n <= TIMES; n++) {
			char spec[64];
			int killed, r;

			(void)snprintf(spec, sizeof(spec), "%s:crash@%d",
				       points[i], n);
			change_image();
			r = publish_apart(spec, &killed);
			assert_true(killed == 0 || killed == SIGKILL);
			assert_int_equal(r, 0);
			crashes += killed != 0;
			store_is_whole("new");
			/* Not killed: the point is not passed that often. */
			assert_true(killed || is_listed("new"));
			committed += killed && is_listed("new");
			store_goes_on("new");
			assert_int_equal(snapshot_remove(t.store, "new"), 0);
		}
	}
	assert_true(crashes > POINTS / 2);
	assert_true(committed > 0);
}

/*
 * A fault is either survived (a short write, a candidate that cannot be read)
 * or fails the publish with its own code and leaves nothing.
 */
static void check_fault(const char *spec, int code)
{
	struct publish_options o = publishing_options("new");
	int r;

	assert_int_equal(inject_configure(spec), 0);
	r = publish(t.store, &o, &t.result);
	assert_int_equal(inject_configure(NULL), 0);
	if (r != 0 && r != code)
		fail_msg("%s: %d, %s", spec, r, err_text(r));
	assert_int_equal(scratch_count(scratch_file(t.path, "tmp")), 0);
	assert_int_equal(is_listed("new"), r == 0);
	store_is_whole("new");
	store_goes_on("new");
	assert_int_equal(snapshot_remove(t.store, "new"), 0);
}

static void an_error_anywhere_leaves_nothing(void **state)
{
	static const struct {
		const char *name;
		int code;
	} faults[] = {{"ENOSPC", -ENOSPC},
		      {"EIO", -EIO},
		      {"short", 0},
		      {"EINTR", -EINTR}};

	(void)state;
	for (int i = 0; i < POINTS; i++) {
		for (size_t f = 0; f < sizeof(faults) / sizeof(*faults); f++) {
			char spec[64];

			/* Each time another image, so that packs are written.
			 */
			image[PAGE - 1]++;
			image_write(t.file, image, SIZE);
			(void)snprintf(spec, sizeof(spec), "%s:%s@%zu",
				       points[i], faults[f].name, f % 2 + 1);
			check_fault(spec, faults[f].code);
		}
	}
}

static void errors_that_stay_leave_nothing(void **state)
{
	static const struct {
		const char *spec;
		int code;
	} faults[] = {
		{"pack-write:ENOSPC+", -ENOSPC},
		{"pack-write:EDQUOT@2+", -EDQUOT},
		{"pack-sync:EIO+", -EIO},
		{"manifest-write:ENOSPC+", -ENOSPC},
		{"manifest-sync:EIO+", -EIO},
		{"dir-sync:EIO+", -EIO},
		{"image-read:EIO+", -EIO},
		{"pack-write:short+", 0},
		{"manifest-write:short+", 0},
		{"image-read:short+", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		struct publish_options o = publishing_options("new");

		change_image();
		assert_int_equal(inject_configure(faults[i].spec), 0);
		assert_int_equal(publish(t.store, &o, &t.result),
				 faults[i].code);
		assert_int_equal(inject_configure(NULL), 0);
		assert_int_equal(is_listed("new"), faults[i].code == 0);
		store_is_whole("new");
		store_goes_on("new");
		assert_int_equal(snapshot_remove(t.store, "new"), 0);
	}
}

/* A candidate that cannot be read, or reads wrong, costs its sharing only. */
static void unreadable_candidates_are_stored_anew(void **state)
{
	static const char *const specs[] = {
		"pack-read:EIO+",
		"pack-read:flip+",
		"table-read:EIO+",
		"pack-read:EIO@5+",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
		struct publish_options o = publishing_options("new");
		int r;

		reopen();
		assert_int_equal(inject_configure(specs[i]), 0);
		r = publish(t.store, &o, &t.result);
		assert_int_equal(inject_configure(NULL), 0);
		if (r < 0)
			fail_msg("%s: %s", specs[i], err_text(r));
		assert_true(t.result.new_blocks > 0);
		store_is_whole("new");
		assert_true(is_listed("new"));
		assert_int_equal(snapshot_remove(t.store, "new"), 0);
	}
}

/* rm works on a full disk, and a failure of it is told. */
static void removal_needs_no_room(void **state)
{
	(void)state;
	assert_int_equal(image_publish(t.store, "new", t.file, &t.result), 0);
	assert_int_equal(inject_configure("pack-write:ENOSPC+,"
					  "manifest-write:ENOSPC+,"
					  "run-write:ENOSPC+"),
			 0);
	assert_int_equal(snapshot_remove(t.store, "new"), 0);
	assert_int_equal(inject_configure("dir-sync:EIO"), 0);
	assert_int_equal(snapshot_remove(t.store, "before"), -EIO);
	assert_int_equal(inject_configure(NULL), 0);
	assert_false(is_listed("new"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_crash_anywhere_is_before_or_after),
		CASE(an_error_anywhere_leaves_nothing),
		CASE(errors_that_stay_leave_nothing),
		CASE(unreadable_candidates_are_stored_anew),
		CASE(removal_needs_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	(void)printf("needs a build with PAGER_INJECT\n");
	return 77;
}

#endif
