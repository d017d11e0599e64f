/*
 * Recording a working set: the pages that a VM's faults ask for, in their
 * order, within a bounded window after the handshake. All of it runs on the
 * session's worker.
 */
#pragma once

#include "pagerd/uffd/ahead/keeper.h"
#include "pagerd/uffd/serve/timers.h"

struct session;

/* Of one session. */
struct record {
	struct touches *touches; /* NULL: nothing is recorded (any more) */
	struct timer window;
	uint64_t began;
};

/* The VM is served from now on: records, where the session is to. */
void record_begin(struct session *s);

/* A fault on an absent page; of a 2 MiB page its first. */
void record_touch(struct session *s, uint64_t page);

/* The session is over: what a VM touched that lived long enough is kept. */
void record_end(struct session *s);
