/*
 * Looking for events without sleeping, for a moment, while a restore is hot:
 * to be woken costs a fault more than to answer it. The design note stands in
 * spin.c. What is not said to be shared is for the worker's own thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct epoll_event;
struct session;
struct worker;

/* Of a pool; immutable but for `awake`. */
struct spin_shared {
	uint64_t most_ns; /* of one spin; 0: there is none */
	unsigned int processors;
	atomic_uint awake; /* workers that do not sleep */
};

/* Of a worker. */
struct spin {
	struct session *hot; /* which was restored last; NULL: none is hot */
	uint64_t hot_until;
	uint64_t not_before;  /* it was of no use */
	unsigned int in_vain; /* spins in a row */
};

/* A VM is served from now on: its restore is hot for a while. */
void spin_heat(struct session *s);

/* The session is over. */
void spin_leave(struct session *s);

/*
 * Spins where that promises something. The number of events as epoll_wait(2)
 * has them, or 0: the worker may go to sleep.
 */
int spin_for_events(struct worker *w, struct epoll_event *events, int max);

/* Around each sleep. */
void spin_sleeps(struct worker *w);
void spin_wakes(struct worker *w);
