/*
 * The messages of one userfaultfd: REMOVEs of a batch first, then its faults.
 */
#pragma once

#include "pagerd/uffd/session_impl.h"

/* For the watch of session->uffd: what was read is in the demand lane then. */
void events_ready(struct watch *watch, uint32_t events);

/* Reads what there is, at most a turn's messages. */
void events_read(struct session *s);

/*
 * For a session that was taken over: applies again every REMOVE that a dead
 * daemon had read last. Before any fault is answered.
 */
void events_replay(struct session *s);

/* Faults that were put back are woken where there is room again. */
void events_wake_overflowed(struct session *s);
