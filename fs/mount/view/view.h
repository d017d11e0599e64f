/*
 * What a mount shows and reads through: one store, one cache, the blocks.
 * Filled by whoever makes the mount, who keeps all three alive for its life;
 * constant from then on.
 */
#pragma once

struct store;
struct cache;
struct block_source;

struct view {
	struct store *store;
	struct cache *cache;
	const struct block_source *source;
};
