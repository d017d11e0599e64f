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

#include "fs/store/store.h"
#include "pager/run.h"

struct run;

/* -EBADMSG: damaged (the caller removes it and rebuilds from the packs). */
int run_open(int index_fd, const char *name, const uint8_t store_id[16],
	     struct run **ret_run);
struct run *run_ref(struct run *r);
void run_unref(struct run *r);

const char *run_name(const struct run *r);
uint64_t run_entries(const struct run *r);
uint64_t run_packs(const struct run *r, const uint64_t **ret_packs);
const struct pager_digest_entry *run_entry(const struct run *r, uint64_t i);

/* Up to `max` ids of `digest`, in the order of the run; returns how many. */
unsigned int run_find(const struct run *r, const struct pager_digest *digest,
		      unsigned int max, uint64_t *ret_blocks);

/*
 * Writes a run: packs ascending, entries pulled from `next` in sorted order
 * (returns 1 with an entry, 0 at the end, or a negative errno), `entries` of
 * them exactly. Lands in tmp/ and is renamed to index/NAME, which is
 * returned. Not synced: it can be made again.
 */
typedef int run_next_fn(void *arg, struct pager_digest_entry *ret_entry);

struct run_recipe {
	const uint64_t *packs;
	uint64_t pack_count;
	uint64_t entries;
	run_next_fn *next;
	void *arg;
};

#define RUN_NAME_MAX 32
int run_write(struct store *s, const struct run_recipe *recipe,
	      char ret_name[RUN_NAME_MAX]);
