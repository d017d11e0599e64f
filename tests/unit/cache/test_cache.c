#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/cache/admin/evict.h"
#include "fs/cache/cache.h"
#include "fs/cache/policy/ghost.h"
#include "fs/cache/shard/slotmap.h"
#include "tests/unit/cache/cache_rig.h"
#include "tests/unit/cache/memory_source.h"
#include "pager/block.h"

#define LIMIT (4u << 20)

static uint64_t drop_all(struct cache *c)
{
	struct evict_report report = {0};

	evict_all(c, &report);
	return report.blocks;
}

struct waiter {
	struct cache_waiter w;
	_Atomic int wakes;
	int error;
	char text[ERR_TEXT_MAX];
};

static void note_wake(struct cache_waiter *w, int error)
{
	struct waiter *waiter = (struct waiter *)(void *)w;

	waiter->error = error;
	if (error)
		err_copy(error, waiter->text);
	waiter->wakes++;
}

static void refuses_impossible_options(void **state)
{
	struct cache_options options = {.limit = CACHE_LIMIT_MIN - 1};
	struct cache *c = NULL;

	(void)state;
	assert_int_equal(cache_new(&options, &c), -EINVAL);
	options.limit = (size_t)CACHE_LIMIT_MAX + 1;
	assert_int_equal(cache_new(&options, &c), -EINVAL);
	options.limit = LIMIT;
	options.shards = 3;
	assert_int_equal(cache_new(&options, &c), -EINVAL);
	options.shards = 32; /* about 30 slots each */
	assert_int_equal(cache_new(&options, &c), -EINVAL);
	options.shards = 2 * CACHE_SHARDS_MAX;
	assert_int_equal(cache_new(&options, &c), -EINVAL);
	assert_null(c);
	cache_free(NULL);
}

static void a_miss_is_filled_then_hits(void **state)
{
	struct cache *c = rig_cache(LIMIT, 0);
	uint64_t block = memory_source_block(5);
	struct cache_ref ref = {.cache = NULL};
	struct cache_stats stats;

	(void)state;
	assert_int_equal(cache_peek(c, block, &ref), -ENOENT);
	assert_null(ref.cache);
	assert_false(rig_use(c, block, CACHE_FAULT));
	assert_true(rig_use(c, block, CACHE_MOUNT));
	assert_int_equal(cache_peek(c, block, &ref), 0);
	assert_true(memory_source_is_content(block, ref.data));
	assert_int_equal(rig_stats(c).pinned, 1);
	cache_unpin(&ref);
	cache_unpin(&ref); /* holds nothing any more */
	stats = rig_stats(c);
	assert_int_equal(stats.pinned, 0);
	assert_int_equal(stats.blocks, 1);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.hits, 1); /* a peek is no use */
	assert_int_equal(stats.by_class[CACHE_FAULT].misses, 1);
	assert_int_equal(stats.by_class[CACHE_MOUNT].hits, 1);
	cache_free(c);
}

static void waiters_share_a_fill(void **state)
{
	struct cache *c = rig_cache(LIMIT, 0);
	uint64_t block = memory_source_block(1);
	struct waiter w[3] = {0};
	struct cache_ref ref, none;

	(void)state;
	assert_int_equal(cache_get(c, block, CACHE_FAULT, NULL, &ref),
			 CACHE_FILL);
	assert_int_equal(cache_get(c, block, CACHE_FAULT, NULL, &none), -EBUSY);
	assert_int_equal(cache_peek(c, block, &none), -ENOENT);
	for (int i = 0; i < 3; i++) {
		w[i].w.wake = note_wake;
		assert_int_equal(
			cache_get(c, block, CACHE_MOUNT, &w[i].w, &none),
			CACHE_WAIT);
	}
	memory_source_content(block, cache_fill_buffer(&ref));
	cache_fill_done(&ref, PAGER_KIND_NODE_1);
	cache_unpin(&ref);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(w[i].wakes, 1);
		assert_int_equal(w[i].error, 0);
		assert_false(cache_cancel(c, &w[i].w));
		assert_int_equal(w[i].w.ref.kind, PAGER_KIND_NODE_1);
		assert_true(memory_source_is_content(block, w[i].w.ref.data));
		assert_int_equal(rig_stats(c).pinned, 1);
		cache_unpin(&w[i].w.ref);
	}
	assert_int_equal(rig_stats(c).pinned, 0);
	assert_int_equal(rig_stats(c).by_class[CACHE_MOUNT].waits, 3);
	cache_free(c);
}

static void a_failure_reaches_all_and_is_not_cached(void **state)
{
	struct cache *c = rig_cache(LIMIT, 0);
	uint64_t block = memory_source_block(1);
	struct waiter w[3] = {0};
	struct cache_ref ref, none;

	(void)state;
	assert_int_equal(cache_get(c, block, CACHE_FAULT, NULL, &ref),
			 CACHE_FILL);
	for (int i = 0; i < 3; i++) {
		w[i].w.wake = note_wake;
		assert_int_equal(
			cache_get(c, block, CACHE_FAULT, &w[i].w, &none),
			CACHE_WAIT);
	}
	cache_fill_failed(&ref, err_set(-EBADMSG, "pack 1 is torn"));
	assert_null(ref.cache);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(w[i].wakes, 1);
		assert_int_equal(w[i].error, -EBADMSG);
		assert_string_equal(w[i].text, "pack 1 is torn");
	}
	assert_int_equal(rig_stats(c).failures, 1);
	assert_int_equal(rig_stats(c).blocks, 0);
	assert_int_equal(rig_stats(c).inserts, 0);
	assert_false(rig_use(c, block, CACHE_FAULT));
	cache_free(c);
}

static void a_cancelled_waiter_is_not_woken(void **state)
{
	struct cache *c = rig_cache(LIMIT, 0);
	uint64_t block = memory_source_block(1);
	struct waiter w = {.w.wake = note_wake};
	struct cache_ref ref, none;

	(void)state;
	assert_int_equal(cache_get(c, block, CACHE_FAULT, NULL, &ref),
			 CACHE_FILL);
	assert_int_equal(cache_get(c, block, CACHE_FAULT, &w.w, &none),
			 CACHE_WAIT);
	assert_true(cache_cancel(c, &w.w));
	assert_false(cache_cancel(c, &w.w));
	memory_source_content(block, cache_fill_buffer(&ref));
	cache_fill_done(&ref, 0);
	cache_unpin(&ref);
	assert_int_equal(w.wakes, 0);
	assert_int_equal(rig_stats(c).pinned, 0);
	cache_free(c);
}

/* PITFALLS 56: the bound holds under a scan of unique blocks, by RSS too. */
static void the_bound_holds_under_a_unique_scan(void **state)
{
	const size_t limit = 32u << 20;
	size_t before = rig_resident();
	struct cache *c = rig_cache(limit, 0);
	struct cache_stats stats = rig_stats(c);
	uint32_t scan = (uint32_t)stats.capacity * 4;

	(void)state;
	assert_true(stats.capacity * PAGER_PAGE_SIZE > limit / 100 * 96);
	for (uint32_t n = 0; n < scan; n++) {
		assert_false(rig_use(c, memory_source_block(n), CACHE_FAULT));
		assert_true(n % 1024 || rig_stats(c).bytes <= limit);
	}
	stats = rig_stats(c);
	assert_int_equal(stats.blocks, stats.capacity);
	assert_true(stats.bytes <= limit);
	assert_int_equal(stats.inserts, scan);
	assert_int_equal(stats.evictions, scan - stats.capacity);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(rig_resident() - before < limit + (1u << 20));
#else
	(void)before; /* shadow memory counts */
#endif
	cache_free(c);
}

/* Memory is used as the cache fills, from the lowest slot on. */
static void the_lowest_slots_are_used_first(void **state)
{
	struct cache *c = rig_cache(LIMIT, 1);
	struct cache_ref first, again;

	(void)state;
	assert_int_equal(
		cache_get(c, memory_source_block(0), CACHE_FAULT, NULL, &first),
		CACHE_FILL);
	assert_int_equal(first.slot, 0);
	cache_fill_failed(&first, -EIO);
	(void)rig_use_run(c, 0, 100, CACHE_FAULT);
	assert_int_equal(drop_all(c), 100);
	assert_int_equal(cache_get(c, memory_source_block(200), CACHE_FAULT,
				   NULL, &again),
			 CACHE_FILL);
	assert_int_equal(again.slot, 0);
	cache_fill_failed(&again, -EIO);
	cache_free(c);
}

/* PITFALLS 29: evicted all around while copies read. */
static void pins_survive_pressure(void **state)
{
	struct cache *c = rig_cache(LIMIT, 2);
	uint32_t capacity = (uint32_t)rig_stats(c).capacity;
	struct cache_ref pins[10];

	(void)state;
	(void)rig_use_run(c, 0, 10, CACHE_PREFETCH);
	for (uint32_t n = 0; n < 10; n++)
		assert_int_equal(
			cache_peek(c, memory_source_block(n), &pins[n]), 0);
	(void)rig_use_run(c, 10, 10 * capacity, CACHE_FAULT);
	assert_int_equal(drop_all(c), capacity - 10);
	for (uint32_t n = 0; n < 10; n++) {
		assert_true(memory_source_is_content(memory_source_block(n),
						     pins[n].data));
		cache_unpin(&pins[n]);
		assert_true(rig_use(c, memory_source_block(n), CACHE_FAULT));
	}
	cache_free(c);
}

/* Pins all of `count` fresh blocks. */
static void pin_run(struct cache *c, uint32_t count, struct cache_ref *pins)
{
	for (uint32_t n = 0; n < count; n++) {
		uint64_t block = memory_source_block(n);

		assert_int_equal(
			cache_get(c, block, CACHE_FAULT, NULL, &pins[n]),
			CACHE_FILL);
		memory_source_content(block, cache_fill_buffer(&pins[n]));
		cache_fill_done(&pins[n], memory_source_kind(block));
	}
}

/* PITFALLS 28: a cache full of pinned slots still makes progress. */
static void all_pinned_waits_for_an_unpin(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 1);
	uint32_t capacity = (uint32_t)rig_stats(c).capacity;
	struct cache_ref *pins = calloc(capacity, sizeof(*pins)), ref;
	uint64_t block = memory_source_block(capacity);
	struct waiter w[2] = {{.w.wake = note_wake}, {.w.wake = note_wake}};

	(void)state;
	pin_run(c, capacity, pins);
	assert_int_equal(cache_get(c, block, CACHE_FAULT, NULL, &ref), -EBUSY);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			cache_get(c, block, CACHE_FAULT, &w[i].w, &ref),
			CACHE_WAIT);
	assert_int_equal(rig_stats(c).slot_waits, 3);
	cache_unpin(&pins[7]);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(w[i].wakes, 1);
		assert_int_equal(w[i].error, -EAGAIN);
	}
	assert_int_equal(cache_get(c, block, CACHE_FAULT, NULL, &ref),
			 CACHE_FILL);
	/* Now the fill holds the slot; its failure frees it again. */
	assert_int_equal(
		cache_get(c, block + 1, CACHE_FAULT, &w[0].w, &pins[7]),
		CACHE_WAIT);
	cache_fill_failed(&ref, -EIO);
	assert_int_equal(w[0].wakes, 2);
	assert_int_equal(w[0].error, -EAGAIN);
	pins[7].cache = NULL;
	for (uint32_t n = 0; n < capacity; n++)
		cache_unpin(&pins[n]);
	cache_free(c);
	free(pins);
}

/*
 * PITFALLS 57. The faults' working set fits and is warm: a mount scan of ten
 * times the cache must leave nearly all of it there; the same scan by faults
 * would not.
 */
static void a_scan_does_not_cost_the_faults(void **state)
{
	struct cache *c = rig_cache(8u << 20, 0);
	uint32_t capacity = (uint32_t)rig_stats(c).capacity;
	uint32_t set = capacity / 10 * 8;

	(void)state;
	for (int round = 0; round < 3; round++)
		(void)rig_use_run(c, 0, set, CACHE_FAULT);
	assert_int_equal(rig_use_run(c, 0, set, CACHE_FAULT), set);
	assert_int_equal(rig_use_run(c, set, 10 * capacity, CACHE_MOUNT), 0);
	assert_true(rig_use_run(c, 0, set, CACHE_FAULT) >= set / 100 * 99);
	/* A second pass of the scan finds no ghosts and promotes nothing. */
	assert_true(rig_use_run(c, set, 10 * capacity, CACHE_VERIFY) <
		    capacity);
	assert_int_equal(rig_stats(c).ghost_hits, 0);
	assert_true(rig_use_run(c, 0, set, CACHE_FAULT) >= set / 100 * 99);
	cache_free(c);
}

/* The faults' misses, with `scans` blocks of a mount scan between each two. */
static uint64_t fault_misses(uint32_t scans)
{
	struct cache *c = rig_cache(8u << 20, 0);
	uint32_t capacity = (uint32_t)rig_stats(c).capacity;
	uint32_t range = capacity * 4, scan_at = range;
	uint64_t seed = 42, misses;

	for (uint32_t i = 0; i < 100000; i++) {
		(void)rig_use(c, memory_source_block(rig_skewed(&seed, range)),
			      CACHE_FAULT);
		(void)rig_use_run(c, scan_at, scans, CACHE_MOUNT);
		scan_at += scans;
	}
	misses = rig_stats(c).by_class[CACHE_FAULT].misses;
	cache_free(c);
	return misses;
}

/* PITFALLS 57: likewise where it never fits. */
static void a_scan_among_faults_costs_little(void **state)
{
	uint64_t alone = fault_misses(0), among = fault_misses(1);

	(void)state;
	print_message("fault misses of 100000: alone %llu, in a scan %llu\n",
		      (unsigned long long)alone, (unsigned long long)among);
	assert_true(among * 100 <= alone * 110);
}

static void a_ghost_enters_the_main_queue(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 1);
	uint32_t capacity = (uint32_t)rig_stats(c).capacity;
	uint64_t block = memory_source_block(0);

	(void)state;
	assert_false(rig_use(c, block, CACHE_FAULT));
	(void)rig_use_run(c, 1, capacity, CACHE_FAULT); /* pushes it out */
	assert_int_equal(rig_stats(c).evictions, 1);
	assert_false(rig_use(c, block, CACHE_FAULT));
	assert_int_equal(rig_stats(c).ghost_hits, 1);
	/* In the small queue this would push it out once more. */
	(void)rig_use_run(c, 2 * capacity, capacity / 2, CACHE_FAULT);
	assert_true(rig_use(c, block, CACHE_FAULT));
	cache_free(c);
}

static void a_scan_leaves_no_ghost(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 1);
	uint32_t capacity = (uint32_t)rig_stats(c).capacity / 2 * 2;

	(void)state;
	(void)rig_use_run(c, 0, 2 * capacity, CACHE_MOUNT);
	(void)rig_use_run(c, capacity / 2, capacity / 2, CACHE_FAULT);
	assert_int_equal(rig_stats(c).ghost_hits, 0);
	/* New faults push those out, whose ghosts are none for a scan. */
	(void)rig_use_run(c, 2 * capacity, capacity, CACHE_FAULT);
	assert_int_equal(rig_use_run(c, capacity - 10, 10, CACHE_VERIFY), 0);
	assert_int_equal(rig_stats(c).ghost_hits, 0);
	(void)rig_use_run(c, 4 * capacity, capacity, CACHE_MOUNT);
	assert_int_equal(rig_use_run(c, capacity - 10, 10, CACHE_FAULT), 0);
	assert_int_equal(rig_stats(c).ghost_hits, 10);
	cache_free(c);
}

static void only_admitted_hits_promote(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 1);
	uint32_t capacity = (uint32_t)rig_stats(c).capacity;

	(void)state;
	(void)rig_use_run(c, 0, 20, CACHE_MOUNT);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(rig_use_run(c, 0, 10, CACHE_MOUNT), 10);
		assert_int_equal(rig_use_run(c, 10, 10, CACHE_FAULT), 10);
	}
	(void)rig_use_run(c, 20, 2 * capacity, CACHE_MOUNT);
	assert_int_equal(rig_present(c, 0, 10), 0);
	assert_int_equal(rig_present(c, 10, 10), 10);
	cache_free(c);
}

static void a_used_block_gets_another_round(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 1);
	uint32_t capacity = (uint32_t)rig_stats(c).capacity;

	(void)state;
	/* All were used twice, so most move on; then the main queue pays. */
	for (int round = 0; round < 3; round++)
		(void)rig_use_run(c, 0, capacity, CACHE_FAULT);
	assert_false(rig_use(c, memory_source_block(capacity), CACHE_FAULT));
	assert_int_equal(rig_present(c, 0, 1), 0);
	assert_int_equal(rig_use_run(c, 1, 10, CACHE_FAULT), 10);
	for (int round = 0; round < 3; round++)
		(void)rig_use_run(c, capacity + 1, capacity / 10, CACHE_FAULT);
	assert_int_equal(rig_present(c, 1, 10), 10);
	assert_int_equal(rig_present(c, 11, 5), 0);
	cache_free(c);
}

static void drop_all_spares_what_is_in_use(void **state)
{
	struct cache *c = rig_cache(LIMIT, 4);
	struct cache_ref pin, fill;

	(void)state;
	(void)rig_use_run(c, 0, 50, CACHE_FAULT);
	assert_int_equal(cache_peek(c, memory_source_block(3), &pin), 0);
	assert_int_equal(
		cache_get(c, memory_source_block(99), CACHE_FAULT, NULL, &fill),
		CACHE_FILL);
	assert_int_equal(drop_all(c), 49);
	assert_int_equal(rig_stats(c).pinned, 2);
	assert_int_equal(rig_stats(c).blocks, 1);
	assert_true(memory_source_is_content(memory_source_block(3), pin.data));
	cache_unpin(&pin);
	cache_fill_failed(&fill, -EIO);
	assert_int_equal(drop_all(c), 1);
	cache_free(c);
}

static void ghosts_are_forgotten_oldest_first(void **state)
{
	uint64_t memory[8] = {0};
	struct ghost g;

	(void)state;
	assert_true(ghost_bytes(4) <= sizeof(memory));
	ghost_init(&g, 4, memory);
	for (uint64_t block = 1; block <= 4; block++)
		ghost_add(&g, block);
	ghost_add(&g, 2); /* anew: the newest now, in the place of 1 */
	ghost_add(&g, 5); /* in the place that 2 had before */
	assert_false(ghost_take(&g, 1));
	assert_true(ghost_take(&g, 2));
	assert_false(ghost_take(&g, 2));
	assert_true(ghost_take(&g, 3));
	assert_true(ghost_take(&g, 4));
	assert_true(ghost_take(&g, 5));
	for (uint64_t block = 10; block < 1000; block++)
		ghost_add(&g, block);
	assert_false(ghost_take(&g, 995));
	assert_true(ghost_take(&g, 996));
}

static void a_slotmap_gives_the_lowest(void **state)
{
	uint64_t memory[2] = {0};
	struct slotmap m;
	uint32_t slot = 77;

	(void)state;
	assert_int_equal(slotmap_bytes(70), sizeof(memory));
	slotmap_init(&m, 70, memory);
	for (uint32_t i = 0; i < 70; i++) {
		assert_true(slotmap_take(&m, &slot));
		assert_int_equal(slot, i);
	}
	assert_false(slotmap_take(&m, &slot));
	slotmap_give(&m, 68);
	slotmap_give(&m, 3);
	assert_true(slotmap_take(&m, &slot));
	assert_int_equal(slot, 3);
	assert_true(slotmap_take(&m, &slot));
	assert_int_equal(slot, 68);
}

/* One block, one filler, one who waits and cancels, many times. */
struct race {
	struct cache *c;
	pthread_barrier_t round;
	_Atomic int filled;
	uint32_t rounds;
};

static void *fill_in_a_race(void *arg)
{
	struct race *race = arg;

	for (uint32_t i = 0; i < race->rounds; i++) {
		struct cache_ref ref;

		(void)cache_get(race->c, memory_source_block(i), CACHE_FAULT,
				NULL, &ref);
		pthread_barrier_wait(&race->round); /* it is filling */
		pthread_barrier_wait(&race->round); /* the other waits */
		if (i % 2)
			cache_fill_failed(&ref, -EIO);
		else
			cache_fill_done(&ref, 0);
		cache_unpin(&ref);
	}
	return NULL;
}

/* Each waiter is woken or cancelled, never both and never neither. */
static void cancel_races_with_the_filler(void **state)
{
	struct race race = {.c = rig_cache(LIMIT, 1), .rounds = 2000};
	pthread_t filler;
	uint32_t cancelled = 0;

	(void)state;
	pthread_barrier_init(&race.round, NULL, 2);
	assert_int_equal(pthread_create(&filler, NULL, fill_in_a_race, &race),
			 0);
	for (uint32_t i = 0; i < race.rounds; i++) {
		struct waiter w = {.w.wake = note_wake};
		struct cache_ref ref;

		pthread_barrier_wait(&race.round);
		assert_int_equal(cache_get(race.c, memory_source_block(i),
					   CACHE_FAULT, &w.w, &ref),
				 CACHE_WAIT);
		pthread_barrier_wait(&race.round);
		for (uint32_t spin = 0; spin < i % 64; spin++)
			sched_yield();
		if (cache_cancel(race.c, &w.w)) {
			cancelled++;
			assert_int_equal(w.wakes, 0);
			continue;
		}
		while (!w.wakes)
			sched_yield();
		assert_int_equal(w.error, i % 2 ? -EIO : 0);
		if (w.error == 0)
			cache_unpin(&w.w.ref);
	}
	pthread_join(filler, NULL);
	print_message("%u of %u cancelled\n", cancelled, race.rounds);
	assert_int_equal(rig_stats(race.c).pinned, 0);
	assert_int_equal(rig_stats(race.c).waits, race.rounds);
	pthread_barrier_destroy(&race.round);
	cache_free(race.c);
}

#define STRESS_THREADS 8
#define STRESS_CALLS   20000

struct stress {
	struct cache *c;
	uint64_t seed;
	uint32_t range;
	uint64_t bad, asked;
	pthread_t thread;
};

/* As rig_use(), from many threads: waits by spinning, and fails a fill of 16.
 */
static void stress_one(struct stress *s, uint64_t block, uint64_t dice)
{
	enum cache_class class = dice / 16 % CACHE_CLASS_COUNT;
	struct waiter w = {.w.wake = note_wake};
	struct cache_ref ref;
	int r = cache_get(s->c, block, class, &w.w, &ref);

	s->asked++;
	if (r == CACHE_FILL && dice % 16 == 0) {
		cache_fill_failed(&ref, -EIO);
		return;
	}
	if (r == CACHE_FILL) {
		memory_source_content(block, cache_fill_buffer(&ref));
		cache_fill_done(&ref, memory_source_kind(block));
	}
	if (r == CACHE_WAIT) {
		while (!w.wakes)
			sched_yield();
		if (w.error)
			return;
		ref = w.w.ref;
	}
	s->bad += !memory_source_is_content(block, ref.data);
	s->bad += ref.kind != memory_source_kind(block);
	cache_unpin(&ref);
}

static void *stress(void *arg)
{
	struct stress *s = arg;

	for (uint32_t i = 0; i < STRESS_CALLS; i++) {
		uint32_t n = rig_skewed(&s->seed, s->range);

		stress_one(s, memory_source_block(n), s->seed >> 20);
		if (i % 4096 == 4095)
			(void)drop_all(s->c);
	}
	return NULL;
}

static void many_threads_see_right_bytes(void **state)
{
	struct cache *c = rig_cache(CACHE_LIMIT_MIN, 2);
	struct stress s[STRESS_THREADS];
	struct cache_stats stats;
	uint64_t asked = 0;

	(void)state;
	for (uint32_t i = 0; i < STRESS_THREADS; i++) {
		s[i] = (struct stress){.c = c, .seed = i, .range = 1000};
		assert_int_equal(
			pthread_create(&s[i].thread, NULL, stress, &s[i]), 0);
	}
	for (uint32_t i = 0; i < STRESS_THREADS; i++) {
		pthread_join(s[i].thread, NULL);
		assert_int_equal(s[i].bad, 0);
		asked += s[i].asked;
	}
	stats = rig_stats(c);
	assert_int_equal(stats.hits + stats.misses + stats.waits +
				 stats.slot_waits,
			 asked);
	assert_int_equal(stats.misses, stats.inserts + stats.failures);
	assert_int_equal(stats.blocks,
			 stats.inserts - stats.evictions - stats.drops);
	assert_int_equal(stats.pinned, 0);
	assert_true(stats.bytes <= stats.limit);
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_impossible_options),
		cmocka_unit_test(a_miss_is_filled_then_hits),
		cmocka_unit_test(waiters_share_a_fill),
		cmocka_unit_test(a_failure_reaches_all_and_is_not_cached),
		cmocka_unit_test(a_cancelled_waiter_is_not_woken),
		cmocka_unit_test(the_bound_holds_under_a_unique_scan),
		cmocka_unit_test(the_lowest_slots_are_used_first),
		cmocka_unit_test(pins_survive_pressure),
		cmocka_unit_test(all_pinned_waits_for_an_unpin),
		cmocka_unit_test(a_scan_does_not_cost_the_faults),
		cmocka_unit_test(a_scan_among_faults_costs_little),
		cmocka_unit_test(a_ghost_enters_the_main_queue),
		cmocka_unit_test(a_scan_leaves_no_ghost),
		cmocka_unit_test(only_admitted_hits_promote),
		cmocka_unit_test(a_used_block_gets_another_round),
		cmocka_unit_test(drop_all_spares_what_is_in_use),
		cmocka_unit_test(ghosts_are_forgotten_oldest_first),
		cmocka_unit_test(a_slotmap_gives_the_lowest),
		cmocka_unit_test(cancel_races_with_the_filler),
		cmocka_unit_test(many_threads_see_right_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
