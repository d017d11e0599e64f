/* Commands by snapshot: warm, pin, evict, and who uses the cache. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cache/cache_rig.h"
#include "fs/base/err.h"
#include "fs/cache/admin/evict.h"
#include "fs/cache/admin/jobs.h"
#include "fs/cache/admin/resize.h"
#include "fs/cache/admin/usage.h"
#include "fs/io/inject.h"
#include "fs/store/pack/packfind.h"
#include "fs/store/workingset/wsfile.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/store/scratch.h"

#define MIB (UINT64_C(1) << 20)

/* Blocks from there on are in no pack of the store. */
#define FOREIGN 1000000u

struct rig {
	char folder[SCRATCH_PATH_MAX];
	struct store *store;
	struct cache *cache;
	struct pins *pins;
	struct jobs *jobs;
	struct snapshot *a, *b;
};

static struct snapshot *publish_as(struct rig *rig, const char *name,
				   const uint8_t *image, size_t size)
{
	struct publish_result result;
	struct snapshot *snap;
	char path[SCRATCH_PATH_MAX * 2];

	(void)snprintf(path, sizeof(path), "%s/%s.img", rig->folder, name);
	image_write(path, image, size);
	assert_int_equal(image_publish(rig->store, name, path, &result), 0);
	assert_int_equal(snapshot_open(rig->store, name, &snap), 0);
	return snap;
}

/* Snapshot b is a with its last half MiB changed. */
static int setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	const struct store_init_options options = {0};
	uint8_t *image = image_make(1, 4 * MIB);
	uint8_t *other = image_make(2, MIB / 2);
	char path[SCRATCH_PATH_MAX * 2];

	scratch_make(rig->folder);
	(void)snprintf(path, sizeof(path), "%s/store", rig->folder);
	assert_int_equal(store_init(path, &options), 0);
	assert_int_equal(store_open(path, STORE_WRITE, &rig->store), 0);
	rig->a = publish_as(rig, "a", image, 4 * MIB);
	memcpy(image + 7 * MIB / 2, other, MIB / 2);
	rig->b = publish_as(rig, "b", image, 4 * MIB);
	free(image);
	free(other);
	rig->cache = rig_cache(16 * MIB, 2);
	assert_int_equal(pins_new(rig->cache, &rig->pins), 0);
	assert_int_equal(jobs_new(rig->cache, rig->pins, &rig->jobs), 0);
	*state = rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	jobs_free(rig->jobs);
	pins_free(rig->pins);
	assert_int_equal(rig_stats(rig->cache).held, 0);
	assert_int_equal(rig_stats(rig->cache).charged[CACHE_CHARGE_LISTS], 0);
	cache_free(rig->cache);
	snapshot_unref(rig->a);
	snapshot_unref(rig->b);
	store_unref(rig->store);
	scratch_remove(rig->folder);
	free(rig);
	return 0;
}

static struct job_status status_of(struct rig *rig, uint64_t id)
{
	struct job_status *list, found = {0};
	size_t count;

	assert_int_equal(jobs_list(rig->jobs, &list, &count), 0);
	for (size_t i = 0; i < count; i++)
		if (list[i].id == id)
			found = list[i];
	jobs_list_free(list, count);
	assert_int_equal(found.id, id);
	/* They were freed with the list. */
	found.snapshot = NULL;
	found.error = found.error ? "" : NULL;
	return found;
}

static struct job_status wait_for(struct rig *rig, uint64_t id)
{
	struct job_status s;

	while (s = status_of(rig, id), s.state == JOB_RUNNING)
		sched_yield();
	return s;
}

static uint64_t warm(struct rig *rig, struct snapshot *snap,
		     struct jobs_options options)
{
	uint64_t id;

	assert_int_equal(jobs_warm(rig->jobs, snap, &options, &id), 0);
	return id;
}

static void pin(struct rig *rig, struct snapshot *snap)
{
	const struct jobs_options options = {0};
	uint64_t id;

	assert_int_equal(jobs_pin(rig->jobs, snap, &options, &id), 0);
	assert_int_equal(wait_for(rig, id).state, JOB_DONE);
}

static struct blockset blocks_of(struct rig *rig, struct snapshot *snap)
{
	struct blockset set;

	assert_int_equal(blockset_of_snapshot(rig->cache, snap, &set), 0);
	return set;
}

static size_t present(struct rig *rig, const struct blockset *set)
{
	size_t n = 0;

	for (size_t i = 0; i < set->count; i++) {
		struct cache_ref ref;

		if (cache_peek(rig->cache, set->blocks[i], &ref) < 0)
			continue;
		cache_unpin(&ref);
		n++;
	}
	return n;
}

static struct evict_report evict(struct rig *rig, struct snapshot *snap,
				 bool force)
{
	struct evict_report report = {0};

	assert_int_equal(evict_snapshot(rig->cache, snap,
					force ? rig->pins : NULL, &report),
			 0);
	return report;
}

/* Every block that can be reached, and nothing is read into the cache. */
static void a_set_is_all_that_was_published(void **state)
{
	struct rig *rig = *state;
	struct blockset a = blocks_of(rig, rig->a), b = blocks_of(rig, rig->b);
	const struct manifest *m = snapshot_manifest(rig->a);
	uint64_t nodes = 2 + 1; /* leaves of 2 MiB, and the root */

	assert_true(a.count > nodes);
	assert_int_equal(a.count, m->new_blocks);
	assert_true(b.count > a.count / 2);
	for (size_t i = 1; i < a.count; i++)
		assert_true(a.blocks[i] > a.blocks[i - 1]);
	assert_int_equal(rig_stats(rig->cache).blocks, 0);
	blockset_release(&a);
	blockset_release(&b);
}

static void warms_all_once(void **state)
{
	struct rig *rig = *state;
	struct blockset set = blocks_of(rig, rig->a);
	struct job_status s =
		wait_for(rig, warm(rig, rig->a, (struct jobs_options){0}));

	assert_int_equal(s.state, JOB_DONE);
	assert_int_equal(s.blocks, set.count);
	assert_int_equal(s.done, set.count);
	assert_int_equal(s.found, 0);
	assert_int_equal(present(rig, &set), set.count);
	s = wait_for(rig, warm(rig, rig->a, (struct jobs_options){0}));
	assert_int_equal(s.found, set.count);
	assert_int_equal(rig_stats(rig->cache).by_class[CACHE_PREFETCH].misses,
			 set.count);
	blockset_release(&set);
}

static void a_rate_is_kept(void **state)
{
	struct rig *rig = *state;
	uint64_t slow = warm(rig, rig->a, (struct jobs_options){.rate = 40960});
	uint64_t quick = warm(rig, rig->b, (struct jobs_options){0});

	/* The quick one does not wait for the slow one. */
	assert_int_equal(wait_for(rig, quick).state, JOB_DONE);
	assert_int_equal(status_of(rig, slow).state, JOB_RUNNING);
	assert_true(status_of(rig, slow).done < 200);
	/* Which is given up at the end. */
}

/* What was read stays; a pin does not, and its snapshot can go. */
static void a_job_is_cancelled(void **state)
{
	struct rig *rig = *state;
	const struct jobs_options slow = {.rate = 4096};
	uint64_t ids[2];

	ids[0] = warm(rig, rig->a, slow);
	assert_int_equal(jobs_pin(rig->jobs, rig->b, &slow, &ids[1]), 0);
	while (status_of(rig, ids[0]).done == 0 ||
	       status_of(rig, ids[1]).done == 0)
		sched_yield();
	for (int i = 0; i < 2; i++) {
		struct job_status s;

		assert_int_equal(jobs_cancel(rig->jobs, ids[i]), 0);
		s = wait_for(rig, ids[i]);
		assert_int_equal(s.state, JOB_CANCELLED);
		assert_true(s.done < s.blocks);
		assert_null(s.error);
	}
	assert_true(rig_stats(rig->cache).blocks > 0);
	assert_int_equal(rig_stats(rig->cache).held, 0);
	assert_int_equal(pins_remove(rig->pins, "b"), -ENOENT);
	/* One that has ended stays what it was. */
	ids[0] = warm(rig, rig->a, (struct jobs_options){0});
	assert_int_equal(wait_for(rig, ids[0]).state, JOB_DONE);
	assert_int_equal(jobs_cancel(rig->jobs, ids[0]), 0);
	assert_int_equal(status_of(rig, ids[0]).state, JOB_DONE);
	assert_int_equal(jobs_cancel(rig->jobs, 1000), -ENOENT);
}

static void warms_a_working_set(void **state)
{
	struct rig *rig = *state;
	const struct manifest_file *image = &snapshot_manifest(rig->a)->image;
	const struct jobs_options options = {.working_set = true};
	struct workingset none = {.image = image->digest,
				  .pages = image->pages};
	struct workingset set;
	uint64_t pages[] = {700, 3, 4, 5, 600}, id;
	struct job_status s;

	assert_int_equal(jobs_warm(rig->jobs, rig->a, &options, &id), -ENOENT);
	assert_int_equal(workingset_merge(&none, pages, 5, 100, &set), 0);
	assert_int_equal(wsfile_save(rig->store, &set), 0);
	workingset_release(&set);
	s = wait_for(rig, warm(rig, rig->a, options));
	assert_int_equal(s.state, JOB_DONE);
	assert_in_range(s.done, 3, 9);
	assert_in_range(rig_stats(rig->cache).blocks, 3, 8);
}

static void a_pinned_snapshot_stays(void **state)
{
	struct rig *rig = *state;
	struct blockset a = blocks_of(rig, rig->a), b = blocks_of(rig, rig->b);
	struct pin_status *list;
	uint64_t blocks;
	size_t count;

	pin(rig, rig->a);
	assert_int_equal(rig_stats(rig->cache).held, a.count);
	assert_int_equal(rig_stats(rig->cache).charged[CACHE_CHARGE_LISTS],
			 a.count * 8);
	assert_int_equal(pins_begin(rig->pins, rig->a, &blocks), -ENOTUNIQ);
	(void)rig_use_run(rig->cache, FOREIGN, 20000, CACHE_FAULT);
	assert_int_equal(present(rig, &a), a.count);
	assert_int_equal(pins_list(rig->pins, &list, &count), 0);
	assert_int_equal(count, 1);
	assert_string_equal(list[0].snapshot, "a");
	assert_int_equal(list[0].held, a.count);
	pins_list_free(list, count);
	/* What they share is held by both. */
	pin(rig, rig->b);
	assert_int_equal(pins_remove(rig->pins, "a"), 0);
	assert_int_equal(pins_remove(rig->pins, "a"), -ENOENT);
	assert_int_equal(rig_stats(rig->cache).held, b.count);
	(void)rig_use_run(rig->cache, FOREIGN, 20000, CACHE_FAULT);
	assert_int_equal(present(rig, &b), b.count);
	assert_int_equal(pins_remove(rig->pins, "b"), 0);
	blockset_release(&a);
	blockset_release(&b);
}

/* While it is pinned nobody removes it from the store. */
static void a_pinned_snapshot_is_leased(void **state)
{
	struct rig *rig = *state;

	pin(rig, rig->a);
	snapshot_unref(rig->a);
	assert_int_equal(snapshot_remove(rig->store, "a"), -EBUSY);
	assert_int_equal(pins_remove(rig->pins, "a"), 0);
	assert_int_equal(snapshot_remove(rig->store, "a"), 0);
	rig->a = NULL;
}

static void what_does_not_fit_is_refused(void **state)
{
	struct rig *rig = *state;
	const struct jobs_options options = {0};
	uint64_t id;

	assert_int_equal(resize_cache(rig->cache, 2 * MIB, NULL), 0);
	assert_int_equal(jobs_pin(rig->jobs, rig->a, &options, &id), -ENOSPC);
	assert_non_null(strstr(err_text(-ENOSPC), "at most"));
	assert_int_equal(rig_stats(rig->cache).held, 0);
	assert_int_equal(resize_cache(rig->cache, 16 * MIB, NULL), 0);
	pin(rig, rig->a);
	assert_int_equal(resize_cache(rig->cache, 2 * MIB, NULL), -EBUSY);
	assert_int_equal(resize_cache(rig->cache, 0, NULL), -EBUSY);
	assert_int_equal(pins_remove(rig->pins, "a"), 0);
	assert_int_equal(resize_cache(rig->cache, 0, NULL), 0);
}

static void evicts_what_no_pin_shares(void **state)
{
	struct rig *rig = *state;
	struct blockset a = blocks_of(rig, rig->a), b = blocks_of(rig, rig->b);
	struct evict_report report;
	struct pin_status *list;
	size_t count, shared;

	(void)wait_for(rig, warm(rig, rig->b, (struct jobs_options){0}));
	pin(rig, rig->a);
	shared = a.count + b.count - rig_stats(rig->cache).blocks;
	assert_true(shared > 0 && shared < b.count);
	report = evict(rig, rig->b, false);
	assert_int_equal(report.blocks, b.count - shared);
	assert_int_equal(report.held, shared);
	assert_int_equal(present(rig, &a), a.count);
	report = evict(rig, rig->b, true);
	assert_int_equal(report.blocks, shared);
	assert_int_equal(report.absent, b.count - shared);
	assert_int_equal(present(rig, &b), 0);
	assert_int_equal(pins_list(rig->pins, &list, &count), 0);
	assert_int_equal(list[0].held, a.count - shared);
	pins_list_free(list, count);
	/* Another's hold on a block that came back is not taken away. */
	pin(rig, rig->b);
	assert_int_equal(pins_remove(rig->pins, "a"), 0);
	assert_int_equal(rig_stats(rig->cache).held, b.count);
	assert_int_equal(pins_remove(rig->pins, "b"), 0);
	blockset_release(&a);
	blockset_release(&b);
}

static void a_pin_that_is_taken_away_while_it_loads(void **state)
{
	struct rig *rig = *state;
	const struct jobs_options options = {.rate = 40960};
	uint64_t id;

	assert_int_equal(jobs_pin(rig->jobs, rig->a, &options, &id), 0);
	while (status_of(rig, id).done == 0)
		sched_yield();
	assert_int_equal(pins_remove(rig->pins, "a"), 0);
	assert_int_equal(rig_stats(rig->cache).held, 0);
}

struct search {
	uint64_t wanted;
	unsigned int found, others;
};

static int note_found(void *arg, uint64_t block)
{
	struct search *s = arg;

	if (block == s->wanted)
		s->found++;
	else
		s->others++;
	return 0;
}

static void a_digest_finds_its_block(void **state)
{
	struct rig *rig = *state;
	struct blockset set = blocks_of(rig, rig->a);
	uint8_t page[PAGER_PAGE_SIZE], kind;
	struct pager_digest digest;

	for (size_t i = 0; i < set.count; i += 7) {
		struct search s = {.wanted = set.blocks[i]};

		assert_int_equal(block_source_read(store_source(rig->store),
						   s.wanted, page, &kind),
				 0);
		store_digest(rig->store, page, (enum pager_kind)kind, &digest);
		assert_int_equal(
			packfind_all(rig->store, &digest, note_found, &s), 0);
		assert_int_equal(s.found, 1);
		assert_int_equal(s.others, 0);
	}
	memset(&digest, 0x5a, sizeof(digest));
	assert_int_equal(packfind_all(rig->store, &digest, note_found,
				      &(struct search){0}),
			 0);
	blockset_release(&set);
}

static void tells_who_uses_the_cache(void **state)
{
	struct rig *rig = *state;
	struct blockset a = blocks_of(rig, rig->a), b = blocks_of(rig, rig->b);
	struct usage *list;
	size_t count;

	assert_int_equal(usage_top(rig->cache, rig->store, 10, &list, &count),
			 0);
	assert_int_equal(count, 0);
	usage_free(list, count);
	(void)wait_for(rig, warm(rig, rig->b, (struct jobs_options){0}));
	assert_int_equal(usage_top(rig->cache, rig->store, 10, &list, &count),
			 0);
	assert_int_equal(count, 2);
	assert_string_equal(list[0].snapshot, "b");
	assert_int_equal(list[0].blocks, b.count);
	assert_int_equal(list[1].blocks, present(rig, &a));
	usage_free(list, count);
	assert_int_equal(usage_top(rig->cache, rig->store, 1, &list, &count),
			 0);
	assert_int_equal(count, 1);
	usage_free(list, count);
	blockset_release(&a);
	blockset_release(&b);
}

#ifdef PAGER_INJECT
static void a_read_that_fails_ends_the_job(void **state)
{
	struct rig *rig = *state;
	const struct jobs_options options = {0};
	struct job_status s;
	uint64_t id;

	assert_int_equal(jobs_pin(rig->jobs, rig->a,
				  &(struct jobs_options){.rate = 40960}, &id),
			 0);
	while (status_of(rig, id).done == 0)
		sched_yield();
	assert_int_equal(inject_configure("pack-read:EIO+"), 0);
	s = wait_for(rig, id);
	assert_int_equal(s.state, JOB_FAILED);
	assert_non_null(s.error);
	assert_int_equal(rig_stats(rig->cache).held, 0);
	assert_int_equal(jobs_warm(rig->jobs, rig->b, &options, &id), -EIO);
	assert_int_equal(inject_configure(NULL), 0);
	/* What could not be read is in quarantine for a while. */
	do
		assert_int_equal(jobs_pin(rig->jobs, rig->a, &options, &id), 0);
	while (wait_for(rig, id).state == JOB_FAILED);
	assert_int_equal(status_of(rig, id).state, JOB_DONE);
}
#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_set_is_all_that_was_published),
		TEST(warms_all_once),
		TEST(a_rate_is_kept),
		TEST(a_job_is_cancelled),
		TEST(warms_a_working_set),
		TEST(a_pinned_snapshot_stays),
		TEST(a_pinned_snapshot_is_leased),
		TEST(what_does_not_fit_is_refused),
		TEST(evicts_what_no_pin_shares),
		TEST(a_pin_that_is_taken_away_while_it_loads),
		TEST(a_digest_finds_its_block),
		TEST(tells_who_uses_the_cache),
#ifdef PAGER_INJECT
		TEST(a_read_that_fails_ends_the_job),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
