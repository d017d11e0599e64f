#include "pagerd/uffd/ahead/inherit.h"

#include <errno.h>
#include <stdlib.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/cache/fetch_read.h"
#include "fs/store/compare/tablediff.h"
#include "fs/store/workingset/wsfile.h"

/* A chain of diffs may be longer: what is further off helps little. */
#define PARENTS_MAX 8

struct reader {
	struct cache *cache;
	const struct block_source *source;
};

static int read_node(void *arg, uint64_t block, uint8_t *ret_page,
		     uint8_t *ret_kind)
{
	const struct reader *r = arg;

	return fetch_read(r->cache, r->source, block, CACHE_NODE, ret_page,
			  ret_kind);
}

/* A bit for each page of the child: its block is not the parent's. */
struct differing {
	uint8_t *bits;
	uint64_t pages;
};

/* A tablediff_fn. What only the parent has is no page of the child. */
static int note_run(void *arg, const struct tablediff_run *run)
{
	struct differing *d = arg;

	for (uint64_t i = 0; i < run->count && run->first + i < d->pages; i++)
		d->bits[(run->first + i) / 8] |=
			(uint8_t)(1u << (run->first + i) % 8);
	return 0;
}

static int keep_same(const struct differing *d, struct workingset *set)
{
	size_t kept = 0;

	for (size_t i = 0; i < set->count; i++) {
		uint64_t page = set->entries[i].page;

		if (page < d->pages && !(d->bits[page / 8] & 1u << page % 8))
			set->entries[kept++] = set->entries[i];
	}
	set->count = kept;
	return kept ? 0 : -ENOENT;
}

static int load(struct snapshot *snapshot, struct workingset *ret_set)
{
	const struct manifest_file *image = &snapshot_manifest(snapshot)->image;
	int r = wsfile_load(snapshot_store(snapshot), &image->digest,
			    image->pages, ret_set);

	if (r < 0 && r != -ENOENT)
		log_warn("no working set is used: %s snapshot=%s", err_text(r),
			 snapshot_name(snapshot));
	return r;
}

static int adapt(struct snapshot *child, struct snapshot *parent,
		 struct cache *cache, struct workingset *set)
{
	const struct manifest_file *image = &snapshot_manifest(child)->image;
	struct reader reader = {cache, store_source(snapshot_store(child))};
	_cleanup_free_ uint8_t *bits = calloc(image->pages / 8 + 1, 1);
	struct differing d = {bits, image->pages};
	const struct tablediff diff = {
		.a = image,
		.b = &snapshot_manifest(parent)->image,
		.read = read_node,
		.read_arg = &reader,
		.run = note_run,
		.run_arg = &d,
	};
	int r = bits ? tablediff_run(&diff) : -ENOMEM;

	if (r == 0)
		r = keep_same(&d, set);
	set->image = image->digest;
	set->pages = image->pages;
	return r;
}

static int open_parent(const struct snapshot *snapshot,
		       struct snapshot **ret_parent)
{
	const char *name = snapshot_manifest(snapshot)->parent;

	if (!name)
		return -ENOENT;
	return snapshot_open(snapshot_store(snapshot), name, ret_parent);
}

int inherit_workingset(struct snapshot *snapshot, struct cache *cache,
		       struct workingset *ret_set, bool *ret_own)
{
	struct snapshot *at cleanup(cleanup_snapshot) = snapshot_ref(snapshot);
	struct workingset set cleanup(workingset_release) = {0};
	int r = load(at, &set);

	for (int i = 0; r < 0 && i < PARENTS_MAX; i++) {
		struct snapshot *parent = NULL;

		if (open_parent(at, &parent) < 0)
			return -ENOENT;
		snapshot_unref(at);
		at = parent;
		r = load(at, &set);
	}
	if (r < 0)
		return -ENOENT;
	*ret_own = at == snapshot;
	if (at != snapshot)
		r = adapt(snapshot, at, cache, &set);
	if (r < 0) {
		if (r != -ENOENT)
			log_warn("the parent's working set is not used: %s "
				 "snapshot=%s",
				 err_text(r), snapshot_name(snapshot));
		return -ENOENT;
	}
	*ret_set = set;
	set = (struct workingset){0};
	return 0;
}
