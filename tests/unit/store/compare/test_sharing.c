#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/store/compare/sharing.h"
#include "tests/unit/store/compare/nodes.h"

#define PAGES 3000u

static uint64_t image[PAGES], other[PAGES], file[PAGES];

static struct sharing *open_image(uint64_t pages)
{
	struct manifest_file f = nodes_table(image, pages);
	struct sharing *s = NULL;

	assert_int_equal(sharing_new(&f, nodes_read, NULL, &s), 0);
	assert_int_equal(sharing_pages(s), pages);
	return s;
}

static void add(struct sharing *s, const uint64_t *blocks, uint64_t pages)
{
	const struct manifest m = {.image = nodes_table(blocks, pages)};

	assert_int_equal(sharing_add(s, &m), 0);
}

static void each_page_has_its_class(void **state)
{
	struct sharing *s cleanup(cleanup_sharing) = NULL;

	(void)state;
	memset(image, 0, sizeof(image));
	memset(other, 0, sizeof(other));
	image[0] = nodes_page(1);
	image[1] = nodes_page(2);
	image[700] = image[2999] = nodes_page(3);
	image[701] = image[702] = nodes_page(4);
	image[2998] = nodes_page(5);
	other[1500] = nodes_page(2);
	other[2] = nodes_page(4);
	s = open_image(PAGES);
	add(s, other, PAGES);
	assert_int_equal(sharing_of(s, 0), SHARING_OWN);
	assert_int_equal(sharing_of(s, 1), SHARING_OTHERS);
	assert_int_equal(sharing_of(s, 2), SHARING_ZERO);
	assert_int_equal(sharing_of(s, 2999), SHARING_WITHIN);
	assert_int_equal(sharing_of(s, 700), SHARING_WITHIN);
	assert_int_equal(sharing_of(s, 702), SHARING_OTHERS);
	assert_int_equal(sharing_of(s, 701), SHARING_OTHERS);
	assert_int_equal(sharing_of(s, 2998), SHARING_OWN);
	assert_int_equal(sharing_of(s, 2997), SHARING_ZERO);
}

static void attached_files_share_too(void **state)
{
	struct manifest_file attached[2];
	struct manifest m = {.files = attached, .file_count = 2};
	struct sharing *s cleanup(cleanup_sharing) = NULL;

	(void)state;
	memset(image, 0, sizeof(image));
	memset(file, 0, sizeof(file));
	image[5] = file[9] = nodes_page(1);
	s = open_image(6);
	attached[0] = nodes_table(file, 0); /* of no bytes */
	attached[1] = nodes_table(file, 10);
	m.image = nodes_table(other, 0);
	assert_int_equal(sharing_of(s, 5), SHARING_OWN);
	assert_int_equal(sharing_add(s, &m), 0);
	assert_int_equal(sharing_of(s, 5), SHARING_OTHERS);
}

static void the_smallest_images_have_classes(void **state)
{
	struct sharing *s cleanup(cleanup_sharing) = NULL;
	struct sharing *none cleanup(cleanup_sharing) = NULL;

	(void)state;
	image[0] = nodes_page(1);
	s = open_image(1);
	assert_int_equal(sharing_of(s, 0), SHARING_OWN);
	none = open_image(0);
	add(none, image, 1);
}

/* A sibling costs the nodes that no other had before it. */
static void shared_nodes_are_read_once(void **state)
{
	struct sharing *s cleanup(cleanup_sharing) = NULL;
	uint64_t before;

	(void)state;
	for (uint64_t i = 0; i < PAGES; i++)
		image[i] = other[i] = nodes_page(i);
	s = open_image(PAGES);
	assert_int_equal(sharing_nodes_read(s), 1 + 6);
	add(s, other, PAGES);
	before = sharing_nodes_read(s);
	assert_int_equal(before, 2 * (1 + 6));
	add(s, other, PAGES);
	assert_int_equal(sharing_nodes_read(s), before);
	other[1000] = nodes_page(5000);
	add(s, other, PAGES);
	assert_int_equal(sharing_nodes_read(s), before + 2);
	assert_int_equal(nodes.reads, before + 2);
}

static void damage_is_told_and_the_rest_counts(void **state)
{
	struct sharing *s cleanup(cleanup_sharing) = NULL, *none = NULL;
	struct manifest m = {0};

	(void)state;
	memset(other, 0, sizeof(other));
	for (uint64_t i = 0; i < PAGES; i++)
		image[i] = nodes_page(i);
	other[0] = nodes_page(7);
	other[600] = nodes_page(8);
	s = open_image(PAGES);
	m.image = nodes_table(other, PAGES);
	/* Leaves come first, then the root. */
	nodes.bad = m.image.root - 1;
	assert_int_equal(sharing_add(s, &m), -EBADMSG);
	assert_int_equal(sharing_of(s, 7), SHARING_OTHERS);
	assert_int_equal(sharing_of(s, 8), SHARING_OWN);
	assert_int_equal(sharing_new(&m.image, nodes_read, NULL, &none),
			 -EBADMSG);
	assert_null(none);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, nodes_setup, nodes_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_page_has_its_class),
		TEST(attached_files_share_too),
		TEST(the_smallest_images_have_classes),
		TEST(shared_nodes_are_read_once),
		TEST(damage_is_told_and_the_rest_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
