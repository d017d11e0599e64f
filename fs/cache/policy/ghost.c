#include "fs/cache/policy/ghost.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"

#include "fs/cache/shard/hash.h"

size_t ghost_bytes(uint32_t size)
{
	return (size_t)size * (sizeof(uint64_t) + 2 * sizeof(uint32_t));
}

void ghost_init(struct ghost *g, uint32_t size, void *memory)
{
	assert(size > 0);
	g->ids = memory;
	g->chains = (uint32_t *)(g->ids + size);
	g->buckets = g->chains + size;
	g->size = size;
	g->next = 0;
}

/* The link that leads to `block`, or the zero link that ends its chain. */
static uint32_t *find_link(struct ghost *g, uint64_t block)
{
	uint32_t *link = &g->buckets[hash_bucket(hash_block(block), g->size)];

	while (*link && g->ids[*link - 1] != block)
		link = &g->chains[*link - 1];
	return link;
}

bool ghost_take(struct ghost *g, uint64_t block)
{
	uint32_t *link = find_link(g, block);
	uint32_t at = *link;

	if (!at)
		return false;
	*link = g->chains[at - 1];
	g->ids[at - 1] = 0;
	return true;
}

void ghost_add(struct ghost *g, uint64_t block)
{
	uint32_t at = g->next;
	uint32_t *link;

	assert(block);
	(void)ghost_take(g, block);
	if (g->ids[at])
		(void)ghost_take(g, g->ids[at]);
	link = find_link(g, block);
	g->ids[at] = block;
	g->chains[at] = 0;
	*link = at + 1;
	g->next = at + 1 == g->size ? 0 : at + 1;
}

void ghost_resize(struct ghost *g, uint32_t size)
{
	uint32_t count = g->size, oldest = g->next;
	_cleanup_free_ uint64_t *ids = malloc(count * sizeof(*ids));

	if (ids) {
		memcpy(ids, g->ids + oldest, (count - oldest) * sizeof(*ids));
		memcpy(ids + count - oldest, g->ids, oldest * sizeof(*ids));
	}
	memset(g->ids, 0, ghost_bytes(count));
	ghost_init(g, size, g->ids);
	for (uint32_t i = 0; ids && i < count; i++)
		if (ids[i])
			ghost_add(g, ids[i]);
}
