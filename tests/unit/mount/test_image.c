#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/io/page.h"
#include "fs/mount/read/image.h"
#include "fs/store/snapshot/snapshot.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/mount/mount_fixture.h"

/* Three levels of no table: 1100 whole pages and a part of one. */
#define SIZE ((size_t)1100 * PAGER_PAGE_SIZE + 777)

static struct {
	struct mount_fixture fixture;
	struct snaps *snaps;
	struct snap *snap;
	struct gather *gather;
	uint8_t *bytes;
} t;

static int setup(void **state)
{
	(void)state;
	mount_fixture_open(&t.fixture);
	t.bytes = image_make(7, SIZE);
	mount_fixture_publish(&t.fixture, "web", t.bytes, SIZE, "devices");
	assert_int_equal(snaps_new(&t.fixture.view, &t.snaps), 0);
	assert_int_equal(snaps_get(t.snaps, "web", &t.snap), 0);
	assert_int_equal(gather_open(&t.gather), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(mount_fixture_pinned(&t.fixture), 0);
	gather_close(t.gather);
	snap_unref(t.snap);
	snaps_free(t.snaps);
	mount_fixture_close(&t.fixture);
	free(t.bytes);
	return 0;
}

static struct image *open_memory(void)
{
	struct image *img = NULL;

	assert_int_equal(image_open(&t.fixture.view, t.snap, "memory", &img),
			 0);
	return img;
}

static void check_read(const struct image *img, uint64_t offset, size_t size)
{
	size_t left = offset < SIZE ? SIZE - (size_t)offset : 0;
	const uint8_t *data = NULL;
	size_t len = 0;

	assert_int_equal(image_read(img, t.gather, offset, size, &data, &len),
			 0);
	assert_int_equal(len, size < left ? size : left);
	if (len)
		assert_memory_equal(data, t.bytes + offset, len);
}

static void any_part_reads_as_it_was(void **state)
{
	struct image *img = open_memory();
	uint64_t x = 99;

	(void)state;
	assert_int_equal(image_size(img), SIZE);
	check_read(img, 0, 0);
	check_read(img, 0, 1);
	check_read(img, SIZE - 1, 1);
	check_read(img, SIZE - 1, 4096);
	check_read(img, SIZE, 4096);
	check_read(img, UINT64_MAX - 4096, 4096);
	check_read(img, 4095, GATHER_READ_MAX);
	for (int i = 0; i < 3000; i++) {
		x = x * 6364136223846793005u + 1;
		check_read(img, (x >> 20) % (SIZE + 5000),
			   (x >> 50) % 3 ? (x >> 33) % 9000
					 : (x >> 33) % GATHER_READ_MAX);
	}
	image_close(img);
}

static void a_read_is_never_cut_silently(void **state)
{
	struct image *img = open_memory();
	const uint8_t *data;
	size_t len;

	(void)state;
	assert_int_equal(
		image_read(img, t.gather, 0, GATHER_READ_MAX + 1, &data, &len),
		-EINVAL);
	image_close(img);
}

static bool zero_at(size_t page)
{
	uint8_t whole[PAGER_PAGE_SIZE] = {0};
	size_t at = page * PAGER_PAGE_SIZE, left = SIZE - at;

	memcpy(whole, t.bytes + at,
	       left < sizeof(whole) ? left : sizeof(whole));
	return page_is_zero(whole);
}

/* Where the first page from `offset` on is that is zero or not; or SIZE. */
static uint64_t expect(uint64_t offset, bool zero)
{
	size_t first = offset / PAGER_PAGE_SIZE, page = first;

	while (page < page_count(SIZE) && zero_at(page) != zero)
		page++;
	if (page >= page_count(SIZE))
		return SIZE;
	return page == first ? offset : page * PAGER_PAGE_SIZE;
}

static void holes_are_where_pages_are_zero(void **state)
{
	struct image *img = open_memory();

	(void)state;
	for (uint64_t offset = 0; offset < SIZE; offset += 1365) {
		uint64_t data = UINT64_MAX, hole = UINT64_MAX;
		uint64_t want = expect(offset, false);
		int r = image_seek_data(img, offset, &data);

		assert_int_equal(r, want == SIZE ? -ENXIO : 0);
		if (r == 0)
			assert_int_equal(data, want);
		assert_int_equal(image_seek_hole(img, offset, &hole), 0);
		assert_int_equal(hole, expect(offset, true));
	}
	for (uint64_t past = SIZE; past < SIZE + 3; past++) {
		uint64_t found;

		assert_int_equal(image_seek_data(img, past, &found), -ENXIO);
		assert_int_equal(image_seek_hole(img, past, &found), -ENXIO);
	}
	image_close(img);
}

static void an_open_file_leases_its_snapshot(void **state)
{
	struct image *img = open_memory();

	(void)state;
	assert_int_equal(snapshot_remove(t.fixture.store, "web"), -EBUSY);
	image_close(img);
	assert_int_equal(snapshot_remove(t.fixture.store, "web"), 0);
	assert_int_equal(image_open(&t.fixture.view, t.snap, "memory", &img),
			 -ENOENT);
}

static void a_name_published_anew_is_not_the_old_one(void **state)
{
	struct image *img;

	(void)state;
	assert_int_equal(snapshot_remove(t.fixture.store, "web"), 0);
	t.bytes[0] ^= 1;
	mount_fixture_publish(&t.fixture, "web", t.bytes, SIZE, NULL);
	assert_int_equal(image_open(&t.fixture.view, t.snap, "memory", &img),
			 -ESTALE);
}

static void attached_files_open_by_their_key(void **state)
{
	struct image *img;
	const uint8_t *data;
	size_t len;

	(void)state;
	assert_int_equal(image_open(&t.fixture.view, t.snap, "vmstate", &img),
			 0);
	assert_int_equal(image_read(img, t.gather, 0, 100, &data, &len), 0);
	assert_int_equal(len, 7);
	assert_memory_equal(data, "devices", 7);
	image_close(img);
	assert_int_equal(image_open(&t.fixture.view, t.snap, "none", &img),
			 -ENOENT);
}

/* The first block of the pack is broken: some page, and that page alone. */
static void damage_is_an_error_for_that_page_alone(void **state)
{
	struct image *img = open_memory();
	unsigned int failed = 0;
	const uint8_t *data;
	size_t len;

	(void)state;
	scratch_flip(mount_fixture_pack(&t.fixture), 64 + 8);
	for (size_t at = 0; at < SIZE; at += PAGER_PAGE_SIZE) {
		int r = image_read(img, t.gather, at, PAGER_PAGE_SIZE, &data,
				   &len);

		if (r < 0) {
			assert_int_equal(r, -EBADMSG);
			failed++;
		} else {
			assert_memory_equal(data, t.bytes + at, len);
		}
	}
	assert_in_range(failed, 1, 100);
	image_close(img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		TEST(any_part_reads_as_it_was),
		TEST(a_read_is_never_cut_silently),
		TEST(holes_are_where_pages_are_zero),
		TEST(an_open_file_leases_its_snapshot),
		TEST(a_name_published_anew_is_not_the_old_one),
		TEST(attached_files_open_by_their_key),
		TEST(damage_is_an_error_for_that_page_alone),
	};

	return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
