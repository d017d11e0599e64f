#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/io/page.h"
#include "fs/io/text.h"
#include "fs/mount/read/pages.h"
#include "fs/store/store.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/mount/mount_fixture.h"

/* Nine leaf nodes, the fourth and the eighth of zeros, a part of a page. */
#define PAGES 4200u
#define SIZE  ((size_t)PAGES * PAGER_PAGE_SIZE - 100)

static struct {
	struct mount_fixture fixture;
	struct snaps *snaps;
	struct snap *snap;
	struct gather *gather;
	uint8_t *bytes;
	char *text; /* what is expected */
	size_t len;
} t;

static const uint8_t *page_at(size_t page)
{
	return t.bytes + page * PAGER_PAGE_SIZE;
}

static int same(size_t a, size_t b)
{
	/* The first byte tells most apart, at no cost to the sanitizers. */
	return *page_at(a) == *page_at(b) &&
	       memcmp(page_at(a), page_at(b), PAGER_PAGE_SIZE) == 0;
}

static unsigned int count_same(size_t page)
{
	unsigned int n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += (unsigned int)same(i, page);
	return n;
}

/* The text as pages.h tells it, by the plainest way. */
static void write_expected(FILE *f)
{
	for (size_t page = 0, end; page < PAGES; page = end) {
		char hex[] = "--------------------------------";
		int zero = page_is_zero(page_at(page));
		struct pager_digest digest;

		for (end = page + 1; end < PAGES && same(page, end);)
			end++;
		store_digest(t.fixture.store, page_at(page), PAGER_KIND_PAGE,
			     &digest);
		if (!zero)
			text_to_hex(digest.bytes, sizeof(digest.bytes), hex);
		(void)fprintf(f, "%13zu %13zu %-5s %s %10u\n", page, end - page,
			      zero ? "zero" : "block", hex, count_same(page));
	}
}

static int setup(void **state)
{
	FILE *f = open_memstream(&t.text, &t.len);

	(void)state;
	mount_fixture_open(&t.fixture);
	/* Past the size there are zeros. */
	t.bytes = image_make(11, (size_t)PAGES * PAGER_PAGE_SIZE);
	memset(t.bytes + SIZE, 0, 100);
	mount_fixture_publish(&t.fixture, "web", t.bytes, SIZE, NULL);
	assert_int_equal(snaps_new(&t.fixture.view, &t.snaps), 0);
	assert_int_equal(snaps_get(t.snaps, "web", &t.snap), 0);
	assert_int_equal(gather_open(&t.gather), 0);
	assert_non_null(f);
	write_expected(f);
	return fclose(f);
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
	free(t.text);
	return 0;
}

static struct image *open_memory(void)
{
	struct image *img = NULL;

	assert_int_equal(image_open(&t.fixture.view, t.snap, "memory", &img),
			 0);
	return img;
}

static void check(const struct pages *p, uint64_t offset, size_t size)
{
	size_t left = offset < t.len ? t.len - (size_t)offset : 0;
	const uint8_t *data;
	size_t len;

	assert_int_equal(pages_read(p, t.gather, offset, size, &data, &len), 0);
	assert_int_equal(len, size < left ? size : left);
	if (len)
		assert_memory_equal(data, t.text + offset, len);
}

static void the_text_is_as_described(void **state)
{
	struct pages *p;
	uint64_t size;

	(void)state;
	assert_int_equal(pages_open(open_memory(), &p), 0);
	assert_int_equal(pages_size(p), t.len);
	check(p, 0, t.len);
	check(p, t.len, 10);
	check(p, t.len - 1, 10);
	for (uint64_t at = 0; at < t.len; at += 4099)
		check(p, at, (size_t)(at * 7 % 9000));
	pages_close(p);
	{
		struct image *img = open_memory();

		assert_int_equal(pages_text_size(img, &size), 0);
		assert_int_equal(size, t.len);
		image_close(img);
	}
}

static void zeros_are_one_line(void **state)
{
	static const char line[] = "            0          4200 zero  "
				   "--------------------------------"
				   "       4200\n";
	uint8_t *zeros = calloc(PAGES, PAGER_PAGE_SIZE);
	struct snap *snap;
	struct image *img;
	struct pages *p;
	const uint8_t *data;
	size_t len;

	(void)state;
	assert_non_null(zeros);
	mount_fixture_publish(&t.fixture, "zeros", zeros,
			      (size_t)PAGES * PAGER_PAGE_SIZE, NULL);
	free(zeros);
	assert_int_equal(snaps_get(t.snaps, "zeros", &snap), 0);
	assert_int_equal(image_open(&t.fixture.view, snap, "memory", &img), 0);
	assert_int_equal(pages_open(img, &p), 0);
	assert_int_equal(pages_read(p, t.gather, 0, 1000, &data, &len), 0);
	assert_int_equal(len, PAGES_LINE);
	assert_memory_equal(data, line, len);
	pages_close(p);
	snap_unref(snap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_text_is_as_described),
		cmocka_unit_test(zeros_are_one_line),
	};

	return cmocka_run_group_tests_name("pages", tests, setup, teardown);
}
