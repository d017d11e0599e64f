/*
 * A hash table of damaged blocks. An entry's life:
 *
 *   verdict(error)  -> in quarantine; try_at and the error are renewed
 *   rescue          -> has a copy, where one is found; else remembered
 *   verdict(0)      -> gone, unless it has a copy: then that was read
 *
 * Readers ask first (suspect), read as it tells them, and end with a verdict
 * where there was one to ask about, or an error. Nothing is held in between:
 * two readers may both try a block that is due, which does no harm.
 */
#include "fs/store/damage/damage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/store/damage/copies.h"
#include "fs/store/pack/packset.h"

#define BUCKETS 256u

/* Between two searches for a copy of one block. */
#define SEARCH_PAUSE (5 * DAMAGE_PAUSE)

struct damaged {
	struct damaged *next;
	uint64_t block;
	uint64_t copy; /* 0: none is known */
	uint64_t try_at, search_at;
	bool awaited; /* a VM waited when it was found */
	int error;
	char text[DAMAGE_TEXT_MAX];
};

struct damage {
	struct store *store;
	_Atomic uint64_t count; /* written with the lock held */

	struct lock lock;
	/* All below is protected by the lock. */
	struct damaged *buckets[BUCKETS];
	struct damage_stats stats;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int damage_new(struct store *s, struct damage **ret_damage)
{
	struct damage *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->store = s;
	lock_init(&d->lock, "damage");
	*ret_damage = d;
	return 0;
}

static struct damaged **place_of(struct damage *d, uint64_t block)
{
	struct damaged **at =
		&d->buckets[block * UINT64_C(0x9e3779b97f4a7c15) >> 56];

	lock_assert_held(&d->lock);
	while (*at && (*at)->block != block)
		at = &(*at)->next;
	return at;
}

_Static_assert(BUCKETS == 1u << (64 - 56), "the hash's shift");

static void take_out(struct damage *d, struct damaged **at)
{
	struct damaged *e = *at;

	*at = e->next;
	d->stats.copies -= e->copy != 0;
	d->stats.blocks--;
	atomic_store(&d->count, d->stats.blocks);
	free(e);
}

void damage_free(struct damage *d)
{
	if (!d)
		return;
	lock_take(&d->lock);
	for (unsigned int i = 0; i < BUCKETS; i++)
		while (d->buckets[i])
			take_out(d, &d->buckets[i]);
	lock_drop(&d->lock);
	lock_release(&d->lock);
	free(d);
}

/* What another try, or another day, would mend by itself is no damage. */
static bool is_damage(int error)
{
	return error == -EBADMSG || error == -EIO || error == -ENOENT ||
	       error == -ENODATA;
}

static bool is_empty(struct damage *d)
{
	return atomic_load_explicit(&d->count, memory_order_relaxed) == 0;
}

static int damage_suspect(void *ctx, uint64_t block, bool awaited)
{
	struct damage *d = ctx;
	struct damaged *e;

	if (is_empty(d))
		return BLOCK_UNKNOWN;
	LOCK_GUARD(&d->lock);
	e = *place_of(d, block);
	if (!e || e->copy)
		return BLOCK_UNKNOWN;
	if (awaited && !e->awaited)
		return BLOCK_TRY_ALL;
	if (now_ns() < e->try_at) {
		d->stats.refusals++;
		return err_restore(e->error, e->text);
	}
	packset_forget(store_packs(d->store), pager_block_pack(block));
	return BLOCK_TRY_ONCE;
}

static void note(struct damage *d, uint64_t block, bool awaited, int error,
		 const char *text)
{
	struct damaged **at, *e;

	LOCK_GUARD(&d->lock);
	at = place_of(d, block);
	e = *at;
	if (!e) {
		if (d->stats.blocks == DAMAGE_BLOCKS_MAX)
			return;
		e = calloc(1, sizeof(*e));
		if (!e)
			return;
		e->block = block;
		*at = e;
		d->stats.blocks++;
		d->stats.found++;
		atomic_store(&d->count, d->stats.blocks);
	}
	/* A copy that failed, too, is none. */
	d->stats.copies -= e->copy != 0;
	e->copy = 0;
	e->awaited |= awaited;
	e->error = error;
	(void)snprintf(e->text, sizeof(e->text), "%s", text);
	e->try_at = now_ns() + DAMAGE_PAUSE;
}

static void damage_verdict(void *ctx, uint64_t block, bool awaited, int error)
{
	struct damage *d = ctx;
	char text[ERR_TEXT_MAX];
	struct damaged **at;

	if (error < 0) {
		err_copy(error, text);
		if (is_damage(error))
			note(d, block, awaited, error, text);
		(void)err_restore(error, text);
		return;
	}
	LOCK_GUARD(&d->lock);
	at = place_of(d, block);
	if (!*at || (*at)->copy)
		return;
	take_out(d, at);
	d->stats.healed++;
}

/* Whether a search is due. Else the error to give. */
static int may_search(struct damage *d, uint64_t block)
{
	struct damaged *e;

	LOCK_GUARD(&d->lock);
	e = *place_of(d, block);
	if (!e)
		return err_set(-EIO, "the block is not noted as damaged");
	if (now_ns() < e->search_at)
		return err_restore(e->error, e->text);
	e->search_at = now_ns() + SEARCH_PAUSE;
	return 0;
}

static int damage_rescue(void *ctx, uint64_t block)
{
	struct damage *d = ctx;
	struct damaged *e;
	uint64_t copy = 0;
	int r = may_search(d, block);

	if (r < 0)
		return r;
	r = copies_find(d->store, block, &copy);
	LOCK_GUARD(&d->lock);
	e = *place_of(d, block);
	if (!e)
		return 0; /* healed meanwhile */
	if (r < 0)
		return err_restore(e->error, e->text);
	d->stats.copies += e->copy == 0;
	e->copy = copy;
	return 0;
}

static uint64_t copy_or_self(struct damage *d, uint64_t block)
{
	struct damaged *e;

	if (is_empty(d))
		return block;
	LOCK_GUARD(&d->lock);
	e = *place_of(d, block);
	return e && e->copy ? e->copy : block;
}

static int damage_locate(void *ctx, uint64_t block,
			 struct block_place *ret_place)
{
	struct damage *d = ctx;

	return packset_source_ops.locate(store_packs(d->store),
					 copy_or_self(d, block), ret_place);
}

static int damage_prepare(void *ctx, uint64_t block)
{
	struct damage *d = ctx;

	return packset_source_ops.prepare(store_packs(d->store),
					  copy_or_self(d, block));
}

static int damage_decode(void *ctx, const struct block_place *place,
			 const uint8_t *stored, uint8_t *ret_page)
{
	struct damage *d = ctx;

	return packset_source_ops.decode(store_packs(d->store), place, stored,
					 ret_page);
}

static void damage_release(void *ctx, struct block_place *place)
{
	struct damage *d = ctx;

	packset_source_ops.release(store_packs(d->store), place);
}

const struct block_source_ops damage_source_ops = {
	.locate = damage_locate,
	.prepare = damage_prepare,
	.decode = damage_decode,
	.release = damage_release,
	.suspect = damage_suspect,
	.verdict = damage_verdict,
	.rescue = damage_rescue,
};

void damage_stats(struct damage *d, struct damage_stats *ret_stats)
{
	LOCK_GUARD(&d->lock);
	*ret_stats = d->stats;
}

static size_t list_some(struct damage *d, bool with_copy,
			struct damage_row *rows, size_t max)
{
	size_t n = 0;

	for (unsigned int i = 0; i < BUCKETS; i++)
		for (struct damaged *e = d->buckets[i]; e && n < max;
		     e = e->next) {
			if ((e->copy != 0) != with_copy)
				continue;
			rows[n].block = e->block;
			rows[n].has_copy = with_copy;
			rows[n].error = e->error;
			memcpy(rows[n++].text, e->text, sizeof(e->text));
		}
	return n;
}

size_t damage_list(struct damage *d, struct damage_row *rows, size_t max)
{
	size_t n;

	LOCK_GUARD(&d->lock);
	n = list_some(d, false, rows, max);
	return n + list_some(d, true, rows + n, max - n);
}
