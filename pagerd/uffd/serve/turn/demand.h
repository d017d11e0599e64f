/*
 * The first lane: faults that were read and wait for their answer. Each
 * session has a queue, oldest first, and sessions take turns, a slice each.
 * All of it runs on the worker.
 */
#pragma once

#include <stdbool.h>

struct fault;
struct session;
struct worker;

/* Of a fault that is FAULT_RUNNING; it leaves the queue with fault_done(). */
void demand_add(struct session *s, struct fault *f);

/* True where demand_run() has something to do. */
bool demand_waits(const struct worker *w);

/* One slice of each session that has faults waiting. */
void demand_run(struct worker *w);
