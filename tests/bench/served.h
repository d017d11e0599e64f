/*
 * A pagerd of the benchmark's own: a store, and a daemon on a private runtime
 * folder, both below one folder.
 */
#pragma once

#include <stdint.h>

#include "tests/bench/bench.h"

struct served;
struct served_memory;

/* Publishes `image` into the store, which is made if it is not there. */
int served_publish(const char *folder, const char *name, const char *image);

/* Starts pagerd with a cache of that many bytes and waits until it answers. */
int served_start(const struct bench_options *options, const char *folder,
		 uint64_t cache_bytes, struct served **ret_served);
void served_stop(struct served *s); /* accepts NULL */

/*
 * Ends the daemon by a signal and starts the next one, which takes over what
 * is mapped; it may not answer yet before served_wait().
 */
int served_restart(struct served *s, const struct bench_options *options,
		   const char *folder, uint64_t cache_bytes, int number);
int served_wait(struct served *s);

enum served_how {
	SERVED_DEFAULT,	  /* as any client is */
	SERVED_ON_DEMAND, /* nothing is installed ahead, nothing recorded */
	SERVED_AHEAD,	  /* the working set is, nothing is recorded */
};

/* A new session on a snapshot, mapped into this process. */
int served_map(struct served *s, const char *snapshot, uint64_t size,
	       enum served_how how, struct served_memory **ret_memory);
uint8_t *served_data(const struct served_memory *m);
/* Waits until its working set is installed; how long that took, in seconds. */
int served_await(struct served_memory *m, double *ret_seconds);
void served_unmap(struct served_memory *m); /* accepts NULL */

/* In a child process: a connection to the daemon of its own. */
int served_reopen(struct served *s);

/*
 * Drops the packs below `folder` from the page cache; what of one of them is
 * there all the same, as bench_chill_file() says it.
 */
int served_chill(const char *folder, double *ret_resident);
