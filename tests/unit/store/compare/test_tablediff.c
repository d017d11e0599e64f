#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/store/compare/tablediff.h"
#include "tests/unit/store/compare/nodes.h"

#define PAGES_MAX (UINT64_C(1) << 20) /* 4 GiB */

static uint64_t a[PAGES_MAX], b[PAGES_MAX];

/* What the comparison told, checked against a plain one as it comes. */
struct told {
	uint64_t a_pages, b_pages;
	uint64_t next; /* page that is not told of yet */
	uint64_t pages, runs;
	int last; /* the run before's change; -1: none, or not next to it */
	int stop; /* returned by the callback, where not 0 */
};

static uint64_t seed = 1;

static uint64_t next_random(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1;
	return (seed >> 33) % below;
}

static int change_at(const struct told *t, uint64_t page)
{
	if (page >= t->b_pages)
		return TABLEDIFF_ONLY_A;
	if (page >= t->a_pages)
		return TABLEDIFF_ONLY_B;
	if (a[page] == b[page])
		return -1;
	if (!a[page])
		return TABLEDIFF_FROM_ZERO;
	return b[page] ? TABLEDIFF_CHANGED : TABLEDIFF_TO_ZERO;
}

/* Of all pages up to `end`. */
static void expect_change(struct told *t, uint64_t end, int change)
{
	while (t->next < end && change_at(t, t->next) == change)
		t->next++;
	assert_int_equal(t->next, end);
}

static int check_run(void *arg, const struct tablediff_run *run)
{
	struct told *t = arg;

	assert_true(run->count > 0);
	assert_true(run->first >= t->next);
	if (run->first == t->next && t->pages)
		assert_int_not_equal(run->change, t->last);
	expect_change(t, run->first, -1);
	expect_change(t, run->first + run->count, (int)run->change);
	t->last = (int)run->change;
	t->pages += run->count;
	t->runs++;
	return t->stop;
}

static int run_diff(const struct manifest_file *fa,
		    const struct manifest_file *fb, struct told *t)
{
	const struct tablediff d = {
		.a = fa,
		.b = fb,
		.read = nodes_read,
		.run = check_run,
		.run_arg = t,
	};

	*t = (struct told){.a_pages = fa->pages,
			   .b_pages = fb->pages,
			   .last = -1,
			   .stop = t->stop};
	nodes.reads = 0;
	return tablediff_run(&d);
}

/* Told all, and nothing else. */
static void check(uint64_t a_pages, uint64_t b_pages, struct told *t)
{
	struct manifest_file fa = nodes_table(a, a_pages);
	struct manifest_file fb = nodes_table(b, b_pages);
	uint64_t end = a_pages > b_pages ? a_pages : b_pages;

	t->stop = 0;
	assert_int_equal(run_diff(&fa, &fb, t), 0);
	expect_change(t, end, -1);
}

static void fill(uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		a[i] = next_random(3) ? nodes_page(i) : 0;
	memcpy(b, a, pages * sizeof(*a));
}

static void equal_tables_are_not_read(void **state)
{
	struct told t;

	(void)state;
	fill(3000);
	check(3000, 3000, &t);
	assert_int_equal(t.runs, 0);
	assert_int_equal(nodes.reads, 0);
	memset(a, 0, sizeof(a));
	memset(b, 0, sizeof(b));
	check(700, 700, &t);
	assert_int_equal(t.runs, 0);
	assert_int_equal(nodes.reads, 0);
}

static void one_page_costs_its_path(void **state)
{
	const uint64_t pages = PAGES_MAX;
	struct told t;

	(void)state;
	for (uint64_t i = 0; i < pages; i++)
		a[i] = b[i] = nodes_page(i);
	b[777777] = nodes_page(5000000);
	check(pages, pages, &t);
	assert_int_equal(t.pages, 1);
	/* Root, middle and leaf of each table, of 2,053 nodes. */
	assert_int_equal(nodes.reads, 6);
}

/* Reads are those of the nodes above the differing pages, not one more. */
static void scattered_pages_cost_their_paths(void **state)
{
	static uint8_t leaves[PAGES_MAX / 512], middles[PAGES_MAX / 262144];
	const uint64_t pages = PAGES_MAX;
	unsigned int touched = 1;
	struct told t;

	(void)state;
	memset(leaves, 0, sizeof(leaves));
	memset(middles, 0, sizeof(middles));
	for (uint64_t i = 0; i < pages; i++)
		a[i] = b[i] = nodes_page(i);
	/* Ten thousand pages, in three quarters of the first half. */
	for (int i = 0; i < 10000; i++) {
		uint64_t page = next_random(pages / 2);

		if (page / 512 % 4 == 3)
			page -= 512;
		b[page] = nodes_page(2000000 + page);
		leaves[page / 512] = 1;
		middles[page / 262144] = 1;
	}
	for (size_t i = 0; i < sizeof(leaves); i++)
		touched += leaves[i];
	for (size_t i = 0; i < sizeof(middles); i++)
		touched += middles[i];
	check(pages, pages, &t);
	assert_true(t.pages > 9000);
	assert_int_equal(nodes.reads, 2 * touched);
}

static void sizes_may_differ(void **state)
{
	static const uint64_t sizes[] = {0,   1,    2,	    511,    512,
					 513, 1024, 262144, 262145, 300000};
	const size_t count = sizeof(sizes) / sizeof(*sizes);
	struct told t;

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++) {
			(void)nodes_teardown(state);
			assert_int_equal(nodes_setup(state), 0);
			fill(300000);
			if (i % 2)
				b[0] = nodes_page(9000000);
			check(sizes[i], sizes[j], &t);
			assert_int_equal(t.runs > 0,
					 sizes[i] != sizes[j] ||
						 (i % 2 && sizes[i]));
		}
}

/* The lower table's only leaf is the higher one's first: it is not read. */
static void a_shared_leaf_of_two_heights_is_passed_over(void **state)
{
	struct told t;

	(void)state;
	fill(300000);
	check(512, 300000, &t);
	assert_int_equal(t.runs, 1);
	assert_int_equal(nodes.reads, 2);
}

static void random_changes_are_all_told(void **state)
{
	struct told t;

	for (int round = 0; round < 60; round++) {
		uint64_t pages = 1 + next_random(5000);

		(void)nodes_teardown(state);
		assert_int_equal(nodes_setup(state), 0);
		fill(pages);
		for (uint64_t n = next_random(300); n > 0; n--) {
			uint64_t first = next_random(pages);
			uint64_t kind = next_random(3);

			for (uint64_t i = first; i < pages && i < first + 3;
			     i++)
				b[i] = kind ? nodes_page(6000000 + i) : 0;
		}
		check(pages, 1 + next_random(5000), &t);
	}
}

static void a_damaged_node_is_told(void **state)
{
	struct manifest_file fa, fb;
	struct told t = {0};

	(void)state;
	fill(2000);
	b[1999] = nodes_page(4000000);
	fa = nodes_table(a, 2000);
	fb = nodes_table(b, 2000);
	nodes.bad = fb.root;
	assert_int_equal(run_diff(&fa, &fb, &t), -EBADMSG);
	nodes.bad = 0;
	/* A root that is a page's node is no root. */
	nodes.kinds[pager_block_slot(fb.root)] = PAGER_KIND_NODE_1;
	assert_int_equal(run_diff(&fa, &fb, &t), -EBADMSG);
	nodes.kinds[pager_block_slot(fb.root)] = 2;
	memset(nodes.pages[pager_block_slot(fb.root)], 0xff, PAGER_PAGE_SIZE);
	assert_int_equal(run_diff(&fa, &fb, &t), -EBADMSG);
}

/* One id at two heights is damage, not a subtree that both share. */
static void a_root_that_lies_of_its_height_is_refused(void **state)
{
	struct manifest_file fa, fb;
	struct told t = {0};

	(void)state;
	fill(2000);
	fa = nodes_table(a, 2000);
	fb = fa;
	fb.levels = 1;
	fb.pages = 500;
	assert_int_equal(run_diff(&fa, &fb, &t), -EBADMSG);
}

static void who_listens_can_stop(void **state)
{
	struct manifest_file fa, fb;
	struct told t = {.stop = -ECANCELED};

	(void)state;
	fill(2000);
	b[3] = nodes_page(4000000);
	b[1999] = nodes_page(4000001);
	fa = nodes_table(a, 2000);
	fb = nodes_table(b, 2000);
	assert_int_equal(run_diff(&fa, &fb, &t), -ECANCELED);
	assert_int_equal(t.runs, 1);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, nodes_setup, nodes_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(equal_tables_are_not_read),
		TEST(one_page_costs_its_path),
		TEST(scattered_pages_cost_their_paths),
		TEST(sizes_may_differ),
		TEST(a_shared_leaf_of_two_heights_is_passed_over),
		TEST(random_changes_are_all_told),
		TEST(a_damaged_node_is_told),
		TEST(a_root_that_lies_of_its_height_is_refused),
		TEST(who_listens_can_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
