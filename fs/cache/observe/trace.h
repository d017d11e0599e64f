/*
 * Recording a fault trace (pager/trace.h). Who looks a block up only copies a
 * record into memory; a thread writes the file. Bounded twice: what comes
 * while the memory is full, because the disk is slow, or after the file has
 * reached its limit, is counted and not recorded.
 */
#pragma once

#include "fs/cache/cache.h"

#define TRACE_BYTES_MAX (UINT64_C(1) << 30)

struct trace;

/*
 * Makes the file, 0600; one that is there is replaced. Starts the thread. What
 * open(2) and write(2) say. `most` bytes are written at most.
 */
int trace_open(const char *path, uint64_t most, struct trace **ret_trace);

/* Writes what is left, and ends the recording: more is not recorded. */
void trace_finish(struct trace *t);

/* Likewise, and frees it: nobody calls trace_note() any more. Accepts NULL. */
void trace_close(struct trace *t);

/* Any thread; quick. */
void trace_note(struct trace *t, uint32_t session, uint64_t block,
		enum cache_class class);

/* The memory that a trace takes beside its struct. */
size_t trace_bytes(void);

struct trace_stats {
	uint64_t recorded, lost;
	int error; /* negative errno of the write that ended it; 0: none */
};
void trace_stats(struct trace *t, struct trace_stats *ret_stats);
