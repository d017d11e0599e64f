#include "fs/store/pack/packfind.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/store/pack/pack.h"

#define CHUNK 128u

static void close_dir(DIR *d)
{
	if (d)
		(void)closedir(d);
}

DEFINE_CLEANUP(dir, DIR *, close_dir)

struct numbers {
	uint64_t *list;
	size_t count, room;
};

static int numbers_add(struct numbers *n, uint64_t number)
{
	if (n->count == n->room) {
		size_t room = n->room ? 2 * n->room : 64;
		void *grown = reallocarray(n->list, room, sizeof(*n->list));

		if (!grown)
			return -ENOMEM;
		n->list = grown;
		n->room = room;
	}
	n->list[n->count++] = number;
	return 0;
}

static int number_order(const void *a, const void *b)
{
	uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;

	return p < q ? -1 : p > q;
}

int packfind_packs(struct store *s, uint64_t **ret_packs, size_t *ret_count)
{
	_cleanup_close_ int fd = openat(store_folder_fd(s, STORE_PACKS), ".",
					O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d cleanup(cleanup_dir) = fd < 0 ? NULL : fdopendir(fd);
	struct numbers n = {0};
	const struct dirent *e;
	uint64_t number;
	int r = 0;

	if (!d)
		return -errno;
	(void)steal_fd(fd);
	while (r == 0 && (errno = 0, e = readdir(d)))
		if (pack_number_of(e->d_name, &number) == 0)
			r = numbers_add(&n, number);
	if (r == 0 && errno)
		r = -errno;
	if (r < 0) {
		free(n.list);
		return r;
	}
	if (n.count)
		qsort(n.list, n.count, sizeof(*n.list), number_order);
	*ret_packs = n.list;
	*ret_count = n.count;
	return 0;
}

static int digest_order(const struct pager_digest *a,
			const struct pager_digest *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

int packfind_bound(struct pack *p, const struct pager_digest *digest,
		   uint64_t *ret_at)
{
	struct pager_digest_entry e[CHUNK];
	uint64_t from = 0, to = pack_digests(p);

	while (from < to) {
		uint64_t n = to - from < CHUNK ? to - from : CHUNK;
		uint64_t at = from + (to - from - n) / 2;
		int r = pack_read_digests(p, at, n, e);

		if (r < 0)
			return r;
		if (digest_order(digest, &e[n - 1].digest) > 0) {
			from = at + n;
		} else if (digest_order(digest, &e[0].digest) <= 0) {
			to = at;
		} else {
			while (digest_order(digest, &e[n - 1].digest) <= 0)
				n--;
			from = to = at + n;
		}
	}
	*ret_at = from;
	return 0;
}

static int find_in_pack(struct pack *p, const struct pager_digest *digest,
			packfind_fn *fn, void *arg)
{
	struct pager_digest_entry e;
	uint64_t at;
	int r = 0;

	if (packfind_bound(p, digest, &at) < 0)
		return 0;
	for (; r == 0 && at < pack_digests(p); at++) {
		if (pack_read_digests(p, at, 1, &e) < 0 ||
		    digest_order(&e.digest, digest) != 0)
			return 0;
		if (e.block && pager_block_pack(e.block) == pack_number(p))
			r = fn(arg, e.block);
	}
	return r;
}

int packfind_all(struct store *s, const struct pager_digest *digest,
		 packfind_fn *fn, void *arg)
{
	uint64_t *packs;
	size_t count;
	int r = packfind_packs(s, &packs, &count);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < count; i++) {
		struct pack *p cleanup(cleanup_pack) = NULL;

		if (pack_open(store_folder_fd(s, STORE_PACKS), packs[i],
			      store_id(s), &p) == 0)
			r = find_in_pack(p, digest, fn, arg);
	}
	free(packs);
	return r;
}
