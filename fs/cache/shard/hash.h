/*
 * One mixed hash of a block id for all of the cache. Ids are dense (pack and
 * slot), so every bit of the hash must depend on every bit of the id: the
 * upper 32 choose the shard, the lower the bucket. Ids are given by the
 * store, not by a guest, so that the hash needs no secret.
 */
#pragma once

#include <stdint.h>

/* The finalizer of splitmix64. */
static inline uint64_t hash_block(uint64_t block)
{
	block ^= block >> 30;
	block *= UINT64_C(0xbf58476d1ce4e5b9);
	block ^= block >> 27;
	block *= UINT64_C(0x94d049bb133111eb);
	return block ^ block >> 31;
}

/* 0..count-1, for any count, without a division. */
static inline uint32_t hash_bucket(uint64_t hash, uint32_t count)
{
	return (uint32_t)((hash & UINT32_MAX) * count >> 32);
}
