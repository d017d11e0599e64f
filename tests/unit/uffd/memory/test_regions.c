#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "pagerd/uffd/memory/regions.h"

#define K4  4096u
#define M2  (2u << 20)
#define TOP (UINT64_MAX - K4 + 1)

static void hostile_regions_are_refused(void **state)
{
	static const struct {
		struct region region;
		uint64_t image;
		const char *why;
	} cases[] = {
		{{0x1000, 0, 0, K4}, 1 << 20, "empty"},
		{{0x1000, K4, 0, 0}, 1 << 20, "page size"},
		{{0x1000, K4, 0, 4}, 1 << 20, "page size"},
		{{0x1000, K4, 0, 1u << 30}, 1 << 20, "page size"},
		{{0x1001, K4, 0, K4}, 1 << 20, "aligned"},
		{{0x1000, K4 + 1, 0, K4}, 1 << 20, "aligned"},
		{{0x1000, K4, 1, K4}, 1 << 20, "aligned"},
		{{M2, M2, K4, M2}, 8u << 20, "aligned"},
		{{M2 + K4, M2, 0, M2}, 8u << 20, "aligned"},
		{{M2, K4, 0, M2}, 8u << 20, "aligned"},
		{{TOP, K4, 0, K4}, 1 << 20, "2^64"},
		{{0x1000, TOP, 0x1000, K4}, 1 << 20, "2^64"},
		{{0x1000, K4, TOP, K4}, 1 << 20, "2^64"},
		{{0x1000, 2 * K4, 0, K4}, K4, "past the image"},
		{{0x1000, K4, K4, K4}, K4, "past the image"},
		{{0x1000, K4, 0, K4}, 0, "past the image"},
		{{M2, 2 * M2, 0, M2}, M2, "past the image"},
		{{M2, M2, 0, M2}, UINT64_MAX, "too large"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct regions r = {0};

		assert_int_equal(
			regions_init(&r, &cases[i].region, 1, cases[i].image),
			-EPROTO);
		assert_non_null(strstr(err_text(-EPROTO), cases[i].why));
		assert_null(r.all);
	}
}

static void overlaps_are_refused(void **state)
{
	static const struct region addresses[] = {
		{0x10000, 4 * K4, 0, K4},
		{0x13000, K4, 8 * K4, K4},
	};
	static const struct region parts[] = {
		{0x10000, 4 * K4, 0, K4},
		{0x20000, K4, 3 * K4, K4},
	};
	struct regions r = {0};

	(void)state;
	assert_int_equal(regions_init(&r, addresses, 2, 1 << 20), -EPROTO);
	assert_int_equal(regions_init(&r, parts, 2, 1 << 20), -EPROTO);
	assert_int_equal(regions_init(&r, parts, 0, 1 << 20), -EPROTO);
}

static void addresses_are_found_in_any_order(void **state)
{
	/* Descending, one right behind another, and one with a gap. */
	static const struct region list[] = {
		{0x80000, 2 * K4, 0, K4},
		{0x20000, 2 * K4, 2 * K4, K4},
		{0x22000, K4, 6 * K4, K4},
	};
	struct regions r = {0};

	(void)state;
	assert_int_equal(regions_init(&r, list, 3, 7 * K4), 0);
	assert_int_equal(regions_pages(&r), 5);
	assert_null(regions_find(&r, 0));
	assert_null(regions_find(&r, 0x1ffff));
	assert_int_equal(regions_find(&r, 0x20000)->base, 0x20000);
	assert_int_equal(regions_find(&r, 0x21fff)->base, 0x20000);
	assert_int_equal(regions_find(&r, 0x22000)->base, 0x22000);
	assert_null(regions_find(&r, 0x23000));
	assert_int_equal(regions_find(&r, 0x81fff)->base, 0x80000);
	assert_null(regions_find(&r, 0x82000));
	assert_null(regions_find(&r, UINT64_MAX));
	assert_int_equal(regions_from(&r, 0x23000)->base, 0x80000);
	assert_null(regions_from(&r, 0x82000));
	assert_int_equal(region_page(regions_find(&r, 0x21000), 0x21000), 3);
	assert_int_equal(region_address(regions_find(&r, 0x22000), 6), 0x22000);
	regions_release(&r);
}

static void the_last_page_is_rounded_up(void **state)
{
	static const struct region small = {0x10000, 2 * K4, 0, K4};
	static const struct region huge = {M2, 2 * (uint64_t)M2, 0, M2};
	struct regions r = {0};

	(void)state;
	assert_int_equal(regions_init(&r, &small, 1, K4 + 1), 0);
	regions_release(&r);
	assert_int_equal(regions_init(&r, &huge, 1, M2 + 1), 0);
	assert_int_equal(regions_pages(&r), 1024);
	regions_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_regions_are_refused),
		cmocka_unit_test(overlaps_are_refused),
		cmocka_unit_test(addresses_are_found_in_any_order),
		cmocka_unit_test(the_last_page_is_rounded_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
