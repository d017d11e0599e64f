/*
 * What a running pagerd is made of, built and torn down in one place. The
 * fields do not change between daemon_new() and daemon_free(); what they
 * point at is safe from any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pagerd/control/recover/recovery.h"
#include "pagerd/control/registry.h"
#include "pagerd/control/rundir.h"

struct daemon_options {
	const char *store;
	const char *runtime;
	const char *mount; /* NULL: none */
	bool sandbox;	   /* keep little, see sandbox/sandbox.h */
	uint64_t cache_bytes;
	const char *fault_trace;    /* NULL: none */
	const char *const *imports; /* folders, see fs/io/confine.h */
	size_t import_count;
	bool memory_pressure; /* watch it, see cache/pressure.h */
	unsigned int workers;
	unsigned int max_sessions;
	uint64_t stuck_after_ns;
	uint64_t record_ns; /* the next five: see registry.h */
	unsigned int record_pages;
	uint64_t complete_age_ns;
	unsigned int complete_parallel;
	uint64_t complete_rate;
	bool no_neighbours;
	uint64_t spin_ns;
	bool exit_when_drained;
};

struct daemon {
	struct rundir *rundir;
	struct vault *vault;
	struct confine *imports; /* what clients may name */
	struct store *store;
	struct cache *cache;
	struct trace *trace; /* NULL: none */
	struct pins *pins;
	struct jobs *jobs;
	struct pressure *pressure; /* NULL: not watched */
	struct importer *importer;
	struct registry *registry;
	struct daemonmount *mount; /* NULL: none; the main thread's */
	struct recovery_result recovered;
	bool exit_when_drained;
	uint64_t started_ns; /* CLOCK_MONOTONIC */
	uint64_t stuck_after_ns;
};

/*
 * Takes over what a daemon before us served. While the caller has no other
 * thread: a process may be forked (vault.h).
 *
 * What rundir_open(), store_open(), cache_new(), registry_new() and
 * daemonmount_new() say. Where there were sessions to be taken over a mount
 * that fails is only logged: VMs do not wait for it.
 */
int daemon_new(const struct daemon_options *options,
	       struct daemon **ret_daemon);

/* The registry is empty and draining. Accepts NULL. */
void daemon_free(struct daemon *d);

/*
 * Ends the process at once with status 0, as a crash would: what the sessions
 * need lies ready for the next daemon. After registry_leave() said so.
 */
void daemon_leave(struct daemon *d) __attribute__((noreturn));

/* CLOCK_MONOTONIC. */
uint64_t daemon_now(void);
