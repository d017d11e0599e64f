#include "tests/bench/cache/replay.h"

#include "pager/block.h"

struct score replay_score(const struct trace *t, const bool *hits)
{
	struct score s = {0};

	for (size_t i = 0; i < t->count; i++) {
		s.lookups[t->lookups[i].class]++;
		s.misses[t->lookups[i].class] += !hits[i];
	}
	return s;
}

double replay_hit_ratio(const struct score *s, enum cache_class class)
{
	uint64_t lookups = s->lookups[class];

	return lookups ? 1 - (double)s->misses[class] / (double)lookups : 0;
}

uint64_t replay_block(uint32_t item)
{
	return pager_block_id(1 + item / 65536, item % 65536);
}

bool replay_look_up(struct cache *c, uint64_t block, enum cache_class class)
{
	struct cache_ref ref;
	int r = cache_get(c, block, class, NULL, &ref);

	if (r == CACHE_FILL)
		cache_fill_done(&ref, PAGER_KIND_PAGE);
	cache_unpin(&ref);
	return r == CACHE_HIT;
}

int replay_own(const struct trace *t, uint32_t wanted, bool *ret_hits,
	       uint32_t *ret_slots)
{
	const struct cache_options options = {
		.limit = (size_t)wanted * 4200 + CACHE_LIMIT_MIN,
	};
	struct cache_stats stats;
	struct cache *c;
	int r = cache_new(&options, &c);

	if (r < 0)
		return r;
	cache_stats(c, &stats);
	*ret_slots = (uint32_t)stats.capacity;
	for (size_t i = 0; i < t->count; i++)
		ret_hits[i] =
			replay_look_up(c, replay_block(t->lookups[i].item),
				       (enum cache_class)t->lookups[i].class);
	cache_free(c);
	return 0;
}
