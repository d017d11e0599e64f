/* What is written down of a session for the daemon after us. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pagerd/uffd/recover/journal.h"
#include "pagerd/uffd/recover/overlayfile.h"
#include "pagerd/uffd/recover/vmm.h"
#include "tests/unit/store/scratch.h"

#define IMAGE_SIZE (UINT64_C(1) << 20)

struct test {
	char folder[SCRATCH_PATH_MAX];
	char path[SCRATCH_PATH_MAX + 16];
};

static struct region regions[] = {
	{0x7f0000000000, 1 << 20, 0, 4096},
	{0x7e0000000000, 2 << 20, 1 << 20, 2 << 20},
};

static const struct journal whole = {
	.id = (char *)"vm-1",
	.snapshot = (char *)"a \"name\" \xc3\xa4",
	.image = {{1, 2, 3, 255}},
	.policy = SESSION_STALL,
	.uid = 1000,
	.gid = 65534,
	.overlays = true,
	.served = true,
	.vmm_pid = 4711,
	.vmm_start = 123456789012,
	.peer_uid = 7,
	.uffd_number = 31,
	.regions = regions,
	.region_count = 2,
};

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	scratch_make(t->folder);
	(void)snprintf(t->path, sizeof(t->path), "%s/file", t->folder);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	scratch_remove(t->folder);
	free(t);
	return 0;
}

static void what_was_written_is_read(void **state)
{
	struct test *t = *state;
	struct journal j;
	struct stat st;

	assert_int_equal(journal_write(t->path, &whole), 0);
	assert_int_equal(stat(t->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(journal_read(t->path, &j), 0);
	assert_string_equal(j.id, whole.id);
	assert_string_equal(j.snapshot, whole.snapshot);
	assert_memory_equal(&j.image, &whole.image, sizeof(j.image));
	assert_int_equal(j.policy, SESSION_STALL);
	assert_int_equal(j.uid, 1000);
	assert_int_equal(j.gid, 65534);
	assert_true(j.overlays && j.served && j.same_boot);
	assert_int_equal(j.vmm_pid, 4711);
	assert_int_equal(j.vmm_start, 123456789012);
	assert_int_equal(j.peer_uid, 7);
	assert_int_equal(j.uffd_number, 31);
	assert_int_equal(j.region_count, 2);
	assert_memory_equal(j.regions, regions, sizeof(regions));
	journal_release(&j);
}

/* The file's bytes with one changed; what reading says then. */
static int read_changed(struct test *t, size_t at, uint8_t change)
{
	struct journal j;
	uint8_t byte;
	int fd, r;

	assert_int_equal(journal_write(t->path, &whole), 0);
	fd = open(t->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= change;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	(void)close(fd);
	r = journal_read(t->path, &j);
	if (r == 0)
		journal_release(&j);
	return r;
}

static void damage_anywhere_is_found(void **state)
{
	struct test *t = *state;
	struct stat st;

	assert_int_equal(journal_write(t->path, &whole), 0);
	assert_int_equal(stat(t->path, &st), 0);
	/* Behind "pager-journal 1 ", whose number says who may read on. */
	for (size_t at = 16; at < (size_t)st.st_size; at++)
		assert_int_equal(read_changed(t, at, 0x40), -EBADMSG);
	assert_int_equal(truncate(t->path, st.st_size - 1), 0);
	assert_int_equal(journal_read(t->path, &(struct journal){0}), -EBADMSG);
	assert_int_equal(truncate(t->path, 0), 0);
	assert_int_equal(journal_read(t->path, &(struct journal){0}), -EBADMSG);
}

static void a_newer_one_is_told_apart(void **state)
{
	assert_int_equal(read_changed(*state, 14, '1' ^ '2'), -ENOTSUP);
}

static void private_bytes_come_back(void **state)
{
	static const uint8_t a[5] = "abcde", b[9000] = {7, [8999] = 9};
	const struct overlay_piece pieces[] = {{IMAGE_SIZE - 9000, 9000, b},
					       {4094, 5, a}};
	struct overlay *o = NULL, *back = NULL;
	const struct overlay_piece *got;
	struct test *t = *state;
	size_t count;

	assert_int_equal(overlay_new(pieces, 2, IMAGE_SIZE, &o), 0);
	assert_int_equal(overlayfile_write(t->path, o), 0);
	overlay_free(o);
	assert_int_equal(overlayfile_read(t->path, IMAGE_SIZE, &back), 0);
	got = overlay_pieces(back, &count);
	assert_int_equal(count, 2);
	assert_int_equal(got[0].offset, 4094);
	assert_memory_equal(got[0].data, a, sizeof(a));
	assert_int_equal(got[1].size, sizeof(b));
	assert_memory_equal(got[1].data, b, sizeof(b));
	overlay_free(back);
	assert_int_equal(overlayfile_read(t->path, IMAGE_SIZE - 1, &back),
			 -EBADMSG);
}

static void damaged_private_bytes_are_refused(void **state)
{
	static const uint8_t bytes[100] = {1};
	const struct overlay_piece piece = {8, sizeof(bytes), bytes};
	struct overlay *o = NULL;
	struct test *t = *state;
	struct stat st;

	assert_int_equal(overlay_new(&piece, 1, IMAGE_SIZE, &o), 0);
	assert_int_equal(overlayfile_write(t->path, o), 0);
	assert_int_equal(stat(t->path, &st), 0);
	for (off_t at = 0; at < st.st_size; at++) {
		int fd = open(t->path, O_RDWR | O_CLOEXEC);
		uint8_t byte, changed;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		changed = byte ^ 0x81;
		assert_int_equal(pwrite(fd, &changed, 1, at), 1);
		assert_int_equal(overlayfile_read(t->path, IMAGE_SIZE, &o),
				 -EBADMSG);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		(void)close(fd);
	}
	assert_int_equal(truncate(t->path, 20), 0);
	assert_int_equal(overlayfile_read(t->path, IMAGE_SIZE, &o), -EBADMSG);
	overlay_free(o);
}

static void a_process_is_known_by_its_start(void **state)
{
	uint64_t start = 0;
	int fd;

	(void)state;
	assert_int_equal(vmm_start_time(getpid(), &start), 0);
	assert_true(start > 0);
	fd = vmm_open(getpid(), start);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(vmm_open(getpid(), start + 1), -ESRCH);
	assert_int_equal(vmm_start_time(0x7ffffff0, &start), -ESRCH);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_read),
		TEST(damage_anywhere_is_found),
		TEST(a_newer_one_is_told_apart),
		TEST(private_bytes_come_back),
		TEST(damaged_private_bytes_are_refused),
		TEST(a_process_is_known_by_its_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
