/*
 * A session: one VM that is, or will be, paged in from one snapshot.
 *
 * Calling sequence: session_new() makes the listening socket and the
 * page-state file; pool_add() (pool.h) gives the session to a worker, which
 * owns it from there on; session_status() looks at it from any thread at any
 * time; it ends by pool_close() or with its VMM, which on_ended() of the pool
 * tells. Who holds a reference may ask for the status of an ended session.
 *
 *   listening -> handshake -> serving -> ended
 *       ^____________|           |_____-> failing -> ended
 *
 * listening: no VMM has connected, or the last handshake was refused.
 * handshake: a peer has connected and has not said all yet.
 * serving: the VM's faults are answered.
 * failing: its VMM was killed by policy or by a forced close and has not
 * exited yet, or its absent pages are being poisoned before a forced close.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/base/hist.h"
#include "fs/cache/cache.h"
#include "fs/store/snapshot/snapshot.h"

struct session;
struct overlay_piece;
struct journal;
struct vault;

/* An id: 1 to 64 of A-Z a-z 0-9 . _ -, the first no dot. Never altered. */
#define SESSION_ID_MAX 64

/*
 * What happens to a VM when a page cannot be had. Each falls back on the next
 * where it is not possible: poison (no kernel support) on kill, kill (VMM not
 * known by a pidfd) on poison, both on stall.
 */
enum session_policy {
	SESSION_KILL,	/* SIGKILL to the VMM */
	SESSION_POISON, /* SIGBUS to whoever touches that page */
	SESSION_STALL,	/* retried for ever, with an alarm that repeats */
};

enum session_state {
	SESSION_LISTENING,
	SESSION_HANDSHAKE,
	SESSION_SERVING,
	SESSION_FAILING,
	SESSION_ENDED,
	SESSION_STATE_COUNT
};

/* Why a session is over. */
enum session_end {
	SESSION_END_CLOSED,    /* by pool_close() */
	SESSION_END_COMPLETED, /* all is installed, its VM goes on alone */
	SESSION_END_VMM_GONE,  /* its VMM exited or let its memory go */
	SESSION_END_FAILED,    /* its policy ended the VM */
	SESSION_END_COUNT
};

/* X(enumerator, name, help): counters of a session, from its start. */
#define SESSION_COUNTERS(X)                                                  \
	X(FAULTS, "faults", "page-fault messages read")                      \
	X(READS, "faults_read", "of these: by a read")                       \
	X(WRITES, "faults_write", "of these: by a write")                    \
	X(UNSERVED, "faults_unserved",                                       \
	  "of these: minor or write-protect faults, for the policy")         \
	X(MISSING, "faults_missing", "faults on pages not installed before") \
	X(REMOVED, "faults_removed", "faults on pages the guest gave back")  \
	X(SPURIOUS, "faults_spurious", "faults on pages already there")      \
	X(JOINED, "faults_joined", "faults on a page already being served")  \
	X(OUTSIDE, "faults_outside", "faults at addresses in no region")     \
	X(CACHE, "source_cache", "faults answered from the cache")           \
	X(DISK, "source_disk", "faults that waited for a read")              \
	X(ZERO, "source_zero", "faults on zero pages of the image")          \
	X(OVERLAY, "source_overlay", "faults answered with private bytes")   \
	X(GIVEN_BACK, "source_removed", "faults answered zero: given back")  \
	X(PREFETCHED, "pages_prefetched", "installed by the working set")    \
	X(RIDDEN, "pages_neighbours", "installed along with a neighbour")    \
	X(COMPLETED, "pages_completed", "installed by completion")           \
	X(RESOLVED, "resolved", "faults answered, joined ones not counted")  \
	X(COPIED, "pages_copied", "pages installed by UFFDIO_COPY")          \
	X(ZEROED, "pages_zeroed", "pages installed as zero")                 \
	X(REMOVES, "removes", "REMOVE and UNMAP events")                     \
	X(DISCARDED, "discards_untold", "pages dropped without an event")    \
	X(SLICES, "slices", "turns in which faults were answered")           \
	X(SPINS, "spins", "times that its worker spun while it was hot")     \
	X(SPIN_HITS, "spin_hits", "of these, met by an event")               \
	X(SPUN, "spun_us", "microseconds of processor time spun")            \
	X(RETRIES, "retries", "installs put off by EAGAIN or ENOMEM")        \
	X(UNMAPPED, "unmapped", "faults dropped: the range was unmapped")    \
	X(LOST, "faults_lost", "waiting threads found that nobody told of")  \
	X(OVERFLOWS, "overflows", "faults put back: too many under way")     \
	X(FAILURES, "failures", "pages that could not be had")               \
	X(POISONED, "poisoned", "pages poisoned")                            \
	X(STALLS, "stalls", "times that a page was stalled")                 \
	X(REFUSED, "handshakes_refused", "connections refused")

enum session_counter {
#define X(id, name, help) SESSION_COUNT_##id,
	SESSION_COUNTERS(X)
#undef X
		SESSION_COUNTER_COUNT
};

/* X(enumerator of the counter, name): where an answer's page came from. */
#define SESSION_SOURCES(X)    \
	X(CACHE, "cache")     \
	X(DISK, "disk")       \
	X(ZERO, "zero")       \
	X(OVERLAY, "overlay") \
	X(GIVEN_BACK, "removed")

enum session_source {
#define X(id, name) SESSION_SOURCE_##id,
	SESSION_SOURCES(X)
#undef X
		SESSION_SOURCE_COUNT
};

const char *session_source_name(enum session_source source);
enum session_counter session_source_counter(enum session_source source);

const char *session_counter_name(enum session_counter counter);
const char *session_counter_help(enum session_counter counter);

/* When first touches are noted for the snapshot's working set. */
enum session_record {
	SESSION_RECORD_NEW,    /* where its image has none of its own yet */
	SESSION_RECORD_ALWAYS, /* anew, merged into it; nothing is prefetched */
	SESSION_RECORD_NEVER,
};

struct session_options {
	const char *id;
	struct snapshot *snapshot; /* the session takes its own reference */
	struct cache *cache; /* for the page table's upper nodes; borrowed */
	const char *folder;  /* RUNTIME/sessions: exists, absolute */
	struct vault *vault; /* borrowed; NULL: nothing is kept beside us */
	/*
	 * Of a dead daemon's session that is to be taken over, whose id,
	 * policy, uid and gid the options have too. NULL: a new session.
	 */
	const struct journal *journal;
	enum session_policy policy;
	uid_t uid; /* who may connect, beside root, and owns the socket */
	gid_t gid;

	uint64_t handshake_ns;	 /* from connect to the end of the handshake */
	uint64_t retry_ns;	 /* how long one install may be put off */
	uint64_t stall_ns;	 /* pause between two tries of a stalled page */
	unsigned int faults_max; /* pages being served at once */

	bool prefetch; /* the working set, where there is one */
	enum session_record record;
	uint64_t record_ns;	   /* for how long after the handshake */
	unsigned int record_pages; /* and how many, at most 2^20 */

	/* Laid over the image; see memory/overlay.h. Copied. */
	const struct overlay_piece *overlays;
	size_t overlay_count;
};

#define SESSION_OPTIONS_INIT                                          \
	{                                                             \
		.handshake_ns = UINT64_C(10000000000),                \
		.retry_ns = UINT64_C(10000000000),                    \
		.stall_ns = UINT64_C(2000000000), .faults_max = 256,  \
		.prefetch = true, .record_ns = UINT64_C(10000000000), \
		.record_pages = 65536,                                \
	}

/*
 * Makes RUNTIME/sessions/ID.sock (0600, given to uid and gid, replacing what
 * a dead daemon left) and ID.pages, and reads the upper nodes of the page
 * table: blocks. Nobody is answered before pool_add().
 *
 * One that is taken over has the page states that it had, and a VM that it
 * served is served on from pool_add() on; see recover/resume.h for what can
 * be in the way. On failure the files of such a session stay.
 *
 * -EINVAL bad id, -ENAMETOOLONG the socket's path does not fit a socket
 * address, -EBUSY a live session, or one of a daemon before us, has the id,
 * -EBADMSG damaged page table, -ENOSPC, -EACCES, -EPERM, -EIO.
 */
int session_new(const struct session_options *options,
		struct session **ret_session);
struct session *session_ref(struct session *s);
void session_unref(struct session *s); /* accepts NULL */

/* 0, -EINVAL or -ENAMETOOLONG. */
int session_id_check(const char *id);

/* Valid as long as the reference. */
const char *session_id(const struct session *s);
const char *session_socket_path(const struct session *s);
const char *session_snapshot_name(const struct session *s);

/* A picture of a session. Figures of one picture may be a fault apart. */
struct session_status {
	const char *id, *snapshot; /* valid as long as the reference */
	enum session_state state;
	enum session_policy policy;
	bool lingering;	     /* closed by POOL_CLOSE_LINGER, VMM lives */
	pid_t vmm_pid;	     /* 0: none yet, or not visible from here */
	unsigned int worker; /* meaningful after pool_add() */

	uint64_t pages_total; /* in the VM's regions; before: in the image */
	uint64_t pages_present, pages_removed, pages_poisoned;

	uint64_t outstanding;	  /* pages being served now, parked ones too */
	uint64_t parked;	  /* of these: put off after EAGAIN */
	uint64_t stalled;	  /* of these: stalled by policy */
	uint64_t oldest_fault_ns; /* age of the oldest of them; 0: none */
	uint64_t unheard_ns;	  /* threads wait, and no fault is known */
	uint64_t blocked_ns;	  /* time with at least one fault outstanding */
	/* Of answered faults, from message to answer. */
	uint64_t p50_ns, p99_ns, p999_ns;
	bool prefetching, completing;
	uint64_t workingset_pages; /* of the one that is or was prefetched */
	uint64_t prefetch_ns;	   /* what that took; 0: not over */
	uint64_t counters[SESSION_COUNTER_COUNT];
};

void session_status(struct session *s, struct session_status *ret_status);

/*
 * Latencies of answered faults in ns, of all and of one source; valid as long
 * as the reference. Those on pages that were there have no source.
 */
const struct hist *session_latency(const struct session *s);
const struct hist *session_latency_by(const struct session *s,
				      enum session_source source);

/* The fixed names: "kill", "serving", "closed" ... */
const char *session_policy_name(enum session_policy policy);
const char *session_state_name(enum session_state state);
const char *session_end_name(enum session_end end);

/* -EINVAL where there is no such policy. */
int session_policy_parse(const char *name, enum session_policy *ret_policy);
