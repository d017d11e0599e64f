/* A store, a cache and a view of both, for tests of what a mount stands on. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/mount/view/view.h"
#include "tests/unit/store/scratch.h"

struct mount_fixture {
	char folder[SCRATCH_PATH_MAX];
	char path[2 * SCRATCH_PATH_MAX]; /* of the store */
	struct store *store;
	struct cache *cache;
	struct view view;
};

/* With the secret of the colliding fixtures; a cache of the least size. */
void mount_fixture_open(struct mount_fixture *f);
void mount_fixture_close(struct mount_fixture *f);

/* Publishes the bytes as NAME; a vmstate beside it where that is not NULL. */
void mount_fixture_publish(struct mount_fixture *f, const char *name,
			   const uint8_t *image, size_t size,
			   const char *vmstate);

/* The path of the store's only pack. */
const char *mount_fixture_pack(const struct mount_fixture *f);

/* Blocks of the cache that are pinned or being filled. */
uint64_t mount_fixture_pinned(const struct mount_fixture *f);
