/*
 * What a session is made of; for pagerd/uffd alone.
 *
 * Three kinds of fields: what never changes after session_new(); what the
 * worker writes and any thread reads (atomics, in `shown`); and what only the
 * worker touches. A session that was not added yet has no worker: its maker
 * stands in for one.
 */
#pragma once

#include <stdatomic.h>

#include "fs/base/list.h"
#include "fs/store/snapshot/pagetable.h"
#include "fs/store/workingset/workingset.h"
#include "pagerd/uffd/ahead/ahead.h"
#include "pagerd/uffd/ahead/complete.h"
#include "pagerd/uffd/ahead/record.h"
#include "pagerd/uffd/connect/handshake.h"
#include "pagerd/uffd/memory/pagestate.h"
#include "pagerd/uffd/memory/regions.h"
#include "pagerd/uffd/serve/timers.h"
#include "pagerd/uffd/session.h"

#define SESSION_MAGIC 0x5e5510u

#define FAULT_BUCKETS 128u

struct fault;
struct overlay;
struct worker;

/* An fd that a worker's epoll looks at. Stands in a longer-lived object. */
struct watch {
	int fd; /* -1: nothing */
	void (*ready)(struct watch *w, uint32_t events);
};

struct session {
	unsigned int magic;
	atomic_uint refs;

	/* Immutable after session_new(). */
	char *id, *snapshot_name, *socket_path, *pages_path, *journal_path,
		*overlay_path;
	enum session_policy policy;
	uid_t uid;
	gid_t gid;
	struct vault *vault;
	/* In the vault. */
	char listener_name[SESSION_ID_MAX + 2];
	char connection_name[SESSION_ID_MAX + 2];
	char lease_name[SESSION_ID_MAX + 2];
	uint64_t handshake_ns, retry_ns, stall_ns;
	unsigned int faults_max;
	uint32_t number; /* of this process, from 1 on: for the fault trace */
	uint64_t image_size;
	struct overlay *overlay; /* NULL: none */
	enum session_record record_when;
	uint64_t record_ns;
	size_t record_pages;
	uint64_t workingset_pages;
	bool set_is_own; /* the working set, not a parent's */

	/* Written by the worker, read by anybody. */
	struct {
		_Atomic uint64_t counters[SESSION_COUNTER_COUNT];
		_Atomic uint64_t pages_total;
		_Atomic uint64_t outstanding, parked, stalled;
		_Atomic uint64_t oldest_since;	/* 0: none outstanding */
		_Atomic uint64_t blocked_since; /* likewise */
		_Atomic uint64_t unheard_since; /* 0: all is heard of */
		_Atomic uint64_t blocked_ns;	/* before blocked_since */
		_Atomic int state;		/* enum session_state */
		_Atomic pid_t vmm_pid;
		atomic_uint worker;
		atomic_bool lingering;
		atomic_bool prefetching, completing;
		_Atomic uint64_t prefetch_ns;
		struct hist latency, latency_by[SESSION_SOURCE_COUNT];
	} shown;
	struct pagestate *pages; /* counts by anybody, the rest worker */

	/* pool_add() is for once; the worker stays when the session ends. */
	atomic_bool added;
	_Atomic(struct worker *) worker;

	/* Owned by the worker. */
	struct snapshot *snapshot; /* NULL after the end */
	struct pagetable *table;
	int pages_fd; /* holds the lock that makes the id ours */
	struct watch listener, connection, uffd, vmm;
	uid_t peer_uid;
	int uffd_number; /* in the VMM; -1: not known */
	bool uffd_kept;	 /* taken over from the vault, which still has it */
	bool connection_kept; /* the vault has it, with all that was said */
	bool owns_files;   /* the id is ours: they go when the session ends */
	uint64_t features; /* of the uffd, as negotiated */
	struct handshake handshake;
	struct regions regions;
	/*
	 * listening: a rest from accepting; handshake: its deadline; later:
	 * the next probe, or slice of a poisoning.
	 */
	struct timer timer;
	uint64_t poison_address; /* how far a forced close has come */
	enum session_end end;	 /* once state is ended */
	struct list_node node;	 /* in the worker's sessions or ending */

	uint64_t served_since;
	struct workingset set; /* without entries: none */
	struct ahead ahead;
	struct record record;
	struct complete complete;

	struct fault *buckets[FAULT_BUCKETS]; /* by address */
	struct list_node outstanding;	      /* by age, oldest first */
	struct list_node put_off;	      /* of these, by EAGAIN */
	struct list_node demand;	      /* of these, to be answered */
	struct list_node demand_node;	      /* in the worker's demand */
	/* Faults put back unserved: woken when there is room again. */
	uint64_t overflow_low, overflow_high;
	struct list_node overflow_node;
	/* The last zero run: what follows it, and how long it might be. */
	uint64_t zero_end, zero_window;
	/* Of the last look at the kernel's books; see serve/gauge.h. */
	bool gauge_waiting;
	uint64_t gauge_heard;
	bool told_discard;   /* one line a session is enough */
	uint64_t next_alarm; /* likewise, one in stall_ns */
};

static inline uint64_t session_count(struct session *s,
				     enum session_counter counter, uint64_t n)
{
	/* One writer: no need for a locked instruction. */
	uint64_t sum = n + atomic_load_explicit(&s->shown.counters[counter],
						memory_order_relaxed);

	atomic_store_explicit(&s->shown.counters[counter], sum,
			      memory_order_relaxed);
	return sum;
}

static inline uint64_t session_counter(const struct session *s,
				       enum session_counter counter)
{
	return atomic_load_explicit(&s->shown.counters[counter],
				    memory_order_relaxed);
}

static inline void session_adjust(_Atomic uint64_t *shown, int by)
{
	atomic_store_explicit(
		shown,
		atomic_load_explicit(shown, memory_order_relaxed) +
			(uint64_t)(int64_t)by,
		memory_order_relaxed);
}

static inline enum session_state session_state(const struct session *s)
{
	return (enum session_state)atomic_load_explicit(&s->shown.state,
							memory_order_relaxed);
}

static inline void session_set_state(struct session *s,
				     enum session_state state)
{
	atomic_store_explicit(&s->shown.state, (int)state,
			      memory_order_relaxed);
}

/* True while faults are to be answered. */
static inline bool session_serves(const struct session *s)
{
	enum session_state state = session_state(s);

	return state == SESSION_SERVING || state == SESSION_FAILING;
}

/*
 * Undoes what session_new() did on the file system and drops the lease; the
 * worker calls it at the end, the last unref for one that had none.
 */
void session_leave(struct session *s);
