#include "fs/base/hist.h"

#define SUB_BITS 3
#define SUB	 (1u << SUB_BITS)

static unsigned int bucket_of(uint64_t value)
{
	unsigned int log, index;

	if (value < SUB)
		return (unsigned int)value;
	log = 63 - (unsigned int)__builtin_clzll(value);
	index = (log - SUB_BITS + 1) * SUB +
		(unsigned int)((value >> (log - SUB_BITS)) & (SUB - 1));
	return index < HIST_BUCKETS ? index : HIST_BUCKETS - 1;
}

static uint64_t upper_edge(unsigned int bucket)
{
	unsigned int log;

	if (bucket < SUB)
		return bucket;
	log = bucket / SUB + SUB_BITS - 1;
	return ((uint64_t)(SUB + bucket % SUB + 1) << (log - SUB_BITS)) - 1;
}

void hist_init(struct hist *h)
{
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		atomic_init(&h->buckets[i], 0);
	atomic_init(&h->count, 0);
	atomic_init(&h->sum, 0);
	atomic_init(&h->max, 0);
}

static void raise_max(struct hist *h, uint64_t value)
{
	uint64_t seen = atomic_load_explicit(&h->max, memory_order_relaxed);

	while (seen < value &&
	       !atomic_compare_exchange_weak_explicit(&h->max, &seen, value,
						      memory_order_relaxed,
						      memory_order_relaxed))
		;
}

void hist_record(struct hist *h, uint64_t value)
{
	atomic_fetch_add_explicit(&h->buckets[bucket_of(value)], 1,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&h->count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
	raise_max(h, value);
}

uint64_t hist_percentile(const struct hist *h, double share)
{
	uint64_t total = 0, seen = 0, max, counts[HIST_BUCKETS];
	double wanted;

	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		counts[i] = atomic_load_explicit(&h->buckets[i],
						 memory_order_relaxed);
		total += counts[i];
	}
	max = atomic_load_explicit(&h->max, memory_order_relaxed);
	wanted = share * (double)total;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		seen += counts[i];
		if (counts[i] && (double)seen >= wanted)
			return upper_edge(i) < max ? upper_edge(i) : max;
	}
	return 0;
}

uint64_t hist_below(const struct hist *h, unsigned int log)
{
	unsigned int end = bucket_of(UINT64_C(1) << log);
	uint64_t sum = 0;

	for (unsigned int i = 0; i < end; i++)
		sum += atomic_load_explicit(&h->buckets[i],
					    memory_order_relaxed);
	return sum;
}

void hist_add(struct hist *to, const struct hist *from)
{
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		atomic_fetch_add_explicit(
			&to->buckets[i],
			atomic_load_explicit(&from->buckets[i],
					     memory_order_relaxed),
			memory_order_relaxed);
	atomic_fetch_add_explicit(
		&to->count,
		atomic_load_explicit(&from->count, memory_order_relaxed),
		memory_order_relaxed);
	atomic_fetch_add_explicit(
		&to->sum,
		atomic_load_explicit(&from->sum, memory_order_relaxed),
		memory_order_relaxed);
	raise_max(to, atomic_load_explicit(&from->max, memory_order_relaxed));
}
