#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/folder.h"
#include "fs/store/index/index.h"
#include "fs/store/index/run.h"
#include "fs/store/pack/pack.h"
#include "tests/unit/store/packfile.h"
#include "tests/unit/store/scratch.h"

#define SLOTS 10u /* pages of a pack: seeds pack * 100 ... + 9 */

static char folder[SCRATCH_PATH_MAX];
static struct store *store;

static int open_store(void **state)
{
	(void)state;
	scratch_make(folder);
	assert_int_equal(store_init(folder, NULL), 0);
	assert_int_equal(store_open(folder, STORE_WRITE, &store), 0);
	return 0;
}

static int close_store(void **state)
{
	(void)state;
#ifdef PAGER_INJECT
	assert_int_equal(inject_configure(NULL), 0);
#endif
	store_unref(store);
	scratch_remove(folder);
	return 0;
}

static const char *in_store(const char *name)
{
	return scratch_file(folder, name);
}

static struct block_index *open_index(void)
{
	struct block_index *index = NULL;

	assert_int_equal(index_open(store, &index), 0);
	return index;
}

/* Packs behind the index' back, as a crash before index_add_pack() leaves. */
static void make_packs(uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last; i++)
		assert_int_equal(packfile_make(store, i * 100, SLOTS), i);
}

static int tell_index(void *arg, uint64_t pack,
		      const struct pager_digest_entry *entries, uint64_t count)
{
	return index_add_pack(arg, pack, entries, count);
}

/* One pack the usual way; it has to get the number that its pages have. */
static int publish_pack(struct block_index *index, uint64_t number)
{
	struct packwriter *w;
	uint64_t block;
	int r = packwriter_new(store, tell_index, index, &w);

	for (uint64_t i = 0; r == 0 && i < SLOTS; i++)
		r = packfile_append(w, store, number * 100 + i, &block);
	if (r == 0)
		r = packwriter_finish(w);
	packwriter_free(w);
	return r;
}

static unsigned int find(struct block_index *index, uint64_t seed,
			 uint64_t *ret_blocks)
{
	uint8_t page[PAGER_PAGE_SIZE];
	struct pager_digest digest;

	scratch_page(seed, page);
	store_digest(store, page, PAGER_KIND_PAGE, &digest);
	return index_find(index, &digest, 8, ret_blocks);
}

static void assert_knows(struct block_index *index, uint64_t first,
			 uint64_t last)
{
	uint64_t blocks[8];

	for (uint64_t pack = first; pack <= last; pack++) {
		for (uint32_t i = 0; i < SLOTS; i++) {
			assert_int_equal(find(index, pack * 100 + i, blocks),
					 1);
			assert_int_equal(blocks[0], pager_block_id(pack, i));
		}
	}
}

static void assert_knows_not(struct block_index *index, uint64_t pack)
{
	uint64_t blocks[8];

	for (uint32_t i = 0; i < SLOTS; i++)
		assert_int_equal(find(index, pack * 100 + i, blocks), 0);
}

static void an_empty_store_has_an_empty_index(void **state)
{
	struct block_index *index = open_index();

	(void)state;
	assert_int_equal(index_runs(index), 0);
	assert_int_equal(index_entries(index), 0);
	assert_knows_not(index, 1);
	index_close(index);
}

static void what_is_added_is_found_now_and_later(void **state)
{
	struct block_index *index = open_index();

	(void)state;
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(publish_pack(index, i), 0);
	assert_int_equal(index_runs(index), 3);
	assert_int_equal(index_entries(index), 3 * SLOTS);
	assert_knows(index, 1, 3);
	assert_knows_not(index, 4);
	index_close(index);
	index = open_index();
	assert_int_equal(index_runs(index), 3);
	assert_knows(index, 1, 3);
	index_close(index);
}

static void packs_without_a_run_are_covered(void **state)
{
	struct block_index *index;

	(void)state;
	make_packs(1, 5);
	index = open_index();
	assert_int_equal(index_runs(index), 1);
	assert_knows(index, 1, 5);
	index_close(index);
	make_packs(6, 7);
	index = open_index();
	assert_int_equal(index_runs(index), 2);
	assert_int_equal(index_entries(index), 7 * SLOTS);
	assert_knows(index, 1, 7);
	index_close(index);
}

static void a_lost_index_is_made_again(void **state)
{
	struct block_index *index;
	enum { PACKS = 150 }; /* more than are covered at once */

	(void)state;
	make_packs(1, PACKS);
	assert_int_equal(rmdir(in_store("index")), 0);
	store_unref(store);
	assert_int_equal(store_open(folder, STORE_WRITE, &store), 0);
	index = open_index();
	assert_int_equal(index_runs(index), 3);
	assert_int_equal(index_entries(index), PACKS * SLOTS);
	assert_knows(index, 1, PACKS);
	index_close(index);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
}

static void runs_stay_few(void **state)
{
	enum { PACKS = 60 };
	struct block_index *index = open_index();

	(void)state;
	for (uint64_t i = 1; i <= PACKS; i++) {
		assert_int_equal(publish_pack(index, i), 0);
		assert_in_range(index_runs(index), 1, INDEX_RUNS_MAX);
		assert_int_equal(index_entries(index), i * SLOTS);
		assert_int_equal(scratch_count(in_store("index")),
				 index_runs(index));
	}
	assert_knows(index, 1, PACKS);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
	index_close(index);
}

static void entries_that_two_runs_share_are_merged_into_one(void **state)
{
	struct block_index *index = open_index();
	uint64_t blocks[8];
	size_t len;
	uint8_t *run;

	(void)state;
	for (uint64_t i = 1; i <= INDEX_RUNS_MAX; i++)
		assert_int_equal(publish_pack(index, i), 0);
	index_close(index);
	/* As a merge that died before it removed its inputs leaves. */
	run = scratch_read(in_store("index/0000000000000003.run"), &len);
	scratch_write(in_store("index/00000000000000ff.run"), run, len);
	free(run);
	index = open_index();
	assert_int_equal(find(index, 300, blocks), 1);
	assert_int_equal(index_entries(index), INDEX_RUNS_MAX * SLOTS);
	assert_int_equal(index_runs(index), 1);
	assert_knows(index, 1, INDEX_RUNS_MAX);
	index_close(index);
}

static void shared_ids_are_told_once(void **state)
{
	struct block_index *index = open_index();
	size_t len;
	uint8_t *run;

	(void)state;
	assert_int_equal(publish_pack(index, 1), 0);
	index_close(index);
	run = scratch_read(in_store("index/0000000000000001.run"), &len);
	scratch_write(in_store("index/0000000000000002.run"), run, len);
	free(run);
	index = open_index();
	assert_int_equal(index_entries(index), 2 * SLOTS);
	assert_knows(index, 1, 1);
	index_close(index);
}

/* -- damage --------------------------------------------------------------- */

static void a_damaged_run_is_made_again(void **state)
{
	struct block_index *index;

	(void)state;
	make_packs(1, 2);
	index_close(open_index());
	scratch_flip(in_store("index/0000000000000001.run"), 5000);
	index = open_index();
	assert_int_equal(index_runs(index), 1);
	assert_int_equal(scratch_count(in_store("index")), 1);
	assert_knows(index, 1, 2);
	index_close(index);
	scratch_write(in_store("index/0000000000000002.run"), "", 0);
	index = open_index();
	assert_int_equal(index_runs(index), 1);
	assert_int_equal(scratch_count(in_store("index")), 1);
	index_close(index);
}

static void a_run_out_of_order_is_found_by_the_merge(void **state)
{
	struct block_index *index = open_index();
	const uint64_t at = run_layout(1, SLOTS).entries;
	char path[SCRATCH_PATH_MAX * 2];
	uint8_t *run;
	size_t len;

	(void)state;
	for (uint64_t i = 1; i <= INDEX_RUNS_MAX; i++)
		assert_int_equal(publish_pack(index, i), 0);
	index_close(index);
	(void)snprintf(path, sizeof(path), "%s",
		       in_store("index/0000000000000002.run"));
	run = scratch_read(path, &len);
	memset(run + at + sizeof(struct pager_digest_entry), 0xff,
	       PAGER_DIGEST_SIZE);
	scratch_write(path, run, len);
	free(run);
	index = open_index();
	assert_int_equal(publish_pack(index, INDEX_RUNS_MAX + 1), 0);
	assert_int_equal(index_entries(index), (INDEX_RUNS_MAX + 1) * SLOTS);
	assert_knows(index, 1, INDEX_RUNS_MAX + 1);
	index_close(index);
}

static void a_damaged_pack_is_left_out(void **state)
{
	struct block_index *index;
	struct packfile f;
	char path[SCRATCH_PATH_MAX * 2];

	(void)state;
	make_packs(1, 4);
	scratch_flip(packfile_path(store, 2), -1);
	(void)snprintf(path, sizeof(path), "%s", packfile_path(store, 3));
	packfile_read(path, &f);
	f.digests[0].block++;
	packfile_write(path, &f);
	packfile_release(&f);
	index = open_index();
	assert_knows(index, 1, 1);
	assert_knows_not(index, 2);
	assert_knows_not(index, 3);
	assert_knows(index, 4, 4);
	assert_int_equal(publish_pack(index, 5), 0);
	assert_knows(index, 5, 5);
	index_close(index);
	assert_int_equal(scratch_count(in_store("packs")), 5);
}

static void files_of_others_are_left_alone(void **state)
{
	(void)state;
	scratch_write(in_store("index/README"), "x", 1);
	scratch_write(in_store("packs/README"), "x", 1);
	make_packs(1, 1);
	index_close(open_index());
	assert_int_equal(index_rebuild(store), 0);
	assert_int_equal(scratch_count(in_store("index")), 2);
}

static void rebuilding_forgets_what_is_no_more(void **state)
{
	struct block_index *index;

	(void)state;
	make_packs(1, 3);
	index_close(open_index());
	assert_int_equal(unlink(packfile_path(store, 2)), 0);
	assert_int_equal(index_rebuild(store), 0);
	index = open_index();
	assert_int_equal(index_runs(index), 1);
	assert_int_equal(index_entries(index), 2 * SLOTS);
	assert_knows(index, 1, 1);
	assert_knows_not(index, 2);
	assert_knows(index, 3, 3);
	index_close(index);
}

/* -- several at once ------------------------------------------------------ */

static void two_publishers_see_each_other(void **state)
{
	struct block_index *a = open_index(), *b = open_index();

	(void)state;
	for (uint64_t i = 1; i <= 40; i++)
		assert_int_equal(publish_pack(i % 2 ? a : b, i), 0);
	assert_int_equal(index_entries(b), 40 * SLOTS);
	assert_knows(b, 1, 40);
	assert_knows(a, 1, 39);
	assert_in_range(scratch_count(in_store("index")), 1, INDEX_RUNS_MAX);
	index_close(a);
	index_close(b);
}

struct looking {
	struct block_index *index;
	_Atomic uint64_t packs; /* that are known */
	atomic_bool stop;
	_Atomic uint64_t looks, misses;
};

static void *look_all_the_time(void *arg)
{
	struct looking *l = arg;
	uint64_t x = 3, blocks[8];

	while (!l->stop) {
		uint64_t n = l->packs;

		if (!n)
			continue;
		x = x * 6364136223846793005u + 1442695040888963407u;
		if (find(l->index, (1 + (x >> 33) % n) * 100, blocks) != 1)
			l->misses++;
		l->looks++;
		(void)sched_yield();
	}
	return NULL;
}

static void lookups_go_on_while_runs_are_merged(void **state)
{
	struct looking l = {.index = open_index()};
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						look_all_the_time, &l),
				 0);
	for (uint64_t i = 1; i <= 30; i++) {
		assert_int_equal(publish_pack(l.index, i), 0);
		l.packs = i;
	}
	while (l.looks < 1000)
		(void)sched_yield();
	l.stop = true;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(l.misses, 0);
	index_close(l.index);
}

/* -- faults ---------------------------------------------------------------- */

#ifdef PAGER_INJECT
static void failures_are_told_and_leave_a_usable_index(void **state)
{
	static const struct {
		const char *spec;
		int code;
	} cases[] = {
		{"run-write:ENOSPC", -ENOSPC},
		{"run-write:EDQUOT@3", -EDQUOT},
		{"run-rename:EIO", -EIO},
	};
	struct block_index *index = open_index();
	uint64_t number = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(inject_configure(cases[i].spec), 0);
		assert_int_equal(publish_pack(index, ++number), cases[i].code);
		assert_non_null(strstr(err_text(cases[i].code), "index run"));
		assert_knows_not(index, number);
		assert_int_equal(publish_pack(index, ++number), 0);
		assert_knows(index, number, number);
	}
	index_close(index);
	index = open_index();
	assert_knows(index, 1, number);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
	index_close(index);
}

/* A folder_name_fn: the index knows every digest of the pack. */
static int check_known(void *arg, const char *name)
{
	struct pager_digest_entry entries[SLOTS];
	struct block_index *index = arg;
	uint64_t number, blocks[8];
	struct pack *p;

	assert_int_equal(pack_number_of(name, &number), 0);
	assert_int_equal(pack_open(store_folder_fd(store, STORE_PACKS), number,
				   store_id(store), &p),
			 0);
	assert_int_equal(pack_digests(p), SLOTS);
	assert_int_equal(pack_read_digests(p, 0, SLOTS, entries), 0);
	pack_unref(p);
	for (uint32_t i = 0; i < SLOTS; i++) {
		assert_int_equal(
			index_find(index, &entries[i].digest, 8, blocks), 1);
		assert_int_equal(blocks[0], entries[i].block);
	}
	return 0;
}

static void publish_until_dead(const char *spec, uint64_t seed)
{
	struct block_index *index;

	(void)inject_configure(spec);
	if (index_open(store, &index) == 0)
		for (uint64_t i = 0; i < 40; i++)
			(void)publish_pack(index, seed + i);
	_exit(0);
}

static void dying_at_any_step_leaves_a_whole_index(void **state)
{
	static const char *const specs[] = {
		"run-write:crash",     "run-write:crash@2",
		"run-write:crash@3",   "run-write:crash@25",
		"run-write:crash@26",  "run-write:crash@27",
		"run-rename:crash",    "run-rename:crash@9",
		"run-rename:crash@10", "run-drop:crash",
		"run-drop:crash@2",    "run-drop:crash@9",
		"run-drop:crash@13",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct block_index *index;
		pid_t child = fork();
		int status;

		if (child == 0)
			publish_until_dead(specs[i], (i + 1) * 1000);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!WIFSIGNALED(status))
			fail_msg("%s was never passed", specs[i]);
		assert_int_equal(store_sweep_tmp(store), 0);
		index = open_index();
		assert_in_range(index_runs(index), 1, INDEX_RUNS_MAX);
		assert_int_equal(folder_list(AT_FDCWD, in_store("packs"),
					     check_known, index),
				 0);
		index_close(index);
		assert_int_equal(scratch_count(in_store("tmp")), 0);
	}
	assert_true(scratch_count(in_store("packs")) > 40);
}
#endif

#define WITH_STORE(f) \
	cmocka_unit_test_setup_teardown(f, open_store, close_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STORE(an_empty_store_has_an_empty_index),
		WITH_STORE(what_is_added_is_found_now_and_later),
		WITH_STORE(packs_without_a_run_are_covered),
		WITH_STORE(a_lost_index_is_made_again),
		WITH_STORE(runs_stay_few),
		WITH_STORE(entries_that_two_runs_share_are_merged_into_one),
		WITH_STORE(shared_ids_are_told_once),
		WITH_STORE(a_damaged_run_is_made_again),
		WITH_STORE(a_run_out_of_order_is_found_by_the_merge),
		WITH_STORE(a_damaged_pack_is_left_out),
		WITH_STORE(files_of_others_are_left_alone),
		WITH_STORE(rebuilding_forgets_what_is_no_more),
		WITH_STORE(two_publishers_see_each_other),
		WITH_STORE(lookups_go_on_while_runs_are_merged),
#ifdef PAGER_INJECT
		WITH_STORE(failures_are_told_and_leave_a_usable_index),
		WITH_STORE(dying_at_any_step_leaves_a_whole_index),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
