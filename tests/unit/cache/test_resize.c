/* Commands that change a cache in use: resize, evict, hold. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cache/cache_rig.h"
#include "fs/base/err.h"
#include "fs/cache/admin/evict.h"
#include "fs/cache/admin/resize.h"
#include "fs/cache/cache_impl.h"
#include "tests/unit/cache/memory_source.h"

#define MIB (UINT64_C(1) << 20)

static uint32_t capacity(struct cache *c)
{
	return (uint32_t)rig_stats(c).capacity;
}

static struct resize_report resize(struct cache *c, size_t limit)
{
	struct resize_report report;

	assert_int_equal(resize_cache(c, limit, &report), 0);
	return report;
}

static struct cache_ref pin(struct cache *c, uint32_t n)
{
	struct cache_ref ref;

	assert_int_equal(cache_peek(c, memory_source_block(n), &ref), 0);
	return ref;
}

static void hold_run(struct cache *c, uint32_t first, uint32_t count)
{
	(void)rig_use_run(c, first, count, CACHE_PREFETCH);
	for (uint32_t n = first; n < first + count; n++)
		assert_int_equal(cache_hold(c, memory_source_block(n)), 0);
}

static void unhold_run(struct cache *c, uint32_t first, uint32_t count)
{
	for (uint32_t n = first; n < first + count; n++)
		cache_unhold(c, memory_source_block(n));
}

static void grows_and_keeps_all(void **state)
{
	struct cache *c = rig_cache(4 * MIB, 2);
	uint32_t before = capacity(c);
	struct resize_report report;

	(void)state;
	(void)rig_use_run(c, 0, before / 2, CACHE_FAULT);
	report = resize(c, 32 * MIB);
	assert_int_equal(report.before, 4 * MIB);
	assert_int_equal(report.limit, 32 * MIB);
	assert_int_equal(report.evicted, 0);
	assert_true(capacity(c) > 7 * before);
	assert_int_equal(rig_use_run(c, 0, before / 2, CACHE_FAULT),
			 before / 2);
	(void)rig_use_run(c, before, 6 * before, CACHE_FAULT);
	assert_true(rig_present(c, before, 6 * before) > 5 * before);
	assert_true(rig_stats(c).bytes <= 32 * MIB);
	assert_true(rig_stats(c).bytes > 24 * MIB);
	cache_free(c);
}

/* PITFALLS 59. What was used stays, what was not goes. */
static void shrinks_to_what_is_used(void **state)
{
	struct cache *c = rig_cache(16 * MIB, 4);
	uint32_t full = capacity(c), used = full / 4;
	struct resize_report report;

	(void)state;
	for (int round = 0; round < 3; round++)
		(void)rig_use_run(c, 0, used, CACHE_FAULT);
	(void)rig_use_run(c, used, full - used, CACHE_MOUNT);
	report = resize(c, 8 * MIB);
	assert_int_equal(report.limit, 8 * MIB);
	assert_int_equal(report.stragglers, 0);
	assert_true(report.bytes <= 8 * MIB);
	assert_true(report.evicted >= full / 2 - full / 50);
	assert_true(rig_use_run(c, 0, used, CACHE_FAULT) >= used / 100 * 98);
	assert_true(rig_stats(c).bytes <= 8 * MIB);
	cache_free(c);
}

static void a_shrink_gives_memory_back(void **state)
{
	size_t before = rig_resident(), full, half;
	struct cache *c = rig_cache(64 * MIB, 0);

	(void)state;
	(void)rig_use_run(c, 0, capacity(c), CACHE_FAULT);
	full = rig_resident() - before;
	assert_true(full > 60 * MIB);
	(void)resize(c, 32 * MIB);
	half = rig_resident() - before;
	(void)resize(c, 0);
	(void)resize(c, 64 * MIB);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(half <= 33 * MIB);
	assert_true(rig_resident() - before <= 10 * MIB);
#else
	(void)half; /* shadow memory counts */
#endif
	/* What was given back is filled again, and right. */
	(void)rig_use_run(c, 0, 2 * capacity(c), CACHE_FAULT);
	assert_int_equal(rig_stats(c).blocks, capacity(c));
	cache_free(c);
}

static void eviction_gives_memory_back(void **state)
{
	size_t before = rig_resident();
	struct cache *c = rig_cache(64 * MIB, 0);
	struct evict_report report = {0};

	(void)state;
	(void)rig_use_run(c, 0, capacity(c), CACHE_FAULT);
	evict_coldest(c, capacity(c) / 2, &report);
	assert_int_equal(report.blocks, capacity(c) / 2);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(rig_resident() - before <= 35 * MIB);
#else
	(void)before;
#endif
	cache_free(c);
}

/* PITFALLS 59: to 0, which is the least. */
static void to_nothing_is_to_the_least(void **state)
{
	struct cache *c = rig_cache(16 * MIB, 4);
	struct resize_report report;

	(void)state;
	(void)rig_use_run(c, 0, capacity(c), CACHE_FAULT);
	report = resize(c, 0);
	assert_int_equal(report.limit, resize_least(c));
	assert_true(report.limit < MIB);
	assert_true(report.bytes <= report.limit);
	assert_int_equal(capacity(c), 4 * CACHE_SHARD_MIN);
	/* It still works, for every class. */
	for (int class = 0; class < CACHE_CLASS_COUNT; class ++)
		(void)rig_use_run(c, 0, 1000, (enum cache_class) class);
	assert_true(rig_stats(c).bytes <= report.limit);
	cache_free(c);
}

static void no_further_than_there_are_addresses(void **state)
{
	struct cache_options options = {.limit = 4 * MIB, .most = 8 * MIB};
	struct cache *c;

	(void)state;
	assert_int_equal(cache_new(&options, &c), 0);
	assert_true(resize_most(c) <= 8 * MIB);
	assert_int_equal(resize_cache(c, 9 * MIB, NULL), -ERANGE);
	assert_non_null(strstr(err_text(-ERANGE), "at most"));
	assert_int_equal(rig_stats(c).limit, 4 * MIB);
	(void)resize(c, resize_most(c));
	(void)rig_use_run(c, 0, capacity(c), CACHE_FAULT);
	cache_free(c);
}

/* PITFALLS 59: to less than what is pinned. */
static void pinned_blocks_outlast_a_shrink(void **state)
{
	struct cache *c = rig_cache(8 * MIB, 1);
	uint32_t full = capacity(c);
	struct cache_ref *pins = calloc(full, sizeof(*pins));
	struct resize_report report;

	(void)state;
	(void)rig_use_run(c, 0, full, CACHE_FAULT);
	for (uint32_t n = 0; n < full; n++)
		pins[n] = pin(c, n);
	report = resize(c, 2 * MIB);
	assert_int_equal(report.limit, 2 * MIB);
	assert_int_equal(report.evicted, 0);
	assert_int_equal(report.stragglers, full - capacity(c));
	for (uint32_t n = 0; n < full; n++) {
		assert_true(memory_source_is_content(memory_source_block(n),
						     pins[n].data));
		cache_unpin(&pins[n]);
	}
	assert_int_equal(rig_stats(c).stragglers, 0);
	assert_true(rig_stats(c).bytes <= 2 * MIB);
	(void)rig_use_run(c, full, full, CACHE_FAULT);
	assert_true(rig_stats(c).bytes <= 2 * MIB);
	cache_free(c);
	free(pins);
}

static void note_wake(struct cache_waiter *w, int error)
{
	(void)w;
	assert_int_equal(error, -EAGAIN);
}

/* Who waited for a slot finds one in a larger cache. */
static void growing_wakes_who_waits(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 1);
	uint32_t full = capacity(c);
	struct cache_ref *pins = calloc(full, sizeof(*pins)), ref;
	struct cache_waiter w = {.wake = note_wake};

	(void)state;
	(void)rig_use_run(c, 0, full, CACHE_FAULT);
	for (uint32_t n = 0; n < full; n++)
		pins[n] = pin(c, n);
	assert_int_equal(
		cache_get(c, memory_source_block(full), CACHE_FAULT, &w, &ref),
		CACHE_WAIT);
	(void)resize(c, 2 * MIB);
	assert_false(w.queued);
	assert_int_equal(
		cache_get(c, memory_source_block(full), CACHE_FAULT, &w, &ref),
		CACHE_FILL);
	cache_fill_failed(&ref, -EIO);
	for (uint32_t n = 0; n < full; n++)
		cache_unpin(&pins[n]);
	cache_free(c);
	free(pins);
}

static void a_fill_that_a_shrink_overtakes(void **state)
{
	struct cache *c = rig_cache(4 * MIB, 1);
	uint64_t block = memory_source_block(5000);
	struct cache_ref ref, failing;

	(void)state;
	(void)rig_use_run(c, 0, capacity(c) - 2, CACHE_FAULT);
	assert_int_equal(cache_get(c, block, CACHE_FAULT, NULL, &ref),
			 CACHE_FILL);
	assert_int_equal(cache_get(c, block + 1, CACHE_FAULT, NULL, &failing),
			 CACHE_FILL);
	assert_int_equal(resize(c, MIB).stragglers, 2);
	memory_source_content(block, cache_fill_buffer(&ref));
	cache_fill_done(&ref, memory_source_kind(block));
	cache_fill_failed(&failing, -EIO);
	assert_int_equal(rig_stats(c).stragglers, 1);
	cache_unpin(&ref);
	assert_int_equal(rig_stats(c).stragglers, 0);
	/* It was moved down, not lost. */
	assert_true(rig_use(c, block, CACHE_FAULT));
	assert_true(rig_stats(c).bytes <= MIB);
	cache_free(c);
}

static void held_blocks_stay(void **state)
{
	struct cache *c = rig_cache(4 * MIB, 2);
	uint32_t full = capacity(c);
	struct evict_report report = {0};

	(void)state;
	assert_int_equal(cache_hold(c, memory_source_block(9)), -ENOENT);
	hold_run(c, 0, full / 4);
	hold_run(c, 0, full / 8);
	(void)rig_use_run(c, full, 10 * full, CACHE_FAULT);
	assert_int_equal(rig_present(c, 0, full / 4), full / 4);
	assert_int_equal(rig_stats(c).held, full / 4);
	evict_all(c, &report);
	assert_int_equal(report.held, full / 4);
	assert_int_equal(rig_stats(c).blocks, full / 4);
	unhold_run(c, 0, full / 4);
	assert_int_equal(rig_stats(c).held, full / 8);
	unhold_run(c, 0, full / 8);
	report = (struct evict_report){0};
	evict_all(c, &report);
	assert_int_equal(report.blocks, full / 4);
	cache_free(c);
}

/* Holds leave slots for everybody else, and a fault even finds more. */
static void not_all_can_be_held(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 1);
	uint32_t most = (uint32_t)rig_stats(c).holdable;
	struct cache_ref refs[256], ref;
	uint32_t taken = 0;

	(void)state;
	hold_run(c, 0, most);
	assert_int_equal(rig_stats(c).held, most);
	assert_false(rig_use(c, memory_source_block(most), CACHE_PREFETCH));
	assert_int_equal(cache_hold(c, memory_source_block(most)), -ENOSPC);
	assert_int_equal(cache_hold(c, memory_source_block(0)), 0);
	while (cache_get(c, memory_source_block(1000 + taken), CACHE_MOUNT,
			 NULL, &refs[taken]) == CACHE_FILL)
		taken++;
	assert_int_equal(taken, capacity(c) - most - capacity(c) / 8);
	/* What the scan may not have is there for a fault. */
	assert_int_equal(cache_get(c, memory_source_block(5000), CACHE_FAULT,
				   NULL, &ref),
			 CACHE_FILL);
	cache_fill_failed(&ref, -EIO);
	for (uint32_t n = 0; n < taken; n++)
		cache_fill_failed(&refs[n], -EIO);
	unhold_run(c, 0, 1);
	unhold_run(c, 0, most);
	cache_free(c);
}

static void a_shrink_below_what_is_held_is_refused(void **state)
{
	struct cache *c = rig_cache(8 * MIB, 2);
	uint32_t held = capacity(c) / 2;

	(void)state;
	hold_run(c, 0, held);
	assert_int_equal(resize_cache(c, 4 * MIB, NULL), -EBUSY);
	assert_non_null(strstr(err_text(-EBUSY), "pinned"));
	assert_int_equal(rig_stats(c).limit, 8 * MIB);
	(void)rig_use_run(c, 0, 2 * capacity(c), CACHE_FAULT);
	assert_int_equal(resize(c, 6 * MIB).limit, 6 * MIB);
	assert_int_equal(rig_present(c, 0, held), held);
	assert_int_equal(rig_use_run(c, 0, held, CACHE_FAULT), held);
	unhold_run(c, 0, held);
	assert_int_equal(resize(c, 4 * MIB).limit, 4 * MIB);
	cache_free(c);
}

static void what_others_use_is_counted(void **state)
{
	struct cache *c = rig_cache(8 * MIB, 2);
	uint32_t full = capacity(c);

	(void)state;
	(void)rig_use_run(c, 0, full, CACHE_FAULT);
	assert_int_equal(resize_charge(c, CACHE_CHARGE_READS, 2 * MIB), 0);
	assert_true(capacity(c) <= full - 2 * MIB / 4200);
	assert_true(rig_stats(c).bytes <= 8 * MIB);
	assert_int_equal(rig_stats(c).charged[CACHE_CHARGE_READS], 2 * MIB);
	/* More than there is: the least cache beside it. */
	assert_int_equal(resize_charge(c, CACHE_CHARGE_READS, 16 * MIB), 0);
	assert_int_equal(rig_stats(c).limit, resize_least(c));
	assert_true(rig_stats(c).limit > 18 * MIB);
	resize_uncharge(c, CACHE_CHARGE_READS, 18 * MIB);
	/* The bound that was asked for is back. */
	assert_int_equal(rig_stats(c).limit, 8 * MIB);
	assert_int_equal(capacity(c), full);
	cache_free(c);
}

static void evicts_by_name_and_by_age(void **state)
{
	struct cache *c = rig_cache(4 * MIB, 2);
	struct evict_report report = {0};
	struct cache_ref ref, filling;

	(void)state;
	(void)rig_use_run(c, 0, 100, CACHE_FAULT);
	ref = pin(c, 7);
	assert_int_equal(cache_get(c, memory_source_block(200), CACHE_FAULT,
				   NULL, &filling),
			 CACHE_FILL);
	evict_block(c, memory_source_block(7), &report);
	evict_block(c, memory_source_block(8), &report);
	evict_block(c, memory_source_block(8), &report);
	evict_block(c, memory_source_block(200), &report);
	assert_int_equal(report.blocks, 1);
	assert_int_equal(report.pinned, 1);
	assert_int_equal(report.absent, 1);
	assert_int_equal(report.filling, 1);
	report = (struct evict_report){0};
	evict_idle(c, 3600, &report);
	assert_int_equal(report.blocks, 0);
	/* Two hours pass for block 9. */
	for (unsigned int i = 0; i < c->shard_count; i++) {
		uint32_t slot;

		if (shard_find(&c->shards[i], memory_source_block(9), &slot))
			c->shards[i].entries[slot].used_at -= 7200;
	}
	evict_idle(c, 3600, &report);
	assert_int_equal(report.blocks, 1);
	assert_int_equal(rig_present(c, 9, 1), 0);
	assert_int_equal(rig_stats(c).drops, 2);
	cache_unpin(&ref);
	cache_fill_failed(&filling, -EIO);
	cache_free(c);
}

/* What each class has brought in, what of it is in use, and all bytes. */
static void what_is_there_is_told_by_class(void **state)
{
	struct cache *c = rig_cache(8 * MIB, 2);
	struct cache_ref ref, filling;
	struct cache_stats s;

	(void)state;
	(void)rig_use_run(c, 0, 20, CACHE_FAULT);
	(void)rig_use_run(c, 10, 40, CACHE_MOUNT);
	assert_int_equal(
		cache_get(c, memory_source_block(30), CACHE_FAULT, NULL, &ref),
		CACHE_HIT);
	assert_int_equal(cache_get(c, memory_source_block(99), CACHE_NODE, NULL,
				   &filling),
			 CACHE_FILL);
	s = rig_stats(c);
	assert_int_equal(s.by_class[CACHE_FAULT].blocks, 20);
	assert_int_equal(s.by_class[CACHE_MOUNT].blocks, 30);
	assert_int_equal(s.by_class[CACHE_NODE].blocks, 0);
	assert_int_equal(s.blocks, 50);
	assert_int_equal(s.by_class[CACHE_FAULT].pinned, 0);
	assert_int_equal(s.by_class[CACHE_MOUNT].pinned, 1);
	assert_int_equal(s.by_class[CACHE_NODE].pinned, 1);
	assert_int_equal(s.pinned, 2);
	assert_int_equal(s.bytes, s.tables + s.ghosts + s.curve + 51 * 4096);
	cache_unpin(&ref);
	cache_fill_failed(&filling, -EIO);
	evict_all(c, &(struct evict_report){0});
	s = rig_stats(c);
	assert_int_equal(s.pinned, 0);
	assert_int_equal(s.blocks, 0);
	assert_int_equal(s.by_class[CACHE_MOUNT].blocks, 0);
	cache_free(c);
}

/* More than there is: the report tells what stays, and why. */
static void the_coldest_of_too_few(void **state)
{
	struct cache *c = rig_cache(8 * MIB, 2);
	struct evict_report report = {0};
	struct cache_ref ref, filling;

	(void)state;
	(void)rig_use_run(c, 0, 20, CACHE_FAULT);
	hold_run(c, 0, 5);
	assert_int_equal(
		cache_get(c, memory_source_block(7), CACHE_FAULT, NULL, &ref),
		CACHE_HIT);
	assert_int_equal(cache_get(c, memory_source_block(99), CACHE_NODE, NULL,
				   &filling),
			 CACHE_FILL);
	evict_coldest(c, 1000, &report);
	assert_int_equal(report.blocks, 14);
	assert_int_equal(report.held, 5);
	assert_int_equal(report.pinned, 1);
	assert_int_equal(report.filling, 1);
	cache_unpin(&ref);
	cache_fill_failed(&filling, -EIO);
	unhold_run(c, 0, 5);
	cache_free(c);
}

static void evictions_are_told_apart(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 1);
	uint32_t full = capacity(c);
	struct cache_stats stats;

	(void)state;
	assert_false(rig_stats(c).evicted);
	(void)rig_use_run(c, 0, full / 2, CACHE_MOUNT);
	(void)rig_use_run(c, 0, 10, CACHE_MOUNT);
	(void)rig_use_run(c, full, 2 * full, CACHE_FAULT);
	stats = rig_stats(c);
	assert_true(stats.evicted);
	assert_int_equal(stats.by_class[CACHE_MOUNT].inserts, full / 2);
	assert_in_range(stats.by_class[CACHE_MOUNT].evictions, full / 2 - 2,
			full / 2);
	assert_int_equal(stats.by_class[CACHE_MOUNT].evictions -
				 stats.by_class[CACHE_MOUNT].evictions_unused,
			 10);
	assert_int_equal(stats.by_class[CACHE_FAULT].inserts, 2 * full);
	assert_int_equal(stats.by_class[CACHE_FAULT].evictions_active, 0);
	/* All that is there is in use: somebody has to go all the same. */
	for (int round = 0; round < 4; round++)
		(void)rig_use_run(c, 5 * full, full, CACHE_FAULT);
	stats = rig_stats(c);
	assert_true(stats.by_class[CACHE_FAULT].evictions_active > 0);
	assert_true(stats.by_class[CACHE_FAULT].evicted);
	assert_true(stats.by_class[CACHE_MOUNT].evicted);
	assert_false(stats.by_class[CACHE_VERIFY].evicted);
	assert_in_range(stats.evicted_ago, 0,
			stats.by_class[CACHE_MOUNT].evicted_ago);
	assert_true(stats.read_p99 > 0);
	assert_int_equal(stats.reads, stats.inserts);
	for (int i = 1; i < CACHE_READ_STEPS; i++)
		assert_in_range(stats.read_below[i], stats.read_below[i - 1],
				stats.reads);
	cache_free(c);
}

#define THREADS 6
#define CALLS	30000

struct storm {
	struct cache *c;
	uint64_t seed, bad;
	pthread_t thread;
	_Atomic bool *over;
};

static void *use_at_random(void *arg)
{
	struct storm *s = arg;

	for (uint32_t i = 0; i < CALLS; i++) {
		uint32_t n = rig_skewed(&s->seed, 4000);
		uint64_t block = memory_source_block(n);
		struct cache_ref ref;
		int r = cache_get(s->c, block,
				  s->seed >> 40 & 1 ? CACHE_FAULT : CACHE_MOUNT,
				  NULL, &ref);

		if (r == -EBUSY) {
			sched_yield();
			continue;
		}
		if (r == CACHE_FILL && (s->seed >> 20) % 16 == 0) {
			cache_fill_failed(&ref, -EIO);
			continue;
		}
		if (r == CACHE_FILL) {
			memory_source_content(block, cache_fill_buffer(&ref));
			cache_fill_done(&ref, memory_source_kind(block));
		}
		s->bad += !memory_source_is_content(block, ref.data);
		cache_unpin(&ref);
	}
	return NULL;
}

/* They may be evicted between the two, but not after. */
static void hold_among_evictions(struct cache *c, uint32_t first,
				 uint32_t count)
{
	for (uint32_t n = first; n < first + count; n++)
		do
			(void)rig_use(c, memory_source_block(n), CACHE_FAULT);
		while (cache_hold(c, memory_source_block(n)) == -ENOENT);
}

static void *command_at_random(void *arg)
{
	struct storm *s = arg;

	while (!*s->over) {
		struct evict_report report = {0};

		(void)resize_cache(s->c, MIB + rig_skewed(&s->seed, 15 * MIB),
				   NULL);
		evict_coldest(s->c, rig_skewed(&s->seed, 500), &report);
		hold_among_evictions(s->c, 5000, 50);
		(void)resize_cache(s->c, 0, NULL);
		evict_all(s->c, &report);
		if (rig_present(s->c, 5000, 50) != 50)
			s->bad++;
		unhold_run(s->c, 5000, 50);
	}
	return NULL;
}

/* PITFALLS 29 and 59, as a race. */
static void commands_among_faults(void **state)
{
	struct storm s[THREADS], commands;
	_Atomic bool over = false;
	struct cache *c = rig_cache(16 * MIB, 4);
	struct cache_stats stats;

	(void)state;
	commands = (struct storm){.c = c, .seed = 99, .over = &over};
	assert_int_equal(pthread_create(&commands.thread, NULL,
					command_at_random, &commands),
			 0);
	for (uint32_t i = 0; i < THREADS; i++) {
		s[i] = (struct storm){.c = c, .seed = i};
		assert_int_equal(pthread_create(&s[i].thread, NULL,
						use_at_random, &s[i]),
				 0);
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		pthread_join(s[i].thread, NULL);
		assert_int_equal(s[i].bad, 0);
	}
	over = true;
	pthread_join(commands.thread, NULL);
	assert_int_equal(commands.bad, 0);
	stats = rig_stats(c);
	assert_int_equal(stats.pinned, 0);
	assert_int_equal(stats.held, 0);
	assert_int_equal(stats.stragglers, 0);
	assert_true(stats.bytes <= stats.limit);
	assert_int_equal(stats.blocks,
			 stats.inserts - stats.evictions - stats.drops);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_keeps_all),
		cmocka_unit_test(shrinks_to_what_is_used),
		cmocka_unit_test(a_shrink_gives_memory_back),
		cmocka_unit_test(eviction_gives_memory_back),
		cmocka_unit_test(to_nothing_is_to_the_least),
		cmocka_unit_test(no_further_than_there_are_addresses),
		cmocka_unit_test(pinned_blocks_outlast_a_shrink),
		cmocka_unit_test(growing_wakes_who_waits),
		cmocka_unit_test(a_fill_that_a_shrink_overtakes),
		cmocka_unit_test(held_blocks_stay),
		cmocka_unit_test(not_all_can_be_held),
		cmocka_unit_test(a_shrink_below_what_is_held_is_refused),
		cmocka_unit_test(what_others_use_is_counted),
		cmocka_unit_test(evicts_by_name_and_by_age),
		cmocka_unit_test(what_is_there_is_told_by_class),
		cmocka_unit_test(the_coldest_of_too_few),
		cmocka_unit_test(evictions_are_told_apart),
		cmocka_unit_test(commands_among_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
