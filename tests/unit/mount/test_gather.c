#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/cache/admin/evict.h"
#include "fs/cache/cache.h"
#include "fs/mount/read/gather.h"
#include "tests/unit/cache/memory_source.h"

#define BLOCKS 64

static struct {
	struct memory_source *memory;
	struct cache *cache;
	struct view view;
	struct gather *gather;
	/* Of page blocks alone; see memory_source_kind(). */
	uint64_t pages[BLOCKS];
	uint64_t node;
} t;

static int setup(void **state)
{
	const struct cache_options options = {.limit = 4 * CACHE_LIMIT_MIN};
	unsigned int count = 0;

	(void)state;
	t.memory = memory_source_new(16 * BLOCKS);
	assert_int_equal(cache_new(&options, &t.cache), 0);
	t.view = (struct view){NULL, t.cache, memory_source_ops(t.memory)};
	assert_int_equal(gather_open(&t.gather), 0);
	for (uint32_t n = 0; n < 16 * BLOCKS && count < BLOCKS; n++) {
		uint64_t block = memory_source_block(n);

		if (memory_source_kind(block) == PAGER_KIND_PAGE)
			t.pages[count++] = block;
		else
			t.node = block;
	}
	assert_int_equal(count, BLOCKS);
	return 0;
}

static int teardown(void **state)
{
	struct cache_stats stats;

	(void)state;
	cache_stats(t.cache, &stats);
	assert_int_equal(stats.pinned, 0);
	assert_int_equal(memory_source_places(t.memory), 0);
	gather_close(t.gather);
	cache_free(t.cache);
	memory_source_free(t.memory);
	return 0;
}

/* `count` wants, the blocks in an order that is not theirs. */
static size_t make_wants(struct gather *g, size_t count)
{
	struct gather_want *wants = gather_wants(g);

	for (size_t i = 0; i < count; i++)
		wants[i] = (struct gather_want){t.pages[i * 37 % BLOCKS],
						gather_buffer(g) +
							i * PAGER_PAGE_SIZE};
	memset(gather_buffer(g), 0xee, count * PAGER_PAGE_SIZE);
	return count;
}

static void check_pages(struct gather *g, size_t count)
{
	const struct gather_want *wants = gather_wants(g);

	for (size_t i = 0; i < count; i++)
		assert_true(memory_source_is_content(wants[i].block,
						     wants[i].page));
}

static int gather_all(struct gather *g, size_t count)
{
	return gather_pages(g, &t.view, gather_wants(g), count);
}

static void each_page_lands_in_its_place(void **state)
{
	size_t n = make_wants(t.gather, BLOCKS);

	(void)state;
	assert_int_equal(gather_all(t.gather, n), 0);
	check_pages(t.gather, n);
	assert_int_equal(memory_source_decodes(t.memory), BLOCKS);
	make_wants(t.gather, BLOCKS);
	assert_int_equal(gather_all(t.gather, n), 0);
	check_pages(t.gather, n);
	assert_int_equal(memory_source_decodes(t.memory), BLOCKS);
}

static void a_block_that_is_wanted_twice_is_read_once(void **state)
{
	struct gather_want *wants = gather_wants(t.gather);

	(void)state;
	make_wants(t.gather, 8);
	for (int i = 1; i < 8; i++)
		wants[i].block = wants[0].block;
	assert_int_equal(gather_all(t.gather, 8), 0);
	check_pages(t.gather, 8);
	assert_int_equal(memory_source_decodes(t.memory), 1);
}

static void a_pack_that_is_not_ready_is_prepared(void **state)
{
	size_t n = make_wants(t.gather, BLOCKS);

	(void)state;
	memory_source_need_prepare(t.memory, 0);
	assert_int_equal(gather_all(t.gather, n), 0);
	check_pages(t.gather, n);
	assert_true(memory_source_prepares(t.memory) > 0);
}

static void damage_that_passes_is_tried_again(void **state)
{
	size_t n = make_wants(t.gather, BLOCKS);

	(void)state;
	memory_source_fault(t.memory, t.pages[5], MEMORY_FLIPPED, 1);
	memory_source_fault(t.memory, t.pages[50], MEMORY_UNREADABLE, 1);
	assert_int_equal(gather_all(t.gather, n), 0);
	check_pages(t.gather, n);
}

static void fails(enum memory_fault fault, int error)
{
	size_t n = make_wants(t.gather, BLOCKS);

	memory_source_fault(t.memory, t.pages[37], fault, 1000);
	assert_int_equal(gather_all(t.gather, n), error);
	/* Whoever does not want that block goes on. */
	for (size_t i = 0; i < BLOCKS; i++) {
		struct gather_want *want = &gather_wants(t.gather)[i];
		int r = gather_pages(t.gather, &t.view, want, 1);

		assert_int_equal(r, want->block == t.pages[37] ? error : 0);
	}
	memory_source_fault(t.memory, t.pages[37], MEMORY_OK, 0);
	assert_int_equal(gather_all(t.gather, n), 0);
	check_pages(t.gather, n);
}

static void damage_that_stays_is_an_error(void **state)
{
	(void)state;
	fails(MEMORY_FLIPPED, -EBADMSG);
}

static void a_pack_cut_short_is_an_error(void **state)
{
	(void)state;
	fails(MEMORY_TRUNCATED, -EBADMSG);
}

static void a_missing_block_is_damage(void **state)
{
	(void)state;
	fails(MEMORY_ABSENT, -EBADMSG);
}

static void a_node_is_no_page(void **state)
{
	struct gather_want want = {t.node, gather_buffer(t.gather)};

	(void)state;
	assert_true(t.node != 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(gather_pages(t.gather, &t.view, &want, 1),
				 -EBADMSG);
}

static void *gather_often(void *arg)
{
	struct gather *g = arg;

	for (int i = 0; i < 200; i++) {
		size_t n = make_wants(g, BLOCKS);

		if (gather_all(g, n) < 0)
			return g;
		check_pages(g, n);
		if (i % 16 == 0)
			evict_all(t.cache, &(struct evict_report){0});
	}
	return NULL;
}

static void readers_of_the_same_blocks_all_get_them(void **state)
{
	enum { THREADS = 6 };
	struct gather *gathers[THREADS];
	pthread_t threads[THREADS];
	void *failed;

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(gather_open(&gathers[i]), 0);
		assert_int_equal(pthread_create(&threads[i], NULL, gather_often,
						gathers[i]),
				 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
		gather_close(gathers[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		TEST(each_page_lands_in_its_place),
		TEST(a_block_that_is_wanted_twice_is_read_once),
		TEST(a_pack_that_is_not_ready_is_prepared),
		TEST(damage_that_passes_is_tried_again),
		TEST(damage_that_stays_is_an_error),
		TEST(a_pack_cut_short_is_an_error),
		TEST(a_missing_block_is_damage),
		TEST(a_node_is_no_page),
		TEST(readers_of_the_same_blocks_all_get_them),
	};

	return cmocka_run_group_tests_name("gather", tests, NULL, NULL);
}
