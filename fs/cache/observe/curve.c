#include "fs/cache/observe/curve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/cache/shard/memory.h"
#include "fs/cache/shard/shard.h"
#include "pager/block.h"

/* Sampling: one in a hundred, but so many slots a miniature, and at most 1/16.
 */
#define RATE_LEAST  0.01
#define RATE_MOST   (1.0 / 16)
#define SLOTS_LEAST 1024.0

/* Of a hash the upper 16 bits decide: shard and bucket are chosen by others. */
#define HASH_SHIFT 48
#define HASH_RANGE 65536.0

const unsigned int curve_quarters[CURVE_POINTS] = {1, 2, 4, 8, 16};

/* In one mapping with its shard's tables, which begin at the next page. */
struct miniature {
	struct shard shard;
	uint64_t slots; /* of the cache that it stands for */
	uint64_t hits[CACHE_CLASS_COUNT];
};
_Static_assert(sizeof(struct miniature) <= PAGER_PAGE_SIZE, "one page");

struct curve {
	_Atomic uint32_t threshold; /* below this a hash is sampled */
	struct lock lock;
	double rate; /* protected by lock, as all below */
	uint64_t sampled[CACHE_CLASS_COUNT];
	struct miniature *minis[CURVE_POINTS];
};

static double rate_for(uint64_t slots)
{
	double rate = SLOTS_LEAST / (double)slots;

	if (rate > RATE_MOST)
		return RATE_MOST;
	return rate < RATE_LEAST ? RATE_LEAST : rate;
}

static uint32_t slots_of(unsigned int point, uint64_t slots)
{
	double scaled = (double)slots * curve_quarters[point] / 4;

	scaled *= rate_for(slots);
	return scaled < 4 ? 4 : (uint32_t)scaled;
}

static size_t miniature_bytes(uint32_t slots)
{
	return PAGER_PAGE_SIZE + shard_bytes(slots);
}

size_t curve_bytes(uint64_t slots)
{
	size_t bytes = sizeof(struct curve);

	for (unsigned int i = 0; i < CURVE_POINTS; i++)
		bytes += miniature_bytes(slots_of(i, slots));
	return bytes;
}

static struct miniature *miniature_new(uint32_t slots)
{
	const struct shard_size size = {.slots = slots, .most = slots};
	struct miniature *m = memory_reserve(miniature_bytes(slots));

	if (m)
		shard_init(&m->shard, size, NULL,
			   (uint8_t *)m + PAGER_PAGE_SIZE);
	return m;
}

static void miniatures_free(struct miniature *minis[CURVE_POINTS])
{
	for (unsigned int i = 0; i < CURVE_POINTS; i++) {
		if (!minis[i])
			continue;
		shard_release(&minis[i]->shard);
		memory_unreserve(minis[i],
				 miniature_bytes(minis[i]->shard.most));
	}
}

static int miniatures_new(uint64_t slots,
			  struct miniature *ret_minis[CURVE_POINTS])
{
	struct miniature *minis[CURVE_POINTS] = {NULL};

	for (unsigned int i = 0; i < CURVE_POINTS; i++) {
		minis[i] = miniature_new(slots_of(i, slots));
		if (!minis[i]) {
			miniatures_free(minis);
			return -ENOMEM;
		}
		minis[i]->slots = slots * curve_quarters[i] / 4;
	}
	memcpy(ret_minis, minis, sizeof(minis));
	return 0;
}

int curve_restart(struct curve *cv, uint64_t slots)
{
	struct miniature *fresh[CURVE_POINTS];
	int r = miniatures_new(slots, fresh);

	if (r < 0)
		return r;
	LOCK_GUARD(&cv->lock);
	miniatures_free(cv->minis);
	memcpy(cv->minis, fresh, sizeof(fresh));
	memset(cv->sampled, 0, sizeof(cv->sampled));
	cv->rate = rate_for(slots);
	cv->threshold = (uint32_t)(cv->rate * HASH_RANGE);
	return 0;
}

int curve_new(uint64_t slots, struct curve **ret_curve)
{
	struct curve *cv = calloc(1, sizeof(*cv));
	int r;

	if (!cv)
		return err_set(-ENOMEM, "curve: out of memory");
	lock_init(&cv->lock, "cache curve");
	r = curve_restart(cv, slots);
	if (r < 0) {
		curve_free(cv);
		return r;
	}
	*ret_curve = cv;
	return 0;
}

void curve_free(struct curve *cv)
{
	if (!cv)
		return;
	miniatures_free(cv->minis);
	lock_release(&cv->lock);
	free(cv);
}

/* One lookup, as the cache would do it, had it these slots. */
static void look_up(struct miniature *m, uint64_t block, enum cache_class class)
{
	struct shard *s = &m->shard;
	uint32_t slot;

	LOCK_GUARD(&s->lock);
	if (shard_find(s, block, &slot)) {
		policy_hit(&s->entries[slot], class);
		m->hits[class]++;
	} else if (shard_claim(s, block, class, &slot) == 0) {
		shard_ready(s, slot, PAGER_KIND_PAGE);
		policy_unpin(&s->policy, &s->entries[slot]);
	}
}

void curve_note(struct curve *cv, uint64_t hash, uint64_t block,
		enum cache_class class)
{
	if (hash >> HASH_SHIFT >=
	    atomic_load_explicit(&cv->threshold, memory_order_relaxed))
		return;
	LOCK_GUARD(&cv->lock);
	cv->sampled[class]++;
	for (unsigned int i = 0; i < CURVE_POINTS; i++)
		look_up(cv->minis[i], block, class);
}

/* SHARDS-adj: see the header. */
static double adjusted_ratio(double hits, double sampled, double expected)
{
	double ratio;

	if (expected < 1)
		return 0;
	ratio = (hits + expected - sampled) / expected;
	if (ratio < 0)
		return 0;
	return ratio > 1 ? 1 : ratio;
}

void curve_report(struct curve *cv, const struct curve_lookups *lookups,
		  struct curve_report *ret_report)
{
	struct curve_report r = {0};

	LOCK_GUARD(&cv->lock);
	r.rate = cv->rate;
	for (unsigned int i = 0; i < CACHE_CLASS_COUNT; i++) {
		r.lookups += lookups->by_class[i];
		r.sampled += cv->sampled[i];
	}
	for (unsigned int i = 0; i < CURVE_POINTS; i++) {
		const struct miniature *m = cv->minis[i];
		uint64_t hits = 0, faults = lookups->by_class[CACHE_FAULT];

		for (unsigned int k = 0; k < CACHE_CLASS_COUNT; k++)
			hits += m->hits[k];
		r.points[i].slots = m->slots;
		r.points[i].hit_ratio =
			adjusted_ratio((double)hits, (double)r.sampled,
				       (double)r.lookups * r.rate);
		r.points[i].fault_hit_ratio =
			adjusted_ratio((double)m->hits[CACHE_FAULT],
				       (double)cv->sampled[CACHE_FAULT],
				       (double)faults * r.rate);
	}
	*ret_report = r;
}
