#include "fs/store/pack/digests.h"

#include <stdlib.h>
#include <string.h>

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

void digests_sort(struct pager_digest_entry *entries, uint64_t count)
{
	qsort(entries, count, sizeof(*entries), compare_void);
}
