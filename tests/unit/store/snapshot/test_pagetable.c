#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/snapshot/pagetable.h"
#include "fs/store/snapshot/tablewriter.h"

/* Nodes in memory: node n is block n + 1 of pack 1. Equal ones are shared. */
enum { NODES_MAX = 4096 };

static struct {
	uint8_t kinds[NODES_MAX];
	uint64_t nodes[NODES_MAX][PAGER_NODE_ENTRIES];
	unsigned int count;
	unsigned int reads;
	int fail_after; /* reads or writes from now; negative: never */
} memory;

DEFINE_CLEANUP(table, struct pagetable *, pagetable_free)
DEFINE_CLEANUP(writer, struct tablewriter *, tablewriter_free)

static int setup(void **state)
{
	(void)state;
	memory.count = 0;
	memory.reads = 0;
	memory.fail_after = -1;
	return 0;
}

static uint64_t id_of(unsigned int n)
{
	return pager_block_id(1, n + 1);
}

static bool due_to_fail(void)
{
	return memory.fail_after >= 0 && memory.fail_after-- == 0;
}

static int put_node(void *arg, enum pager_kind kind, const uint8_t *node,
		    uint64_t *ret_block)
{
	unsigned int n;

	(void)arg;
	if (due_to_fail())
		return -ENOSPC;
	for (n = 0; n < memory.count; n++)
		if (memory.kinds[n] == kind &&
		    memcmp(memory.nodes[n], node, PAGER_PAGE_SIZE) == 0)
			break;
	if (n == memory.count) {
		assert_true(memory.count < NODES_MAX);
		memory.kinds[n] = (uint8_t)kind;
		memcpy(memory.nodes[n], node, PAGER_PAGE_SIZE);
		memory.count++;
	}
	*ret_block = id_of(n);
	return 0;
}

static int read_node(void *arg, uint64_t block, uint8_t *ret_page,
		     uint8_t *ret_kind)
{
	unsigned int n = pager_block_slot(block) - 1;

	(void)arg;
	memory.reads++;
	if (due_to_fail())
		return -EIO;
	if (pager_block_pack(block) != 1 || n >= memory.count)
		return -ENOENT;
	memcpy(ret_page, memory.nodes[n], PAGER_PAGE_SIZE);
	*ret_kind = memory.kinds[n];
	return 0;
}

/* The id that the test gives a page: no two alike, none in pack 1. */
static uint64_t page_id(uint64_t page)
{
	return pager_block_id(2 + page / 1000000, (uint32_t)(page % 1000000));
}

/* A table of `pages` pages in which the `count` given (ascending) have data. */
static struct manifest_file build(uint64_t pages, const uint64_t *with_data,
				  size_t count)
{
	struct tablewriter *t cleanup(cleanup_writer) = NULL;
	struct manifest_file f = {.pages = pages,
				  .size = pages * PAGER_PAGE_SIZE};

	assert_int_equal(tablewriter_new(put_node, NULL, &t), 0);
	for (size_t i = 0; i < count;) {
		uint64_t ids[PAGER_NODE_ENTRIES] = {0}, leaf;

		leaf = with_data[i] / PAGER_NODE_ENTRIES;
		for (; i < count && with_data[i] / PAGER_NODE_ENTRIES == leaf;
		     i++)
			ids[with_data[i] % PAGER_NODE_ENTRIES] =
				page_id(with_data[i]);
		assert_int_equal(tablewriter_leaf(t, leaf, ids), 0);
	}
	assert_int_equal(tablewriter_finish(t, pages, &f.root, &f.levels), 0);
	return f;
}

/* As a reader does it: the directory, then the leaf. */
static uint64_t look_up(const struct pagetable *t, uint64_t page)
{
	uint64_t leaf = pagetable_leaf(t, page), block;
	uint8_t node[PAGER_PAGE_SIZE], kind;

	if (!leaf)
		return 0;
	assert_int_equal(read_node(NULL, leaf, node, &kind), 0);
	assert_int_equal(pagetable_entry(node, kind, page, &block), 0);
	return block;
}

static struct pagetable *open_table(const struct manifest_file *f)
{
	struct pagetable *t = NULL;

	assert_int_equal(pagetable_open(f, read_node, NULL, &t), 0);
	return t;
}

static void check_pages(uint64_t pages, const uint64_t *with_data, size_t count)
{
	struct manifest_file f = build(pages, with_data, count);
	struct pagetable *t cleanup(cleanup_table) = open_table(&f);

	assert_int_equal(f.levels, pager_table_levels(pages));
	assert_int_equal(f.root == 0, count == 0);
	assert_int_equal(pagetable_pages(t), pages);
	assert_int_equal(pagetable_leaves(t), (pages + 511) / 512);
	for (size_t i = 0; i < count; i++) {
		uint64_t page = with_data[i];

		assert_int_equal(look_up(t, page), page_id(page));
		if (page && (i == 0 || with_data[i - 1] != page - 1))
			assert_int_equal(look_up(t, page - 1), 0);
		if (page + 1 < pages &&
		    (i + 1 == count || with_data[i + 1] != page + 1))
			assert_int_equal(look_up(t, page + 1), 0);
	}
}

/* The first, the middle and the last page, at each side of each level. */
static void levels_change_where_they_should(void **state)
{
	static const uint64_t sizes[] = {
		1,
		2,
		511,
		512,
		513,
		1024,
		1025,
		262143,
		262144,
		262145,
		(UINT64_C(1) << 27) - 1,
		UINT64_C(1) << 27,
		(UINT64_C(1) << 27) + 1,
		UINT64_C(1) << 36,
		(UINT64_C(1) << 36) + 1,
		UINT64_C(1) << 40,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint64_t all[] = {0, sizes[i] / 2, sizes[i] - 1};
		size_t n = sizes[i] > 2 ? 3 : (size_t)sizes[i];

		if (sizes[i] == 2)
			all[1] = 1;
		(void)setup(NULL);
		check_pages(sizes[i], all, n);
		check_pages(sizes[i], all + n - 1, 1);
		check_pages(sizes[i], all, 1);
		check_pages(sizes[i], all, 0);
	}
}

static void level_counts_are_those_of_the_format(void **state)
{
	(void)state;
	assert_int_equal(pager_table_levels(0), 1);
	assert_int_equal(pager_table_levels(512), 1);
	assert_int_equal(pager_table_levels(513), 2);
	assert_int_equal(pager_table_levels(262144), 2);
	assert_int_equal(pager_table_levels(262145), 3);
	assert_int_equal(pager_table_levels(UINT64_C(1) << 40), 5);
}

/* Holes of all widths around runs of all widths. */
static void runs_and_holes_come_back(void **state)
{
	static uint64_t pages[40000];
	uint64_t page = 0;
	size_t count = 0;

	(void)state;
	srand(7);
	while (count < 39000) {
		unsigned int run = (unsigned int)rand() % 1200 + 1;
		unsigned int hole = 1u << (unsigned int)rand() % 20;

		while (run-- && count < 40000)
			pages[count++] = page++;
		page += hole;
	}
	check_pages(page + 1, pages, count);
}

static void a_table_of_zeros_stores_nothing(void **state)
{
	static const uint64_t none[PAGER_NODE_ENTRIES];
	struct tablewriter *t cleanup(cleanup_writer) = NULL;
	unsigned int levels;
	uint64_t root;

	(void)state;
	assert_int_equal(tablewriter_new(put_node, NULL, &t), 0);
	for (uint64_t leaf = 0; leaf < 2000; leaf++)
		assert_int_equal(tablewriter_leaf(t, leaf, none), 0);
	assert_int_equal(tablewriter_finish(t, 2000 * 512, &root, &levels), 0);
	assert_int_equal(root, 0);
	assert_int_equal(levels, 3);
	assert_int_equal(memory.count, 0);
}

/* A directory is as large as the table on disk, not as the file it maps. */
static void shared_subtrees_are_read_once(void **state)
{
	struct manifest_file f = {.pages = UINT64_C(1) << 40};
	struct pagetable *t cleanup(cleanup_table) = NULL;
	uint64_t below = page_id(3);

	(void)state;
	for (unsigned int level = 1; level <= 4; level++) {
		uint64_t node[PAGER_NODE_ENTRIES];

		for (unsigned int i = 0; i < PAGER_NODE_ENTRIES; i++)
			node[i] = htole64(below);
		assert_int_equal(put_node(NULL, level, (uint8_t *)node, &below),
				 0);
	}
	/* 2^40 pages are 16 of the nodes of level 4. */
	for (unsigned int i = 0; i < 16; i++)
		memory.nodes[4][i] = htole64(below);
	memset(&memory.nodes[4][16], 0, PAGER_PAGE_SIZE - 16 * 8);
	memory.kinds[4] = 5;
	memory.count = 5;
	f.root = id_of(4);
	f.levels = 5;
	t = open_table(&f);
	assert_int_equal(memory.reads, 4);
	assert_int_equal(pagetable_leaf(t, 0), id_of(0));
	assert_int_equal(pagetable_leaf(t, f.pages - 1), id_of(0));
	assert_int_equal(look_up(t, f.pages / 3), page_id(3));
}

/* A three-level table, for being spoilt: nodes are leaf, level 2, level 3. */
static struct manifest_file three_levels(void)
{
	const uint64_t page = 262144 + 7;
	struct manifest_file f;

	(void)setup(NULL);
	f = build(262144 + 600, &page, 1);
	assert_int_equal(f.levels, 3);
	assert_int_equal(memory.count, 3);
	return f;
}

static void is_refused(const struct manifest_file *f)
{
	struct pagetable *t = NULL;

	assert_int_equal(pagetable_open(f, read_node, NULL, &t), -EBADMSG);
	assert_null(t);
	assert_memory_equal(err_text(-EBADMSG), "damaged page table: ", 20);
}

static void a_node_of_a_wrong_kind_is_refused(void **state)
{
	static const uint8_t wrong[] = {PAGER_KIND_PAGE, 1, 3, 4, 255};
	struct manifest_file f;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong); i++) {
		f = three_levels();
		memory.kinds[1] = wrong[i];
		is_refused(&f);
	}
	f = three_levels();
	f.root = id_of(1); /* a node of level 2 as the root of three levels */
	is_refused(&f);
}

static void a_table_that_points_at_itself_is_refused(void **state)
{
	struct manifest_file f = three_levels();

	(void)state;
	memory.nodes[2][0] = htole64(id_of(2));
	is_refused(&f);
	/* Where kinds lie as well, levels still run out. */
	f = three_levels();
	memory.nodes[2][0] = htole64(id_of(2));
	memory.kinds[2] = 2;
	is_refused(&f);
}

static void impossible_ids_are_refused(void **state)
{
	static const uint64_t bad[] = {
		5,			       /* pack 0 */
		UINT64_C(1) << 63,	       /* past the greatest pack */
		UINT64_MAX,		       /* likewise */
		(UINT64_C(1) << 24) + 1048576, /* slot past a pack's last */
	};
	struct manifest_file f;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint64_t block = 0;

		assert_false(pagetable_block_is_possible(bad[i]));
		f = three_levels();
		memory.nodes[1][300] = htole64(bad[i]); /* a leaf's id */
		is_refused(&f);
		f = three_levels();
		memory.nodes[2][0] = htole64(bad[i]);
		is_refused(&f);
		memory.nodes[0][7] = htole64(bad[i]);
		assert_int_equal(pagetable_entry((uint8_t *)memory.nodes[0], 1,
						 7, &block),
				 -EBADMSG);
		assert_int_equal(block, 0);
	}
	assert_false(pagetable_block_is_possible(0));
}

static void entries_past_the_end_are_refused(void **state)
{
	struct manifest_file f = three_levels();

	(void)state;
	/* 600 pages of the second half: two leaves, so entry 2 is past them. */
	memory.nodes[1][2] = htole64(id_of(0));
	is_refused(&f);
	f = three_levels();
	memory.nodes[2][2] = htole64(id_of(1));
	is_refused(&f);
	f = three_levels();
	memory.nodes[2][511] = htole64(id_of(1));
	is_refused(&f);
}

static void a_leaf_of_a_wrong_kind_is_refused(void **state)
{
	static const uint8_t wrong[] = {0, 2, 5, 255};
	const uint8_t leaf[PAGER_PAGE_SIZE] = {0};
	uint64_t block = 42;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong); i++)
		assert_int_equal(pagetable_entry(leaf, wrong[i], 0, &block),
				 -EBADMSG);
	assert_int_equal(block, 42);
}

static void a_missing_node_is_an_error(void **state)
{
	struct manifest_file f = three_levels();
	struct pagetable *t = NULL;

	(void)state;
	memory.nodes[2][1] = htole64(pager_block_id(9, 9));
	assert_int_equal(pagetable_open(&f, read_node, NULL, &t), -ENOENT);
	f = three_levels();
	for (int after = 0; after < 2; after++) {
		memory.fail_after = after;
		assert_int_equal(pagetable_open(&f, read_node, NULL, &t), -EIO);
	}
}

static void a_writer_passes_failures_on(void **state)
{
	const uint64_t ids[PAGER_NODE_ENTRIES] = {page_id(1)};
	unsigned int levels = 77;
	uint64_t root = 77;

	(void)state;
	/* Leaf, leaf and the node of level 2 that it leaves, 2, 3. */
	for (int after = 0; after < 5; after++) {
		struct tablewriter *t cleanup(cleanup_writer) = NULL;
		int r;

		(void)setup(NULL);
		memory.fail_after = after;
		assert_int_equal(tablewriter_new(put_node, NULL, &t), 0);
		r = tablewriter_leaf(t, 0, ids);
		if (r == 0)
			r = tablewriter_leaf(t, 600, ids);
		if (r == 0)
			r = tablewriter_finish(t, 601 * 512, &root, &levels);
		assert_int_equal(r, -ENOSPC);
		assert_int_equal(root, 77);
		assert_int_equal(levels, 77);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(levels_change_where_they_should, setup),
		cmocka_unit_test(level_counts_are_those_of_the_format),
		cmocka_unit_test_setup(runs_and_holes_come_back, setup),
		cmocka_unit_test_setup(a_table_of_zeros_stores_nothing, setup),
		cmocka_unit_test_setup(shared_subtrees_are_read_once, setup),
		cmocka_unit_test(a_node_of_a_wrong_kind_is_refused),
		cmocka_unit_test(a_table_that_points_at_itself_is_refused),
		cmocka_unit_test(impossible_ids_are_refused),
		cmocka_unit_test(entries_past_the_end_are_refused),
		cmocka_unit_test(a_leaf_of_a_wrong_kind_is_refused),
		cmocka_unit_test(a_missing_node_is_an_error),
		cmocka_unit_test(a_writer_passes_failures_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
