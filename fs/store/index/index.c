/*
 * Lookups take a reference to the present list of runs and search it without
 * a lock; whoever adds or merges runs loads the folder anew and puts the new
 * list in place of the old one, whose mappings go with its last lookup. So a
 * publisher sees what others have added each time that it adds a run itself.
 *
 * Nothing here is the only copy of anything. A run that turns out to be
 * damaged, when it is opened or when a merge walks it, is removed and its
 * packs are read again.
 */
#include "fs/store/index/index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/io/inject.h"
#include "fs/store/folder.h"
#include "fs/store/index/merge.h"
#include "fs/store/index/runset.h"
#include "fs/store/pack/pack.h"

/* Packs that one new run covers: bounds the files open at a time. */
#define COVER_AT_ONCE 64u

struct block_index {
	struct store *store;
	struct lock lock;
	struct runset *set; /* protected by the lock; never NULL once open */
};

static struct runset *present_set(struct block_index *index)
{
	LOCK_GUARD(&index->lock);
	return runset_ref(index->set);
}

static int reload(struct block_index *index, bool drop)
{
	struct runset *set, *old;
	int r = runset_load(index->store, drop, &set);

	if (r < 0)
		return r;
	lock_take(&index->lock);
	old = index->set;
	index->set = set;
	lock_drop(&index->lock);
	runset_unref(old);
	return 0;
}

/* -- covering packs ------------------------------------------------------ */

struct numbers {
	uint64_t *items;
	size_t count, room;
};

static void release_numbers(struct numbers *n)
{
	free(n->items);
}

static int note_pack(void *arg, const char *name)
{
	struct numbers *n = arg;
	uint64_t number;

	if (pack_number_of(name, &number) < 0)
		return 0;
	if (n->count == n->room) {
		size_t room = n->room ? n->room * 2 : 64;
		uint64_t *grown = reallocarray(n->items, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		n->items = grown;
		n->room = room;
	}
	n->items[n->count++] = number;
	return 0;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Leaves those packs of the store that no run covers. */
static int missing_packs(const struct block_index *index, struct numbers *n)
{
	_cleanup_free_ uint64_t *covered = NULL;
	size_t count = 0, kept = 0;
	int r = folder_list(store_folder_fd(index->store, STORE_PACKS), ".",
			    note_pack, n);

	if (r == 0)
		r = runset_packs(index->set, &covered, &count);
	if (r < 0)
		return r;
	assert(covered);
	for (size_t i = 0; i < n->count; i++)
		if (!bsearch(&n->items[i], covered, count, sizeof(*covered),
			     compare_numbers))
			n->items[kept++] = n->items[i];
	n->count = kept;
	return 0;
}

/* A pack that cannot be read is no publisher's business. */
static int add_pack_to(struct merge *m, struct store *s, uint64_t number)
{
	struct pack *p cleanup(cleanup_pack) = NULL;
	int r = pack_open(store_folder_fd(s, STORE_PACKS), number, store_id(s),
			  &p);

	if (r == 0)
		r = pack_check_digests(p);
	if (r == 0)
		return merge_add_pack(m, p);
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return r;
	log_debug("left out of the index: %s", err_text(r));
	return 0;
}

static int cover(struct store *s, const uint64_t *packs, size_t count)
{
	struct merge *m cleanup(cleanup_merge) = merge_new();
	int r = m ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_pack_to(m, s, packs[i]);
	if (r < 0 || merge_inputs(m) == 0)
		return r;
	return merge_write(m, s);
}

/* Under STORE_LOCK_INDEX. */
static int cover_missing(struct block_index *index)
{
	struct numbers missing cleanup(release_numbers) = {0};
	int r = missing_packs(index, &missing);

	for (size_t i = 0; r == 0 && i < missing.count; i += COVER_AT_ONCE) {
		size_t left = missing.count - i;

		r = cover(index->store, missing.items + i,
			  left < COVER_AT_ONCE ? left : COVER_AT_ONCE);
	}
	return r == 0 && missing.count ? reload(index, true) : r;
}

/* -- merging ------------------------------------------------------------- */

static int smallest_first(const void *a, const void *b)
{
	uint64_t x = run_entries(*(struct run *const *)a);
	uint64_t y = run_entries(*(struct run *const *)b);

	return (x > y) - (x < y);
}

/* How many of the runs, sorted by size, are to be merged; see index.h. */
static unsigned int choose(struct run *const *by_size, unsigned int count)
{
	uint64_t sum = run_entries(by_size[0]);
	unsigned int chosen = 2;

	for (unsigned int i = 1; i < count; i++) {
		if (run_entries(by_size[i]) <= sum)
			chosen = i + 1;
		sum += run_entries(by_size[i]);
	}
	return chosen;
}

static int remove_runs(struct store *s, struct run *const *runs,
		       unsigned int count)
{
	int index = store_folder_fd(s, STORE_INDEX);

	for (unsigned int i = 0; i < count; i++) {
		int r = inject_pass(INJECT_RUN_DROP, NULL);

		if (r < 0)
			return r;
		if (unlinkat(index, run_name(runs[i]), 0) < 0 &&
		    errno != ENOENT)
			return err_set(-errno, "cannot remove index run %s: %s",
				       run_name(runs[i]), strerror(errno));
	}
	return 0;
}

static int merge_runs(struct store *s, struct run *const *runs,
		      unsigned int count)
{
	struct merge *m cleanup(cleanup_merge) = merge_new();
	int r = m ? 0 : -ENOMEM;

	for (unsigned int i = 0; r == 0 && i < count; i++)
		r = merge_add_run(m, runs[i]);
	if (r == 0)
		r = merge_write(m, s);
	return r;
}

/*
 * Under STORE_LOCK_INDEX, with the folder just loaded. Where the entries of a
 * run are damaged, all of the chosen ones go, and their packs are covered
 * anew: what that writes is in order.
 */
static int merge_if_due(struct block_index *index)
{
	struct runset *set cleanup(cleanup_runset) = present_set(index);
	_cleanup_free_ struct run **by_size = NULL;
	unsigned int chosen;
	int r, merged;

	if (set->count <= INDEX_RUNS_MAX)
		return 0;
	by_size = reallocarray(NULL, set->count, sizeof(struct run *));
	if (!by_size)
		return -ENOMEM;
	memcpy(by_size, set->runs, set->count * sizeof(struct run *));
	qsort(by_size, set->count, sizeof(struct run *), smallest_first);
	chosen = choose(by_size, set->count);
	merged = merge_runs(index->store, by_size, chosen);
	if (merged < 0 && merged != -EBADMSG)
		return merged;
	r = remove_runs(index->store, by_size, chosen);
	if (r == 0)
		r = reload(index, true);
	if (r == 0 && merged == -EBADMSG)
		r = cover_missing(index);
	return r;
}

/* -- the index ----------------------------------------------------------- */

static int open_locked(struct block_index *index)
{
	_cleanup_close_ int lock =
		store_lock(index->store, STORE_LOCK_INDEX, true, true);
	int r;

	if (lock < 0)
		return lock;
	r = reload(index, true);
	if (r == 0)
		r = cover_missing(index);
	if (r == 0)
		r = merge_if_due(index);
	return r;
}

int index_open(struct store *s, struct block_index **ret_index)
{
	struct block_index *index cleanup(cleanup_index) =
		calloc(1, sizeof(*index));
	int r;

	assert(store_access(s) == STORE_WRITE);
	if (!index)
		return -ENOMEM;
	lock_init(&index->lock, "index");
	index->store = store_ref(s);
	r = open_locked(index);
	if (r < 0)
		return err_wrap(r, "the index of store %s", store_path(s));
	*ret_index = steal_ptr(index);
	return 0;
}

void index_close(struct block_index *index)
{
	if (!index)
		return;
	runset_unref(index->set);
	store_unref(index->store);
	lock_release(&index->lock);
	free(index);
}

struct array {
	const struct pager_digest_entry *at, *end;
};

/* A run_next_fn. */
static int next_of_array(void *arg, struct pager_digest_entry *ret_entry)
{
	struct array *a = arg;

	if (a->at == a->end)
		return 0;
	*ret_entry = *a->at++;
	return 1;
}

static int merge_if_free(struct block_index *index)
{
	_cleanup_close_ int lock =
		store_lock(index->store, STORE_LOCK_INDEX, true, false);
	int r;

	if (lock < 0) /* somebody else merges: the next pack is soon enough */
		return lock == -EBUSY ? 0 : lock;
	r = reload(index, true);
	if (r == 0)
		r = merge_if_due(index);
	return r;
}

int index_add_pack(struct block_index *index, uint64_t pack,
		   const struct pager_digest_entry *entries, uint64_t count)
{
	struct array source = {.at = entries, .end = entries + count};
	struct run_recipe recipe = {
		.packs = &pack,
		.pack_count = 1,
		.next = next_of_array,
		.arg = &source,
	};
	char name[RUN_NAME_MAX];
	int r = run_write(index->store, &recipe, name);

	if (r == 0)
		r = reload(index, false);
	if (r == 0 && index_runs(index) > INDEX_RUNS_MAX)
		r = merge_if_free(index);
	return r;
}

/* Drops ids that an older run has in common with a newer one. */
static unsigned int add_new(uint64_t *blocks, unsigned int count,
			    unsigned int added)
{
	unsigned int kept = count;

	for (unsigned int i = count; i < count + added; i++) {
		bool known = false;

		for (unsigned int k = 0; k < count && !known; k++)
			known = blocks[k] == blocks[i];
		if (!known)
			blocks[kept++] = blocks[i];
	}
	return kept;
}

unsigned int index_find(struct block_index *index,
			const struct pager_digest *digest, unsigned int max,
			uint64_t *ret_blocks)
{
	struct runset *set cleanup(cleanup_runset) = present_set(index);
	unsigned int found = 0;

	for (unsigned int i = 0; i < set->count && found < max; i++)
		found = add_new(ret_blocks, found,
				run_find(set->runs[i], digest, max - found,
					 ret_blocks + found));
	return found;
}

unsigned int index_runs(struct block_index *index)
{
	struct runset *set cleanup(cleanup_runset) = present_set(index);

	return set->count;
}

uint64_t index_entries(struct block_index *index)
{
	struct runset *set cleanup(cleanup_runset) = present_set(index);

	return runset_entries(set);
}

static int remove_all(struct store *s)
{
	_cleanup_close_ int lock = store_lock(s, STORE_LOCK_INDEX, true, true);
	struct runset *set cleanup(cleanup_runset) = NULL;
	int r;

	if (lock < 0)
		return lock;
	r = runset_load(s, true, &set);
	if (r < 0)
		return r;
	return remove_runs(s, set->runs, set->count);
}

int index_rebuild(struct store *s)
{
	_cleanup_close_ int lock =
		store_lock(s, STORE_LOCK_PUBLISH, false, true);
	struct block_index *index cleanup(cleanup_index) = NULL;
	int r;

	if (lock < 0)
		return lock;
	r = remove_all(s);
	if (r == 0)
		r = index_open(s, &index);
	return r;
}
