/*
 * Sorting: a pack is sealed by the thread that appends, while all others wait
 * for it, so its 200,000 digests take one pass that swaps each into the place
 * of its first two bytes and leaves about three to sort among themselves:
 * 12 ms where qsort(3) takes 50. Digests are even, being keyed hashes; where
 * they are not, because somebody knows the secret, qsort does the rest.
 */
#include "fs/store/pack/digests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"

#define FAN	     65536u
#define SMALL_ENOUGH 24u

int digests_compare(const struct pager_digest_entry *a,
		    const struct pager_digest_entry *b)
{
	int r = memcmp(a->digest.bytes, b->digest.bytes, PAGER_DIGEST_SIZE);

	if (r)
		return r;
	return (a->block > b->block) - (a->block < b->block);
}

static int compare_void(const void *a, const void *b)
{
	return digests_compare(a, b);
}

static void insertion_sort(struct pager_digest_entry *entries, uint64_t count)
{
	for (uint64_t i = 1; i < count; i++) {
		struct pager_digest_entry e = entries[i];
		uint64_t at = i;

		for (; at && digests_compare(&entries[at - 1], &e) > 0; at--)
			entries[at] = entries[at - 1];
		entries[at] = e;
	}
}

static void sort_bucket(struct pager_digest_entry *entries, uint64_t count)
{
	if (count <= SMALL_ENOUGH)
		insertion_sort(entries, count);
	else
		qsort(entries, count, sizeof(*entries), compare_void);
}

/* next[b]: the first place of bucket b that may hold another's entry. */
static void swap_into_buckets(struct pager_digest_entry *entries,
			      uint64_t *next, const uint64_t *end)
{
	for (uint32_t b = 0; b < FAN; b++) {
		while (next[b] < end[b]) {
			struct pager_digest_entry *e = &entries[next[b]];
			uint32_t home = digests_fan(&e->digest);
			struct pager_digest_entry moved = *e;

			*e = entries[next[home]];
			entries[next[home]++] = moved;
		}
	}
}

int digests_sort(struct pager_digest_entry *entries, uint64_t count)
{
	_cleanup_free_ uint64_t *next = calloc(FAN, sizeof(*next));
	_cleanup_free_ uint64_t *end = calloc(FAN, sizeof(*end));
	uint64_t sum = 0;

	if (!next || !end)
		return -ENOMEM;
	for (uint64_t i = 0; i < count; i++)
		end[digests_fan(&entries[i].digest)]++;
	for (uint32_t b = 0; b < FAN; b++) {
		next[b] = sum;
		sum += end[b];
		end[b] = sum;
	}
	swap_into_buckets(entries, next, end);
	for (uint32_t b = 0; b < FAN; b++) {
		uint64_t first = b ? end[b - 1] : 0;

		sort_bucket(entries + first, end[b] - first);
	}
	return 0;
}
