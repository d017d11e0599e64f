/*
 * The list of a pin's blocks is ascending and never changes but for a mark at
 * blocks whose hold was broken. The first `loaded` blocks of it were read, and
 * are held by it where they are not marked; so it is always known which holds
 * are whose.
 */
#include "fs/cache/admin/pins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/cache/admin/resize.h"
#include "fs/cache/cache_impl.h"
#include "fs/cache/fetch_read.h"

/* Block ids stay below it. */
#define BROKEN (UINT64_C(1) << 63)

/* A block that is evicted so often just after it was read does not stay. */
#define HOLD_TRIES 8

struct pin {
	struct list_node node; /* in the list; protected by the pins' lock */
	struct snapshot *snap; /* referenced */
	struct blockset set;   /* marks: protected by the pins' lock */
	size_t loaded;	       /* likewise */
	size_t broken;	       /* likewise */
};

struct pins {
	struct cache *cache;
	struct lock lock; /* outside the cache's */
	struct list_node list;
};

int pins_new(struct cache *c, struct pins **ret_pins)
{
	struct pins *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(-ENOMEM, "pins: out of memory");
	p->cache = c;
	lock_init(&p->lock, "pins");
	list_init(&p->list);
	*ret_pins = p;
	return 0;
}

static size_t bytes_of(const struct pin *pin)
{
	return pin->set.count * sizeof(uint64_t);
}

/* Lets all go and frees it. It stands in no list. */
static void pin_free(struct pins *p, struct pin *pin)
{
	for (size_t i = 0; i < pin->loaded; i++)
		if (!(pin->set.blocks[i] & BROKEN))
			cache_unhold(p->cache, pin->set.blocks[i]);
	resize_uncharge(p->cache, CACHE_CHARGE_LISTS, bytes_of(pin));
	blockset_release(&pin->set);
	snapshot_unref(pin->snap);
	free(pin);
}

void pins_free(struct pins *p)
{
	struct list_node *n;

	if (!p)
		return;
	while ((n = list_pop(&p->list)))
		pin_free(p, container_of(n, struct pin, node));
	lock_release(&p->lock);
	free(p);
}

static struct pin *find(struct pins *p, const char *snapshot)
{
	lock_assert_held(&p->lock);
	list_foreach (n, &p->list) {
		struct pin *pin = container_of(n, struct pin, node);

		if (strcmp(snapshot_name(pin->snap), snapshot) == 0)
			return pin;
	}
	return NULL;
}

/* Where the block stands in the list of a pin that holds it; else its count. */
static size_t index_of(const struct pin *pin, uint64_t block)
{
	size_t from = 0, to = pin->loaded;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if ((pin->set.blocks[middle] & ~BROKEN) < block)
			from = middle + 1;
		else
			to = middle;
	}
	return from < pin->loaded && pin->set.blocks[from] == block
		       ? from
		       : pin->set.count;
}

static bool is_held(struct shard *s, uint64_t block)
{
	uint32_t slot;

	LOCK_GUARD(&s->lock);
	return shard_find(s, block, &slot) &&
	       s->entries[slot].state == ENTRY_READY && s->entries[slot].holds;
}

static uint32_t held_in(struct shard *s)
{
	LOCK_GUARD(&s->lock);
	return s->policy.queues[QUEUE_HELD].count;
}

static uint32_t holdable_in(struct shard *s)
{
	LOCK_GUARD(&s->lock);
	return shard_holdable(s->limit);
}

static int does_not_fit(struct pins *p, const struct blockset *set,
			const char *name, uint32_t most_in_a_shard)
{
	struct cache_stats stats;

	cache_stats(p->cache, &stats);
	return err_set(-ENOSPC,
		       "%s: its blocks take %zu bytes; of the cache's %zu at "
		       "most %llu can be pinned, and %llu are already; a cache "
		       "of %zu has room for them",
		       name, set->count * PAGER_PAGE_SIZE, stats.limit,
		       (unsigned long long)stats.holdable * PAGER_PAGE_SIZE,
		       (unsigned long long)stats.held * PAGER_PAGE_SIZE,
		       resize_to_hold(p->cache, most_in_a_shard) +
			       set->count * sizeof(uint64_t));
}

/* By shard, since a block's shard is given. */
static int check_room(struct pins *p, const struct blockset *set,
		      const char *name)
{
	uint32_t held[CACHE_SHARDS_MAX], most = 0;
	bool fits = true;

	for (unsigned int i = 0; i < p->cache->shard_count; i++)
		held[i] = held_in(&p->cache->shards[i]);
	for (size_t i = 0; i < set->count; i++) {
		struct shard *s =
			cache_shard(p->cache, hash_block(set->blocks[i]));

		held[s - p->cache->shards] += !is_held(s, set->blocks[i]);
	}
	for (unsigned int i = 0; i < p->cache->shard_count; i++) {
		fits = fits && held[i] <= holdable_in(&p->cache->shards[i]);
		if (held[i] > most)
			most = held[i];
	}
	return fits ? 0 : does_not_fit(p, set, name, most);
}

static int add(struct pins *p, struct pin *pin)
{
	const char *name = snapshot_name(pin->snap);

	LOCK_GUARD(&p->lock);
	if (find(p, name))
		return err_set(-ENOTUNIQ, "%s: it is pinned already", name);
	list_append(&p->list, &pin->node);
	return 0;
}

int pins_begin(struct pins *p, struct snapshot *snap, uint64_t *ret_blocks)
{
	struct pin *pin = calloc(1, sizeof(*pin));
	uint64_t count;
	int r;

	if (!pin)
		return -ENOMEM;
	r = blockset_of_snapshot(p->cache, snap, &pin->set);
	if (r < 0) {
		free(pin);
		return r;
	}
	/* Its list takes room, too, but not where it cannot fit anyhow. */
	r = check_room(p, &pin->set, snapshot_name(snap));
	if (r == 0)
		r = resize_charge(p->cache, CACHE_CHARGE_LISTS, bytes_of(pin));
	if (r < 0) {
		blockset_release(&pin->set);
		free(pin);
		return r;
	}
	pin->snap = snapshot_ref(snap);
	r = check_room(p, &pin->set, snapshot_name(snap));
	count = pin->set.count;
	if (r == 0)
		r = add(p, pin);
	if (r < 0)
		pin_free(p, pin);
	else
		*ret_blocks = count;
	return r;
}

/* Into the cache, and held. */
static int read_and_hold(struct pins *p, const struct block_source *source,
			 uint64_t block)
{
	uint8_t page[PAGER_PAGE_SIZE];
	int r;

	for (int i = 0; i < HOLD_TRIES; i++) {
		r = fetch_read(p->cache, source, block, CACHE_PREFETCH, page,
			       NULL);
		if (r < 0)
			return r;
		r = cache_hold(p->cache, block);
		if (r != -ENOENT)
			return r;
	}
	return -ENOSPC;
}

/* The next block that a pin has to read: 1 and the block. */
static int next_block(struct pins *p, const char *snapshot,
		      const struct block_source **ret_source,
		      uint64_t *ret_block)
{
	struct pin *pin;

	LOCK_GUARD(&p->lock);
	pin = find(p, snapshot);
	if (!pin || pin->loaded == pin->set.count)
		return 0;
	*ret_source = store_source(snapshot_store(pin->snap));
	*ret_block = pin->set.blocks[pin->loaded];
	return 1;
}

/* Notes the hold with its pin, or ends it where that is gone. */
static int note_hold(struct pins *p, const char *snapshot, uint64_t block)
{
	struct pin *pin;

	LOCK_GUARD(&p->lock);
	pin = find(p, snapshot);
	if (!pin || pin->loaded == pin->set.count ||
	    pin->set.blocks[pin->loaded] != block) {
		cache_unhold(p->cache, block);
		return 0;
	}
	pin->loaded++;
	return pin->loaded < pin->set.count;
}

int pins_load(struct pins *p, const char *snapshot)
{
	const struct block_source *source;
	uint64_t block;
	int r = next_block(p, snapshot, &source, &block);

	if (r == 0)
		return 0;
	r = read_and_hold(p, source, block);
	if (r == 0)
		return note_hold(p, snapshot, block);
	if (r == -ENOSPC)
		r = err_set(-ENOSPC,
			    "%s: its blocks do not fit in any more: the cache "
			    "or what is pinned has changed",
			    snapshot);
	(void)pins_remove(p, snapshot);
	return r;
}

int pins_remove(struct pins *p, const char *snapshot)
{
	struct pin *pin;

	LOCK_GUARD(&p->lock);
	pin = find(p, snapshot);
	if (!pin)
		return err_set(-ENOENT, "%s: it is not pinned", snapshot);
	list_remove(&pin->node);
	pin_free(p, pin);
	return 0;
}

void pins_break(struct pins *p, uint64_t block)
{
	LOCK_GUARD(&p->lock);
	list_foreach (n, &p->list) {
		struct pin *pin = container_of(n, struct pin, node);
		size_t i = index_of(pin, block);

		if (i == pin->set.count)
			continue;
		cache_unhold(p->cache, block);
		pin->set.blocks[i] |= BROKEN;
		pin->broken++;
	}
}

int pins_list(struct pins *p, struct pin_status **ret_list, size_t *ret_count)
{
	struct pin_status *list;
	size_t count = 0;

	LOCK_GUARD(&p->lock);
	list_foreach (n, &p->list)
		count++;
	list = calloc(count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	count = 0;
	list_foreach (n, &p->list) {
		const struct pin *pin = container_of(n, struct pin, node);

		list[count].snapshot = strdup(snapshot_name(pin->snap));
		list[count].blocks = pin->set.count;
		list[count].held = pin->loaded - pin->broken;
		if (!list[count++].snapshot) {
			pins_list_free(list, count);
			return -ENOMEM;
		}
	}
	*ret_list = list;
	*ret_count = count;
	return 0;
}

void pins_list_free(struct pin_status *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].snapshot);
	free(list);
}
