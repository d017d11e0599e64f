/*
 * The state of every page of one VM, two bits each, in a file that outlives
 * the daemon; pager/pagestate.h gives its bytes.
 *
 *  1. Only the session's worker changes states.
 *  2. absent -> present when an install has succeeded or met EEXIST.
 *  3. Anything -> removed when a REMOVE or UNMAP event was read, before any
 *     fault is answered that was read with it.
 *  4. Removed stays removed: a zero page that is installed there may be given
 *     back again at any time, and is a zero page again then.
 *  5. absent -> poisoned when the page was poisoned.
 *  6. The 512 states of a 2 MiB page are equal at all times.
 *
 * The counts may be read from any thread.
 *
 * The inbox, in the file's first page, is where userfaultfd messages are read
 * to. The kernel puts them there before read(2) returns, so a daemon that is
 * killed at any instruction leaves each message either unread in the kernel
 * or recorded here: no REMOVE is lost. Who takes over applies every REMOVE
 * that stands here, also those that were applied before, which changes
 * nothing by rule 4. For this to hold
 *
 *  7. the inbox is read into again only after all its REMOVEs were applied;
 *  8. its page is locked in memory: for a page that must be brought in first,
 *     the kernel's copy could fail in a process that is just being killed.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "pager/block.h"
#include "pager/pagestate.h"

struct pagestate {
	uint8_t *map; /* header, inbox and body */
	void *inbox;  /* PAGER_INBOX_MESSAGES struct uffd_msg */
	uint8_t *body;
	size_t map_size;
	uint64_t pages;		    /* a multiple of 512 */
	_Atomic uint64_t counts[4]; /* by enum pager_page_state */
};

/*
 * Makes the file anew in `fd`, all pages absent, with all its space taken
 * now: a full file system must not become a SIGBUS later. `pages` is rounded
 * up to whole 2 MiB. The caller keeps `fd`. -ENOSPC, -EFBIG, -ENOMEM, -EIO.
 */
int pagestate_create(int fd, uint64_t pages, const struct pager_digest *image,
		     struct pagestate **ret_states);

/*
 * What a dead daemon left in `fd`. -EBADMSG where it is not of that many
 * pages and that image, -ENOTSUP of a newer format, -ENOMEM, -EIO.
 */
int pagestate_open(int fd, uint64_t pages, const struct pager_digest *image,
		   struct pagestate **ret_states);

void pagestate_free(struct pagestate *s); /* accepts NULL */

static inline enum pager_page_state pagestate_get(const struct pagestate *s,
						  uint64_t page)
{
	return (enum pager_page_state)(s->body[page / 4] >> 2 * (page % 4) & 3);
}

/* [page, page + count) must lie within the pages. */
void pagestate_set(struct pagestate *s, uint64_t page, uint64_t count,
		   enum pager_page_state state);

/*
 * Makes the 512 states of the 2 MiB page at `page` equal again, where a death
 * came in the middle of setting them. The last in the order absent, present,
 * poisoned, removed that one of them has holds for all: each was set when the
 * whole page had become so.
 */
void pagestate_level(struct pagestate *s, uint64_t page);

/* The first in [page, end) that has the state; `end` where none has. */
uint64_t pagestate_next(const struct pagestate *s, uint64_t page, uint64_t end,
			enum pager_page_state state);

/* How many pages from `page` on, at most `max`, have the state. */
uint64_t pagestate_run(const struct pagestate *s, uint64_t page, uint64_t max,
		       enum pager_page_state state);

static inline uint64_t pagestate_count(const struct pagestate *s,
				       enum pager_page_state state)
{
	return atomic_load_explicit(&s->counts[state], memory_order_relaxed);
}
