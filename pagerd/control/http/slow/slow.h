/*
 * Work for requests that may take long, each on a thread of its own, so that
 * the few threads that speak HTTP never wait: an import must not hold up a
 * look at the daemon's health.
 */
#pragma once

struct slow;

/* How much there may be at a time. */
#define SLOW_MAX 32

int slow_new(struct slow **ret_slow); /* 0 or -ENOMEM */

/*
 * Calls work(arg) on another thread. -EAGAIN: too much is under way, or there
 * is no thread; -ESHUTDOWN after slow_stop(). Any thread.
 */
int slow_run(struct slow *s, void (*work)(void *arg), void *arg);

/* Takes no more, and waits for the end of all. Any thread. */
void slow_stop(struct slow *s);

void slow_free(struct slow *s); /* after slow_stop(); accepts NULL */
