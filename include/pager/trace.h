/*
 * A fault trace: every look-up that the daemon makes in its block cache, in
 * about the order of time. Written by pagerd --fault-trace, replayed by
 * pagerbench cache. It tells what guests touched, not what they hold.
 *
 *   header   32 bytes
 *   records  24 bytes each, to the end; a last one that is cut short is none
 */
#pragma once

#include <stdint.h>

#define PAGER_TRACE_MAGIC   "PAGRTRCE"
#define PAGER_TRACE_VERSION 1

struct pager_trace_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t record_size; /* 24 */
	uint64_t began;	      /* nanoseconds since 1970 */
	uint64_t reserved0;   /* zero */
};

struct pager_trace_record {
	uint64_t at;	  /* nanoseconds since the trace began */
	uint64_t block;	  /* block id, not 0 */
	uint32_t session; /* a number of the session's own, from 1; 0: none */
	uint8_t class;	  /* 0 fault, 1 node, 2 prefetch, 3 mount, 4 verify,
			   * 5 bulk, 6 mount_node */
	uint8_t reserved0[3]; /* zero */
};

_Static_assert(sizeof(struct pager_trace_header) == 32, "layout");
_Static_assert(sizeof(struct pager_trace_record) == 24, "layout");
