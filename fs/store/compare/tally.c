#include "fs/store/compare/tally.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int tally_init(struct tally *t, uint64_t room)
{
	/* calloc(0) may be NULL, which is no lack of memory. */
	uint64_t *blocks = calloc(room + 1, sizeof(*blocks));

	if (!blocks)
		return -ENOMEM;
	*t = (struct tally){.blocks = blocks, .room = room};
	return 0;
}

void tally_release(struct tally *t)
{
	free(t->blocks);
	*t = (struct tally){0};
}

void tally_add(struct tally *t, uint64_t block)
{
	assert(t->count < t->room);
	t->blocks[t->count++] = block;
}

static int id_order(const void *a, const void *b)
{
	uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;

	return p < q ? -1 : p > q;
}

void tally_sort(struct tally *t)
{
	if (t->count)
		qsort(t->blocks, t->count, sizeof(*t->blocks), id_order);
}

/* How many of the ids in [from, to) and before are below `block`. */
static uint64_t search(const struct tally *t, uint64_t block, uint64_t from,
		       uint64_t to)
{
	while (from < to) {
		uint64_t middle = from + (to - from) / 2;

		if (t->blocks[middle] < block)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

/* Steps that double, from the hint on, find the part to search. */
static uint64_t below(const struct tally *t, uint64_t block, uint64_t hint)
{
	uint64_t from = 0, to, step = 1;

	if (hint < t->count && t->blocks[hint] < block)
		from = hint + 1;
	else if (hint < t->count && (hint == 0 || t->blocks[hint - 1] < block))
		return hint;
	for (to = from; to < t->count && t->blocks[to] < block; step *= 2) {
		from = to + 1;
		to = t->count - to > step ? to + step : t->count;
	}
	return search(t, block, from, to);
}

uint64_t tally_find(const struct tally *t, uint64_t block, uint64_t *hint)
{
	uint64_t at = below(t, block, *hint);

	*hint = at;
	return at < t->count && t->blocks[at] == block ? at : UINT64_MAX;
}

uint64_t tally_count(const struct tally *t, uint64_t block)
{
	uint64_t from = search(t, block, 0, t->count);

	return search(t, block + 1, from, t->count) - from;
}
