/* Private bytes over an image: where they are, and what they cover. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pagerd/uffd/memory/overlay.h"

#define PAGE  4096u
#define IMAGE (UINT64_C(100) * PAGE + 10)

static const uint8_t bytes[3 * PAGE] = {[0 ... 3 * PAGE - 1] = 0x5a};

static int try_one(uint64_t offset, uint64_t size)
{
	const struct overlay_piece p = {offset, size, bytes};
	struct overlay *o = NULL;
	int r = overlay_new(&p, 1, IMAGE, &o);

	overlay_free(o);
	return r;
}

static void limits_are_kept(void **state)
{
	(void)state;
	assert_int_equal(try_one(0, 1), 0);
	assert_int_equal(try_one(IMAGE - 1, 1), 0);
	assert_int_equal(try_one(0, 0), -EINVAL);
	assert_int_equal(try_one(IMAGE, 1), -EINVAL);
	assert_int_equal(try_one(IMAGE - 1, 2), -EINVAL);
	assert_int_equal(try_one(UINT64_MAX, 2), -EINVAL);
	assert_int_equal(try_one(1, UINT64_MAX), -EINVAL);
}

static void too_many_or_too_large_are_refused(void **state)
{
	struct overlay_piece *many =
		calloc(OVERLAY_PIECES_MAX + 1, sizeof(*many));
	const struct overlay_piece large = {0, OVERLAY_BYTES_MAX + 1, bytes};
	struct overlay *o;

	(void)state;
	for (unsigned int i = 0; i <= OVERLAY_PIECES_MAX; i++)
		many[i] = (struct overlay_piece){2 * i, 1, bytes};
	assert_int_equal(overlay_new(many, OVERLAY_PIECES_MAX + 1, IMAGE, &o),
			 -EINVAL);
	assert_int_equal(overlay_new(many, OVERLAY_PIECES_MAX, IMAGE, &o), 0);
	overlay_free(o);
	assert_int_equal(overlay_new(&large, 1, UINT64_C(1) << 40, &o),
			 -EINVAL);
	free(many);
}

static void overlaps_are_refused(void **state)
{
	const struct overlay_piece over[] = {{100, 50, bytes}, {40, 61, bytes}};
	const struct overlay_piece touch[] = {{100, 50, bytes},
					      {40, 60, bytes}};
	struct overlay *o;

	(void)state;
	assert_int_equal(overlay_new(over, 2, IMAGE, &o), -EINVAL);
	assert_int_equal(overlay_new(touch, 2, IMAGE, &o), 0);
	overlay_free(o);
}

static void none_is_nothing(void **state)
{
	struct overlay *o;

	(void)state;
	assert_int_equal(overlay_new(NULL, 0, IMAGE, &o), 0);
	assert_null(o);
	assert_false(overlay_touches(o, 0));
	assert_false(overlay_covers(o, 0));
	assert_int_equal(overlay_clear_run(o, 3, 99), 99);
}

static void pages_are_told_apart(void **state)
{
	/* The end of page 2, all of 3 and 4 by two pieces, the start of 5. */
	const struct overlay_piece pieces[] = {
		{4 * PAGE, PAGE + 1, bytes},
		{3 * PAGE - 1, PAGE + 1, bytes},
	};
	struct overlay *o;

	(void)state;
	assert_int_equal(overlay_new(pieces, 2, IMAGE, &o), 0);
	assert_false(overlay_touches(o, 1));
	for (uint64_t page = 2; page <= 5; page++)
		assert_true(overlay_touches(o, page));
	assert_false(overlay_touches(o, 6));
	assert_false(overlay_covers(o, 2));
	assert_true(overlay_covers(o, 3));
	assert_true(overlay_covers(o, 4));
	assert_false(overlay_covers(o, 5));
	assert_false(overlay_covers(o, 6));
	assert_int_equal(overlay_clear_run(o, 0, 16), 2);
	assert_int_equal(overlay_clear_run(o, 0, 1), 1);
	assert_int_equal(overlay_clear_run(o, 4, 16), 0);
	assert_int_equal(overlay_clear_run(o, 6, 16), 16);
	overlay_free(o);
}

static void bytes_land_where_they_belong(void **state)
{
	const uint8_t data[] = {1, 2, 3, 4};
	const struct overlay_piece pieces[] = {
		{2 * PAGE - 2, 4, data},
		{2 * PAGE + 10, 1, data},
	};
	uint8_t page[PAGE], expected[PAGE];
	struct overlay *o;

	(void)state;
	assert_int_equal(overlay_new(pieces, 2, IMAGE, &o), 0);
	memset(page, 9, PAGE);
	memset(expected, 9, PAGE);
	expected[PAGE - 2] = 1;
	expected[PAGE - 1] = 2;
	overlay_apply(o, 1, page);
	assert_memory_equal(page, expected, PAGE);
	memset(page, 9, PAGE);
	memset(expected, 9, PAGE);
	expected[0] = 3;
	expected[1] = 4;
	expected[10] = 1;
	overlay_apply(o, 2, page);
	assert_memory_equal(page, expected, PAGE);
	memset(expected, 9, PAGE);
	memset(page, 9, PAGE);
	overlay_apply(o, 3, page);
	assert_memory_equal(page, expected, PAGE);
	overlay_free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(too_many_or_too_large_are_refused),
		cmocka_unit_test(overlaps_are_refused),
		cmocka_unit_test(none_is_nothing),
		cmocka_unit_test(pages_are_told_apart),
		cmocka_unit_test(bytes_land_where_they_belong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
