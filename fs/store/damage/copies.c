#include "fs/store/damage/copies.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/pack/pack.h"
#include "fs/store/pack/packfind.h"
#include "fs/store/pack/packset.h"

#define CHUNK 128u /* entries read at once: 3 KiB of stack */

struct lost {
	struct store *store;
	uint64_t block;
	struct pager_slot slot;
	struct pager_digest digest;
	uint64_t copy;
};

/* The table is sorted by digest: all of it has to be looked through. */
static int find_digest(struct pack *p, struct lost *l)
{
	struct pager_digest_entry e[CHUNK];
	uint64_t count = pack_digests(p);

	for (uint64_t at = 0; at < count; at += CHUNK) {
		uint64_t n = count - at < CHUNK ? count - at : CHUNK;
		int r = pack_read_digests(p, at, n, e);

		if (r < 0)
			return r;
		for (uint64_t i = 0; i < n; i++) {
			if (e[i].block != l->block)
				continue;
			l->digest = e[i].digest;
			return 0;
		}
	}
	return err_set(-ENOENT, "its digest is not known");
}

static int describe(struct lost *l)
{
	struct pack *p cleanup(cleanup_pack) = NULL;
	struct block_place place;
	int r = packset_get(store_packs(l->store), pager_block_pack(l->block),
			    &p);

	if (r == 0)
		r = pack_locate(p, pager_block_slot(l->block), &place);
	if (r < 0)
		return r;
	l->slot = place.slot;
	return find_digest(p, l);
}

static bool is_content(const struct lost *l, const uint8_t *page, uint8_t kind)
{
	struct pager_digest digest;

	if (kind != l->slot.kind ||
	    XXH3_64bits_withSeed(page, PAGER_PAGE_SIZE, l->block) !=
		    l->slot.checksum)
		return false;
	store_digest(l->store, page, (enum pager_kind)kind, &digest);
	return memcmp(&digest, &l->digest, sizeof(digest)) == 0;
}

static int try_candidate(void *arg, uint64_t block)
{
	struct lost *l = arg;
	const struct block_source packs = {
		.ops = &packset_source_ops,
		.ctx = store_packs(l->store),
	};
	uint8_t page[PAGER_PAGE_SIZE], kind;

	if (block == l->block ||
	    block_source_read(&packs, block, page, &kind) < 0 ||
	    !is_content(l, page, kind))
		return 0;
	l->copy = block;
	return 1;
}

int copies_find(struct store *s, uint64_t block, uint64_t *ret_copy)
{
	struct lost l = {.store = s, .block = block};
	int r = describe(&l);

	if (r == 0)
		r = packfind_all(s, &l.digest, try_candidate, &l);
	if (r < 0)
		return r;
	if (r == 0)
		return err_set(-ENOENT, "the store has no other copy");
	*ret_copy = l.copy;
	return 0;
}
