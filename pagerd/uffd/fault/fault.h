/*
 * One page that a VM waits for, from the first message to the answer. The
 * design note stands in fault.c. All of it runs on the session's worker.
 */
#pragma once

#include "fs/cache/fetch.h"
#include "pagerd/uffd/memory/uffd.h"
#include "pagerd/uffd/session_impl.h"

struct gather;

/* What a fault waits for. */
enum fault_stage {
	FAULT_RUNNING,	/* its turn in the demand lane, or nothing */
	FAULT_FETCHING, /* its fetch */
	FAULT_QUEUED,	/* its turn to gather a 2 MiB page */
	FAULT_GATHERING,
	FAULT_PUT_OFF, /* its timer, after EAGAIN */
	FAULT_STALLED, /* its timer, by policy */
	FAULT_DOOMED,  /* the end of its VMM, which was killed */
};

struct fault {
	struct session *session; /* NULL: ended while the fetch went on */
	struct worker *worker;
	const struct region *region; /* NULL: the address is in none */
	uint64_t address;	     /* of its page, 4 KiB or 2 MiB */
	uint64_t page;		     /* of the image; where there is a region */
	uint64_t since;		     /* when its first message was read */
	uint64_t put_off_since;	     /* first EAGAIN in a row; 0: none */
	bool asked_again;	     /* a message came while it was put off */
	uint64_t pause;		     /* the last one's length, ns */
	enum fault_stage stage;
	bool waited;		    /* for a read */
	enum session_source source; /* ..._COUNT: none yet */
	bool poisoning;		    /* its page is to be poisoned */
	unsigned int policies;	    /* bits of those that were of no use */
	struct fetch fetch;
	struct gather *gather;
	struct timer timer;
	struct fault *next;	    /* in its bucket, or free */
	struct list_node node;	    /* in session->outstanding */
	struct list_node wait_node; /* in session->demand, put_off or huge */
};

/*
 * Of one worker: its faults, made in chunks as they are needed, so that a
 * fault costs no allocation. What bounds them is faults_max of each session.
 */
struct fault_chunk;
struct fault_pool {
	struct fault *free;
	struct fault_chunk *chunks;
	unsigned int used;
};

void fault_pool_release(struct fault_pool *p); /* none may be in use */

/* The one under way for a page, or NULL. */
struct fault *fault_find(struct session *s, uint64_t address);

/*
 * A new one, not started. `address` is that of the page, `region` may be
 * NULL. NULL where the session has as many as it may, or memory is short.
 */
struct fault *fault_new(struct session *s, uint64_t address,
			const struct region *region, uint64_t now);

/* Does the next thing, whatever that is now. */
void fault_step(struct fault *f);

/*
 * Goes on from what an install (or the poisoning) of the whole page came to.
 * The fault may be gone afterwards, as after all calls below.
 */
void fault_settle(struct fault *f, struct uffd_outcome outcome);

/* The page cannot be had: the session's policy decides. */
void fault_failed(struct fault *f, int error);

/* Its page was installed, from there. */
void fault_note_source(struct fault *f, enum session_source source);

/* Answered, or in no need of an answer. */
void fault_done(struct fault *f);

/* Those put off by EAGAIN are in demand again: an event was read. */
void fault_retry_all(struct session *s);

/* At the session's end: all go, but for fetches under way, which finish. */
void fault_drop_all(struct session *s);
