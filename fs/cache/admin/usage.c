#include "fs/cache/admin/usage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/cache/cache_impl.h"

#define STEP 256u

/* The ids in the cache, hashed openly, each with the snapshot it counted for.
 */
struct present {
	uint64_t *ids; /* 0: vacant */
	uint32_t *counted;
	uint32_t size; /* more than twice as many as there can be ids */
};

struct count {
	const struct present *present;
	uint32_t snapshot; /* from 1 on */
	uint64_t blocks;
};

static uint32_t place_of(const struct present *p, uint64_t block)
{
	uint32_t at = hash_bucket(hash_block(block), p->size);

	while (p->ids[at] && p->ids[at] != block)
		at = at + 1 == p->size ? 0 : at + 1;
	return at;
}

static void add_slots(struct shard *s, uint32_t from, struct present *p,
		      uint32_t *room)
{
	uint32_t end, slot;

	LOCK_GUARD(&s->lock);
	end = from + STEP < s->extent ? from + STEP : s->extent;
	for (slot = slotmap_next(&s->slots, from, end); slot < end && *room;
	     slot = slotmap_next(&s->slots, slot + 1, end)) {
		uint64_t block = s->entries[slot].block;

		p->ids[place_of(p, block)] = block;
		--*room;
	}
}

static uint32_t extent_of(struct shard *s)
{
	LOCK_GUARD(&s->lock);
	return s->extent;
}

static int present_new(struct cache *c, struct present *ret_present)
{
	struct cache_stats stats;
	struct present p;
	uint32_t room;

	cache_stats(c, &stats);
	room = (uint32_t)(stats.blocks + stats.pinned + STEP);
	p.size = 2 * room + 1;
	p.ids = calloc(p.size, sizeof(*p.ids));
	p.counted = calloc(p.size, sizeof(*p.counted));
	if (!p.ids || !p.counted) {
		free(p.ids);
		free(p.counted);
		return err_set(-ENOMEM, "no memory to look at the cache");
	}
	for (unsigned int i = 0; i < c->shard_count; i++)
		for (uint32_t at = 0; at < extent_of(&c->shards[i]); at += STEP)
			add_slots(&c->shards[i], at, &p, &room);
	*ret_present = p;
	return 0;
}

static int count_block(void *arg, uint64_t block)
{
	struct count *c = arg;
	uint32_t at = place_of(c->present, block);

	if (c->present->ids[at] && c->present->counted[at] != c->snapshot) {
		c->present->counted[at] = c->snapshot;
		c->blocks++;
	}
	return 0;
}

static int usage_order(const void *a, const void *b)
{
	const struct usage *p = a, *q = b;

	if (p->blocks != q->blocks)
		return p->blocks > q->blocks ? -1 : 1;
	return strcmp(p->snapshot, q->snapshot);
}

/* One that has gone or is damaged has nothing. */
static uint64_t count_snapshot(struct cache *c, struct store *s,
			       const char *name, struct count *count)
{
	struct snapshot *snap cleanup(cleanup_snapshot) = NULL;

	count->blocks = 0;
	if (snapshot_open(s, name, &snap) < 0 ||
	    blockset_walk(c, snap, count_block, count) < 0)
		return 0;
	return count->blocks;
}

static int count_all(struct cache *c, struct store *s,
		     const struct present *present, struct usage **ret_list,
		     size_t *ret_count)
{
	struct count count = {.present = present};
	struct usage *list;
	char **names;
	size_t names_count, n = 0;
	int r = snapshot_list(s, &names, &names_count);

	if (r < 0)
		return r;
	list = calloc(names_count + 1, sizeof(*list));
	for (size_t i = 0; list && i < names_count; i++) {
		count.snapshot++;
		list[n].blocks = count_snapshot(c, s, names[i], &count);
		if (list[n].blocks)
			list[n++].snapshot = steal_ptr(names[i]);
	}
	snapshot_names_free(names, names_count);
	if (!list)
		return -ENOMEM;
	*ret_list = list;
	*ret_count = n;
	return 0;
}

int usage_top(struct cache *c, struct store *s, size_t most,
	      struct usage **ret_list, size_t *ret_count)
{
	struct present present;
	struct usage *list = NULL;
	size_t count = 0;
	int r = present_new(c, &present);

	if (r < 0)
		return r;
	r = count_all(c, s, &present, &list, &count);
	free(present.ids);
	free(present.counted);
	if (r < 0)
		return r;
	qsort(list, count, sizeof(*list), usage_order);
	while (count > most)
		free(list[--count].snapshot);
	*ret_list = list;
	*ret_count = count;
	return 0;
}

void usage_free(struct usage *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].snapshot);
	free(list);
}
