#include "fs/cache/shard/slotmap.h"

#include <assert.h>

static uint32_t words_for(uint32_t size)
{
	return size / 64 + (size % 64 != 0);
}

size_t slotmap_bytes(uint32_t size)
{
	return words_for(size) * sizeof(uint64_t);
}

void slotmap_init(struct slotmap *m, uint32_t size, void *memory)
{
	*m = (struct slotmap){.words = memory, .size = size};
}

bool slotmap_take(struct slotmap *m, uint32_t *ret_slot)
{
	uint32_t bit;

	if (m->used == m->size)
		return false;
	while (m->words[m->lowest] == UINT64_MAX)
		m->lowest++;
	bit = (uint32_t)__builtin_ctzll(~m->words[m->lowest]);
	m->words[m->lowest] |= UINT64_C(1) << bit;
	m->used++;
	/* The last word's bits past the end are free but never the lowest. */
	assert(m->lowest * 64 + bit < m->size);
	*ret_slot = m->lowest * 64 + bit;
	return true;
}

void slotmap_give(struct slotmap *m, uint32_t slot)
{
	uint64_t bit = UINT64_C(1) << slot % 64;

	assert(slot < m->size && m->words[slot / 64] & bit);
	m->words[slot / 64] &= ~bit;
	m->used--;
	if (slot / 64 < m->lowest)
		m->lowest = slot / 64;
}
