/*
 * One index run, mapped: sorted digest entries of some packs. See
 * pager/run.h. Entries are hints, so a damaged entry costs a missed share or
 * a failed compare, never a wrong byte; header, packs and fan-out are checked
 * when the run is opened, and every position that a lookup computes is
 * checked against the mapping's size.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/store/numbered.h"
#include "fs/store/store.h"
#include "pager/run.h"

struct run;

#define RUN_SUFFIX ".run"

/* Where the parts of a run's file begin; see pager/run.h. */
struct run_layout {
	uint64_t packs, fan, entries, size;
};

/* The counts have to be ones of a file: no sum may pass 2^63. */
struct run_layout run_layout(uint64_t packs, uint64_t entries);

/* The number that a file name of that form carries, else -EINVAL. */
int run_number_of(const char *name, uint64_t *ret_number);

/* -EBADMSG: damaged (the caller removes it and rebuilds from the packs). */
int run_open(int index_fd, const char *name, const uint8_t store_id[16],
	     struct run **ret_run);

/* As run_open(), of a file that is open; the caller may close it then. */
int run_open_fd(int fd, const char *name, const uint8_t store_id[16],
		struct run **ret_run);
struct run *run_ref(struct run *r);
void run_unref(struct run *r); /* accepts NULL */
DEFINE_CLEANUP(run, struct run *, run_unref)

const char *run_name(const struct run *r);
uint64_t run_number(const struct run *r);
uint64_t run_entries(const struct run *r);
uint64_t run_packs(const struct run *r, const uint64_t **ret_packs);
const struct pager_digest_entry *run_entry(const struct run *r, uint64_t i);

/* Up to `max` ids of `digest`, in the order of the run; returns how many. */
unsigned int run_find(const struct run *r, const struct pager_digest *digest,
		      unsigned int max, uint64_t *ret_blocks);

/*
 * Writes a run: packs ascending, entries pulled from `next` in their order
 * (which returns 1 with an entry, 0 at the end, or a negative errno). Lands
 * in tmp/, is synced (else a crash could leave a run that looks whole and has
 * nothing in it) and renamed to index/N.run, N above all others. -EBADMSG
 * where `next` breaks the order.
 */
typedef int run_next_fn(void *arg, struct pager_digest_entry *ret_entry);

struct run_recipe {
	const uint64_t *packs;
	uint64_t pack_count;
	run_next_fn *next;
	void *arg;
};

/* "000000000000002a.run" */
#define RUN_NAME_MAX NUMBERED_NAME_MAX
int run_write(struct store *s, const struct run_recipe *recipe,
	      char ret_name[RUN_NAME_MAX]);
