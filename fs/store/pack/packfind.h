/*
 * Blocks by their digest, from the packs' own digest tables, each by a search
 * on disk: that needs no write access, cannot be out of date, and maps nothing
 * that could be cut short under us. It costs some 20 us a pack. What is found
 * are hints, as of index.h. Any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/store/store.h"

struct pack;

/* The numbers of all packs, ascending; the caller frees the list. */
int packfind_packs(struct store *s, uint64_t **ret_packs, size_t *ret_count);

/*
 * The first entry of a pack's digest table that is not below `digest`. The
 * table is not verified: the search ends whatever it holds.
 */
int packfind_bound(struct pack *p, const struct pager_digest *digest,
		   uint64_t *ret_at);

/*
 * Calls fn() with each block that has the digest; what is not 0 ends the
 * search and is returned. Packs that cannot be read are left out.
 */
typedef int packfind_fn(void *arg, uint64_t block);
int packfind_all(struct store *s, const struct pager_digest *digest,
		 packfind_fn *fn, void *arg);
