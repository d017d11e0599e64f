#include "tests/bench/fault/touch.h"

#include <errno.h>
#include <stdlib.h>

#include "pager/block.h"
#include "tests/bench/bench.h"

static void shuffle(uint32_t *order, uint64_t count, unsigned int seed)
{
	struct random_data data = {0};
	char state[64];
	int32_t value;

	(void)initstate_r(seed, state, sizeof(state), &data);
	for (uint64_t i = count; i > 1; i--) {
		uint64_t j;
		uint32_t swap;

		(void)random_r(&data, &value);
		j = (uint64_t)value % i;
		swap = order[i - 1];
		order[i - 1] = order[j];
		order[j] = swap;
	}
}

int touch_init_apart(struct touch *t, uint64_t count, unsigned int step,
		     unsigned int seed)
{
	*t = (struct touch){
		.count = count,
		.order = calloc(count, sizeof(*t->order)),
		.times = calloc(count, sizeof(*t->times)),
	};
	if (!t->order || !t->times) {
		touch_release(t);
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < count; i++) {
		t->order[i] = (uint32_t)(i * step);
		/* So that a first write is no part of what is timed. */
		t->times[i] = 1;
	}
	if (seed)
		shuffle(t->order, count, seed);
	return 0;
}

int touch_init(struct touch *t, uint64_t count, unsigned int seed)
{
	return touch_init_apart(t, count, 1, seed);
}

void touch_release(struct touch *t)
{
	free(t->order);
	free(t->times);
	*t = (struct touch){0};
}

void touch_all(struct touch *t, const uint8_t *data,
	       struct touch_figures *ret_figures)
{
	uint64_t begin = bench_now(), before = begin, after;

	for (uint64_t i = 0; i < t->count; i++) {
		const volatile uint8_t *page =
			data + (uint64_t)t->order[i] * PAGER_PAGE_SIZE;

		(void)*page;
		after = bench_now();
		t->times[i] = (double)(after - before) / 1000;
		before = after;
	}
	*ret_figures = (struct touch_figures){
		.begin = begin,
		.end = before,
		.mean = (double)(before - begin) / 1000 / (double)t->count,
	};
	ret_figures->p50 = bench_median(t->times, (unsigned int)t->count);
	ret_figures->p99 = t->times[t->count * 99 / 100];
}
