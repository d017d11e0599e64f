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
	uint32_t words = words_for(m->size), slot;

	while (m->lowest < words && m->words[m->lowest] == UINT64_MAX)
		m->lowest++;
	if (m->lowest >= words)
		return false;
	slot = m->lowest * 64 + (uint32_t)__builtin_ctzll(~m->words[m->lowest]);
	if (slot >= m->size)
		return false;
	m->words[slot / 64] |= UINT64_C(1) << slot % 64;
	m->used++;
	*ret_slot = slot;
	return true;
}

void slotmap_give(struct slotmap *m, uint32_t slot)
{
	assert(slotmap_has(m, slot));
	m->words[slot / 64] &= ~(UINT64_C(1) << slot % 64);
	m->used--;
	if (slot / 64 < m->lowest)
		m->lowest = slot / 64;
}

bool slotmap_has(const struct slotmap *m, uint32_t slot)
{
	return m->words[slot / 64] >> slot % 64 & 1;
}

uint32_t slotmap_next(const struct slotmap *m, uint32_t from, uint32_t end)
{
	while (from < end) {
		uint64_t rest = m->words[from / 64] >> from % 64;
		uint32_t slot;

		if (!rest) {
			from = (from / 64 + 1) * 64;
			continue;
		}
		slot = from + (uint32_t)__builtin_ctzll(rest);
		return slot < end ? slot : end;
	}
	return end;
}
