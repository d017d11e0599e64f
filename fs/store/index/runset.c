#include "fs/store/index/runset.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/io/inject.h"
#include "fs/store/folder.h"

/* Each means that somebody has merged while we listed. */
#define TRIES 16

struct loading {
	struct store *store;
	bool drop;
	bool moved; /* a listed run was gone when it was opened */
	struct runset *set;
	unsigned int room;
};

static int make_room(struct loading *l)
{
	struct runset *grown;
	unsigned int room = l->room ? l->room * 2 : 16;

	if (l->set && l->set->count < l->room)
		return 0;
	grown = realloc(l->set, sizeof(*grown) + room * sizeof(struct run *));
	if (!grown)
		return -ENOMEM;
	if (!l->set) {
		atomic_init(&grown->refs, 1);
		grown->count = 0;
	}
	l->set = grown;
	l->room = room;
	return 0;
}

static int drop_damaged(const struct loading *l, const char *name)
{
	int index = store_folder_fd(l->store, STORE_INDEX);
	int r;

	log_debug("%s", err_text(-EBADMSG));
	if (!l->drop)
		return 0;
	r = inject_pass(INJECT_RUN_DROP, NULL);
	if (r < 0)
		return r;
	if (unlinkat(index, name, 0) < 0 && errno != ENOENT)
		return err_set(-errno, "cannot remove index run %s: %s", name,
			       strerror(errno));
	return 0;
}

/* A folder_name_fn. Files that are no runs are left alone. */
static int load_one(void *arg, const char *name)
{
	struct loading *l = arg;
	int index = store_folder_fd(l->store, STORE_INDEX), r;
	uint64_t number;
	struct run *run;

	if (run_number_of(name, &number) < 0)
		return 0;
	r = make_room(l);
	if (r == 0)
		r = run_open(index, name, store_id(l->store), &run);
	if (r == -ENOENT)
		l->moved = true;
	if (r == -EBADMSG)
		return drop_damaged(l, name);
	if (r < 0)
		return r;
	l->set->runs[l->set->count++] = run;
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	uint64_t x = run_number(*(struct run *const *)a);
	uint64_t y = run_number(*(struct run *const *)b);

	return (x < y) - (x > y);
}

int runset_load(struct store *s, bool drop, struct runset **ret_set)
{
	int r = -ENOENT;

	for (int i = 0; r == -ENOENT && i < TRIES; i++) {
		struct loading l = {.store = s, .drop = drop};

		r = make_room(&l);
		if (r == 0)
			r = folder_list(store_folder_fd(s, STORE_INDEX), ".",
					load_one, &l);
		if (r < 0) {
			runset_unref(l.set);
			if (!l.moved)
				return r;
			continue;
		}
		qsort(l.set->runs, l.set->count, sizeof(struct run *),
		      newest_first);
		*ret_set = l.set;
	}
	return r;
}

struct runset *runset_ref(struct runset *set)
{
	atomic_fetch_add(&set->refs, 1);
	return set;
}

void runset_unref(struct runset *set)
{
	if (!set || atomic_fetch_sub(&set->refs, 1) != 1)
		return;
	for (unsigned int i = 0; i < set->count; i++)
		run_unref(set->runs[i]);
	free(set);
}

uint64_t runset_entries(const struct runset *set)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < set->count; i++)
		sum += run_entries(set->runs[i]);
	return sum;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int runset_packs(const struct runset *set, uint64_t **ret_packs,
		 size_t *ret_count)
{
	const uint64_t *of_run;
	uint64_t *packs;
	size_t sum = 0, at = 0;

	for (unsigned int i = 0; i < set->count; i++)
		sum += run_packs(set->runs[i], &of_run);
	packs = reallocarray(NULL, sum + 1, sizeof(*packs));
	if (!packs)
		return -ENOMEM;
	for (unsigned int i = 0; i < set->count; i++) {
		uint64_t n = run_packs(set->runs[i], &of_run);

		memcpy(packs + at, of_run, n * sizeof(*packs));
		at += n;
	}
	qsort(packs, sum, sizeof(*packs), compare_numbers);
	*ret_packs = packs;
	*ret_count = sum;
	return 0;
}
