/*
 * What a running pagerd is made of, built and torn down in one place. The
 * fields do not change between daemon_new() and daemon_free(); what they
 * point at is safe from any thread.
 */
#pragma once

#include <stdint.h>

#include "pagerd/control/registry.h"
#include "pagerd/control/rundir.h"

struct daemon_options {
	const char *store;
	const char *runtime;
	uint64_t cache_bytes;
	unsigned int workers;
	unsigned int max_sessions;
	uint64_t stuck_after_ns;
};

struct daemon {
	struct rundir *rundir;
	struct store *store;
	struct cache *cache;
	struct registry *registry;
	uint64_t started_ns; /* CLOCK_MONOTONIC */
	uint64_t stuck_after_ns;
};

/* What rundir_open(), store_open(), cache_new() and registry_new() say. */
int daemon_new(const struct daemon_options *options,
	       struct daemon **ret_daemon);

/* The registry is empty and draining. Accepts NULL. */
void daemon_free(struct daemon *d);

/* CLOCK_MONOTONIC. */
uint64_t daemon_now(void);
