#include "tests/unit/cache/cache_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cache/memory_source.h"
#include "pager/block.h"

struct cache *rig_cache(size_t limit, unsigned int shards)
{
	struct cache_options options = {.limit = limit, .shards = shards};
	struct cache *c;

	assert_int_equal(cache_new(&options, &c), 0);
	return c;
}

struct cache_stats rig_stats(struct cache *c)
{
	struct cache_stats stats;

	cache_stats(c, &stats);
	return stats;
}

bool rig_use(struct cache *c, uint64_t block, enum cache_class class)
{
	struct cache_ref ref;
	int r = cache_get(c, block, class, NULL, &ref);

	if (r == CACHE_FILL) {
		memory_source_content(block, cache_fill_buffer(&ref));
		cache_fill_done(&ref, memory_source_kind(block));
	} else {
		assert_int_equal(r, CACHE_HIT);
	}
	assert_true(memory_source_is_content(block, ref.data));
	assert_int_equal(ref.kind, memory_source_kind(block));
	assert_int_equal(ref.block, block);
	cache_unpin(&ref);
	return r == CACHE_HIT;
}

uint64_t rig_use_run(struct cache *c, uint32_t first, uint32_t count,
		     enum cache_class class)
{
	uint64_t hits = 0;

	for (uint32_t n = first; n < first + count; n++)
		hits += rig_use(c, memory_source_block(n), class);
	return hits;
}

size_t rig_resident(void)
{
	unsigned long size, resident;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &size, &resident), 2);
	(void)fclose(f);
	return resident * PAGER_PAGE_SIZE;
}

uint32_t rig_skewed(uint64_t *seed, uint32_t range)
{
	double x;

	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	x = (double)(*seed >> 33) / (double)(UINT64_C(1) << 31);
	return (uint32_t)(x * x * x * range);
}

uint32_t rig_present(struct cache *c, uint32_t first, uint32_t count)
{
	uint32_t present = 0;

	for (uint32_t n = first; n < first + count; n++) {
		struct cache_ref ref;

		if (cache_peek(c, memory_source_block(n), &ref) < 0)
			continue;
		present++;
		cache_unpin(&ref);
	}
	return present;
}
