/*
 * The loader: a few threads that do for all fetchers what may block, which is
 * block_source's prepare and rescue. One pack is prepared by one thread at a
 * time; who else wants a block of the same pack shares the result, so a
 * thousand faults on a cold pack load its tables once, and a slow pack holds up
 * one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/list.h"
#include "fs/store/source.h"

#define FETCH_LOADER_THREADS 4

struct fetch_loader;

/*
 * Owned by the caller, which keeps it alive until loaded() was called: once,
 * on a loader's thread, with no lock held. `error` is what prepare said, and
 * err_text() tells of it; loaded() must leave that alone, and be quick.
 */
struct fetch_load {
	uint64_t block;
	bool rescue; /* that, for this block alone; else prepare */
	void (*loaded)(struct fetch_load *load, int error);
	struct list_node node; /* protected by the loader's lock */
};

/* Starts the threads. `source` is borrowed for the loader's life. */
int fetch_loader_new(const struct block_source *source,
		     struct fetch_loader **ret_loader);

/* All fetchers that use it must be gone. Accepts NULL. */
void fetch_loader_free(struct fetch_loader *l);

/* Any thread; never blocks for long. */
void fetch_loader_add(struct fetch_loader *l, struct fetch_load *load);
