#include "fs/mount/view/blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/cache/fetch_read.h"
#include "fs/store/pack/pack.h"
#include "fs/store/pack/packfind.h"
#include "fs/store/store.h"

#define CHUNK 128u

static int digest_order(const struct pager_digest *a,
			const struct pager_digest *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/* Whether the block's bytes are there and have the digest. */
static int check_block(const struct view *v, const struct pager_digest *digest,
		       uint64_t block)
{
	uint8_t page[PAGER_PAGE_SIZE], kind;
	struct pager_digest has;
	int r = fetch_read(v->cache, v->source, block, CACHE_MOUNT, page,
			   &kind);

	if (r < 0)
		return r;
	store_digest(v->store, page, (enum pager_kind)kind, &has);
	return digest_order(&has, digest) == 0 ? 0 : -ENOENT;
}

static int find_in_pack(const struct view *v, struct pack *p,
			const struct pager_digest *digest, uint64_t *ret_block)
{
	struct pager_digest_entry e;
	uint64_t at;
	int r = packfind_bound(p, digest, &at), found = -ENOENT;

	for (; r == 0 && at < pack_digests(p); at++) {
		r = pack_read_digests(p, at, 1, &e);
		if (r < 0 || digest_order(&e.digest, digest) != 0)
			break;
		if (!e.block || pager_block_pack(e.block) != pack_number(p))
			continue;
		found = check_block(v, digest, e.block);
		if (found == 0) {
			*ret_block = e.block;
			return 0;
		}
	}
	return r < 0 ? r : found;
}

static int open_pack(const struct view *v, uint64_t number,
		     struct pack **ret_pack)
{
	return pack_open(store_folder_fd(v->store, STORE_PACKS), number,
			 store_id(v->store), ret_pack);
}

int blocks_find(const struct view *v, const struct pager_digest *digest,
		uint64_t *ret_block)
{
	uint64_t *packs;
	size_t count;
	int r = packfind_packs(v->store, &packs, &count), result = -ENOENT;

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		struct pack *p cleanup(cleanup_pack) = NULL;

		r = open_pack(v, packs[i], &p);
		if (r == 0)
			r = find_in_pack(v, p, digest, ret_block);
		if (r == 0) {
			result = 0;
			break;
		}
		if (r != -ENOENT)
			result = r;
	}
	free(packs);
	return result;
}

struct found {
	struct pager_digest *list;
	size_t count, room;
};

static int found_add(struct found *f, const struct pager_digest_entry *e,
		     uint64_t count)
{
	if (f->room - f->count < count) {
		size_t room = 2 * (f->count + count);
		void *grown = reallocarray(f->list, room, sizeof(*f->list));

		if (!grown)
			return -ENOMEM;
		f->list = grown;
		f->room = room;
	}
	for (uint64_t i = 0; i < count; i++)
		f->list[f->count++] = e[i].digest;
	return 0;
}

/* Every entry whose digest begins with that byte. */
static int list_pack(struct pack *p, uint8_t first, struct found *f)
{
	const struct pager_digest least = {.bytes = {first}};
	struct pager_digest_entry e[CHUNK];
	uint64_t at;
	int r = packfind_bound(p, &least, &at);

	while (r == 0 && at < pack_digests(p)) {
		uint64_t left = pack_digests(p) - at, n;
		uint64_t count = left < CHUNK ? left : CHUNK;

		r = pack_read_digests(p, at, count, e);
		if (r < 0)
			break;
		for (n = 0; n < count && e[n].digest.bytes[0] == first; n++)
			;
		r = found_add(f, e, n);
		if (n < count)
			break;
		at += n;
	}
	return r;
}

static int compare_found(const void *a, const void *b)
{
	return digest_order(a, b);
}

static void sort_found(struct found *f)
{
	size_t kept = 0;

	if (f->count)
		qsort(f->list, f->count, sizeof(*f->list), compare_found);
	for (size_t i = 0; i < f->count; i++)
		if (kept == 0 ||
		    digest_order(&f->list[kept - 1], &f->list[i]) != 0)
			f->list[kept++] = f->list[i];
	f->count = kept;
}

int blocks_list(const struct view *v, uint8_t first,
		struct pager_digest **ret_digests, size_t *ret_count)
{
	struct found f = {0};
	uint64_t *packs;
	size_t count;
	int r = packfind_packs(v->store, &packs, &count);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct pack *p cleanup(cleanup_pack) = NULL;

		if (open_pack(v, packs[i], &p) == 0 &&
		    list_pack(p, first, &f) == -ENOMEM)
			r = -ENOMEM;
	}
	free(packs);
	if (r < 0) {
		free(f.list);
		return r;
	}
	sort_found(&f);
	*ret_digests = f.list;
	*ret_count = f.count;
	return 0;
}
