#include <errno.h>
#include <poll.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/pack/pack.h"
#include "fs/store/publish/export.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/store/publish/publishing.h"
#include "tests/unit/store/scratch.h"

#define SIZE (9 * UNIT + 4321)

static struct {
	uint8_t *image;
	struct snapshot *snap;
	char folder[2 * SCRATCH_PATH_MAX]; /* to export into, empty */
	char out[3 * SCRATCH_PATH_MAX];	   /* a file in it */
} e;

static int setup(void **state)
{
	struct publish_options o;

	(void)publishing_setup(state);
	o = publishing_options("a");
	e.image = image_make(12, SIZE);
	image_write(t.file, e.image, SIZE);
	publishing_good(&o);
	assert_int_equal(snapshot_open(t.store, "a", &e.snap), 0);
	(void)snprintf(e.folder, sizeof(e.folder), "%s/out", t.folder);
	(void)snprintf(e.out, sizeof(e.out), "%s/memory", e.folder);
	assert_int_equal(mkdir(e.folder, 0700), 0);
	return 0;
}

static int teardown(void **state)
{
	snapshot_unref(e.snap);
	free(e.image);
	return publishing_teardown(state);
}

static int export_to(const char *path)
{
	const struct export_options o = {.key = "memory", .path = path};

	return export_file(e.snap, &o);
}

static void is_image(const char *path)
{
	_cleanup_free_ uint8_t *back = NULL;
	size_t len;

	back = scratch_read(path, &len);
	assert_int_equal(len, SIZE);
	assert_true(memcmp(back, e.image, SIZE) == 0);
}

/* The pages whose bytes take room on the disk, in bytes. */
static uint64_t data_bytes(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t at = 0, hole;
	uint64_t bytes = 0;

	assert_true(fd >= 0);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		hole = lseek(fd, at, SEEK_HOLE);
		bytes += (uint64_t)(hole - at);
		at = hole;
	}
	(void)close(fd);
	return bytes;
}

static void a_file_is_exact_and_sparse(void **state)
{
	const struct manifest_file *f = &snapshot_manifest(e.snap)->image;
	struct stat st;

	(void)state;
	assert_int_equal(export_to(e.out), 0);
	is_image(e.out);
	assert_int_equal(stat(e.out, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(data_bytes(e.out) <=
		    (f->pages - f->zero_pages) * PAGER_PAGE_SIZE);
	assert_int_equal(scratch_count(e.folder), 1);
}

static void a_file_that_is_there_is_replaced(void **state)
{
	char link[4 * SCRATCH_PATH_MAX];
	struct stat st;

	(void)state;
	scratch_write(e.out, "old and longer than nothing", 20);
	assert_int_equal(export_to(e.out), 0);
	is_image(e.out);
	(void)snprintf(link, sizeof(link), "%s/link", e.folder);
	assert_int_equal(symlink("memory", link), 0);
	scratch_write(e.out, "old", 3);
	assert_int_equal(export_to(link), 0);
	is_image(e.out);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(scratch_count(e.folder), 2);
}

static void a_name_without_a_folder_is_here(void **state)
{
	char *before = getcwd(NULL, 0);

	(void)state;
	assert_int_equal(chdir(e.folder), 0);
	assert_int_equal(export_to("memory"), 0);
	assert_int_equal(chdir(before), 0);
	free(before);
	is_image(e.out);
}

/* Reads a pipe to its end in another process: exits 0 for the image. */
static int expect_image(const int ends[2])
{
	int pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		size_t at = 0;
		ssize_t n;

		(void)close(ends[1]);
		do {
			static uint8_t buf[65536];

			n = read(ends[0], buf, sizeof(buf));
			if (n < 0 || at + (size_t)n > SIZE ||
			    memcmp(buf, e.image + at, (size_t)n) != 0)
				_exit(1);
			at += (size_t)n;
		} while (n > 0);
		_exit(at == SIZE ? 0 : 2);
	}
	return pid;
}

static void a_pipe_gets_the_zeros_too(void **state)
{
	char path[64];
	int ends[2], pid;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = expect_image(ends);
	(void)close(ends[0]);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
	assert_int_equal(export_to(path), 0);
	(void)close(ends[1]);
	image_wait(pid);
}

static void standard_output_is_a_stream(void **state)
{
	int saved = dup(STDOUT_FILENO), ends[2], pid, r;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = expect_image(ends);
	(void)close(ends[0]);
	(void)fflush(stdout);
	assert_int_equal(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
	r = export_to("-");
	assert_int_equal(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
	assert_int_equal(r, 0);
	(void)close(ends[1]);
	(void)close(saved);
	image_wait(pid);
}

static void a_device_is_written_as_it_is(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(export_to("/dev/null"), 0);
	assert_int_equal(stat("/dev/null", &st), 0);
	assert_true(S_ISCHR(st.st_mode));
}

static void a_reader_that_goes_away_is_an_error(void **state)
{
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	int saved = dup(STDOUT_FILENO), ends[2], r;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	(void)close(ends[0]);
	(void)fflush(stdout);
	assert_int_equal(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
	r = export_to("-");
	assert_int_equal(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
	assert_int_equal(r, -EPIPE);
	(void)close(ends[1]);
	(void)close(saved);
	(void)signal(SIGPIPE, before);
}

static void bad_targets_and_keys_are_refused(void **state)
{
	const struct export_options none = {.key = "vmstate", .path = e.out};
	char path[5 * SCRATCH_PATH_MAX];

	(void)state;
	assert_int_equal(export_file(e.snap, &none), -ENOENT);
	assert_string_equal(err_text(-ENOENT),
			    "snapshot 'a' has no file 'vmstate'");
	assert_int_equal(export_to(e.folder), -EISDIR);
	(void)snprintf(path, sizeof(path), "%s/none/memory", e.folder);
	assert_int_equal(export_to(path), -ENOENT);
	assert_int_equal(scratch_count(e.folder), 0);
}

static volatile int cancelled;

static void cancel_half_way(void *arg, uint64_t done, uint64_t total)
{
	uint64_t *last = arg;

	assert_true(done > *last && total == SIZE && done <= total);
	*last = done;
	if (done > total / 2)
		__atomic_store_n(&cancelled, 1, __ATOMIC_RELAXED);
}

static void a_cancelled_export_leaves_nothing(void **state)
{
	uint64_t last = 0;
	struct export_options o = {.key = "memory",
				   .path = e.out,
				   .progress = cancel_half_way,
				   .progress_arg = &last,
				   .cancelled = &cancelled};

	(void)state;
	cancelled = 0;
	assert_int_equal(export_file(e.snap, &o), -ECANCELED);
	assert_int_equal(scratch_count(e.folder), 0);
	cancelled = 0;
	last = 0;
	o.cancelled = NULL;
	assert_int_equal(export_file(e.snap, &o), 0);
	assert_int_equal(last, SIZE);
}

/* Damage anywhere in the pack's slots: an error, or it was no block of ours. */
static void damage_is_never_written_out(void **state)
{
	char number[PACK_NAME_MAX], pack[3 * SCRATCH_PATH_MAX];
	unsigned int refused = 0;

	(void)state;
	pack_name(1, number);
	(void)snprintf(pack, sizeof(pack), "%s/packs/%s", t.path, number);
	for (long at = 64; at < 200000; at += 9973) {
		int r;

		scratch_flip(pack, at);
		r = export_to(e.out);
		assert_int_equal(r, -EBADMSG);
		assert_memory_equal(err_text(r), "snapshot 'a', memory", 20);
		assert_int_equal(scratch_count(e.folder), 0);
		refused++;
		scratch_flip(pack, at);
	}
	assert_true(refused > 10);
	/* For a while it is not even tried. */
	while (export_to(e.out) == -EBADMSG)
		(void)poll(NULL, 0, 20);
	is_image(e.out);
}

static void a_table_of_wrong_blocks_is_refused(void **state)
{
	struct manifest m = *snapshot_manifest(e.snap);
	struct snapshot *snap = NULL;
	const struct export_options o = {.key = "memory", .path = e.out};

	(void)state;
	/* The first slot of the pack is a page: no node of any level. */
	m.image.root = pager_block_id(1, 0);
	assert_int_equal(snapshot_commit(t.store, "bad", &m), 0);
	assert_int_equal(snapshot_open(t.store, "bad", &snap), 0);
	assert_int_equal(export_file(snap, &o), -EBADMSG);
	snapshot_unref(snap);
	snap = NULL;
	m.image.root = pager_block_id(1, PAGER_PACK_SLOTS_MAX - 1);
	assert_int_equal(snapshot_commit(t.store, "far", &m), 0);
	assert_int_equal(snapshot_open(t.store, "far", &snap), 0);
	assert_int_equal(export_file(snap, &o), -ENOENT);
	snapshot_unref(snap);
	assert_int_equal(scratch_count(e.folder), 0);
}

static void a_full_disk_leaves_nothing(void **state)
{
	(void)state;
#ifdef PAGER_INJECT
	static const struct {
		const char *spec;
		int code;
	} faults[] = {
		{"export-write:ENOSPC", -ENOSPC},
		{"export-write:ENOSPC@5", -ENOSPC},
		{"export-write:EDQUOT@3+", -EDQUOT},
		{"export-write:EIO@7", -EIO},
		{"export-write:short@1+", 0},
		{"export-write:EINTR@2", 0},
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		int r;

		assert_int_equal(inject_configure(faults[i].spec), 0);
		r = export_to(e.out);
		assert_int_equal(inject_configure(NULL), 0);
		assert_int_equal(r, faults[i].code);
		assert_int_equal(scratch_count(e.folder), r == 0);
		if (r < 0)
			continue;
		is_image(e.out);
		assert_int_equal(unlink(e.out), 0);
	}
#else
	skip(); /* needs a build with PAGER_INJECT */
#endif
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_file_is_exact_and_sparse),
		CASE(a_file_that_is_there_is_replaced),
		CASE(a_name_without_a_folder_is_here),
		CASE(a_pipe_gets_the_zeros_too),
		CASE(standard_output_is_a_stream),
		CASE(a_device_is_written_as_it_is),
		CASE(a_reader_that_goes_away_is_an_error),
		CASE(bad_targets_and_keys_are_refused),
		CASE(a_cancelled_export_leaves_nothing),
		CASE(damage_is_never_written_out),
		CASE(a_table_of_wrong_blocks_is_refused),
		CASE(a_full_disk_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
