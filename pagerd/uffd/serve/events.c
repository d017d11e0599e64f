/*
 * The kernel hands out page faults before events, even where the REMOVE was
 * queued first. So a turn reads until there is nothing more (or enough is
 * read), applies each event as it comes, and only then are faults answered, by
 * demand.c.
 *
 * Reading is never held up by a lack of room for faults, because an unread
 * REMOVE holds up the guest. A fault without room is put back instead: its
 * address widens a range, and once there is room again that range is woken,
 * whereupon whoever waits there faults anew and its message comes again.
 */
#include "pagerd/uffd/serve/events.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/io/inject.h"
#include "pagerd/uffd/fault/policy.h"
#include "pagerd/uffd/serve/turn/demand.h"
#include "pagerd/uffd/serve/worker.h"

_Static_assert(PAGER_PAGESTATE_INBOX +
			       PAGER_INBOX_MESSAGES * sizeof(struct uffd_msg) ==
		       PAGER_PAGESTATE_HEADER,
	       "the inbox fills the page");

/* In one turn of one session. */
#define READS_A_TURN 2

static void put_back(struct session *s, uint64_t address, uint64_t size)
{
	struct worker *w = atomic_load(&s->worker);

	session_count(s, SESSION_COUNT_OVERFLOWS, 1);
	if (list_empty(&s->overflow_node)) {
		list_append(&w->overflowed, &s->overflow_node);
		s->overflow_low = address;
		s->overflow_high = address + size;
		return;
	}
	if (address < s->overflow_low)
		s->overflow_low = address;
	if (address + size > s->overflow_high)
		s->overflow_high = address + size;
}

void events_wake_overflowed(struct session *s)
{
	uint64_t outstanding = atomic_load_explicit(&s->shown.outstanding,
						    memory_order_relaxed);

	if (outstanding > s->faults_max / 2)
		return;
	list_remove(&s->overflow_node);
	uffd_wake(s->uffd.fd, s->overflow_low,
		  s->overflow_high - s->overflow_low);
}

static enum session_counter kind_of(const struct session *s,
				    const struct fault *f)
{
	if (!f->region)
		return SESSION_COUNT_OUTSIDE;
	switch (pagestate_get(s->pages, f->page)) {
	case PAGER_PAGE_ABSENT:
		return SESSION_COUNT_MISSING;
	case PAGER_PAGE_REMOVED:
		return SESSION_COUNT_REMOVED;
	default:
		return SESSION_COUNT_SPURIOUS;
	}
}

static void take_fault(struct session *s, const struct uffd_msg *m,
		       struct list_node *fresh, uint64_t now)
{
	const uint64_t not_served = UFFD_PAGEFAULT_FLAG_WP |
				    UFFD_PAGEFAULT_FLAG_MINOR;
	uint64_t address = m->arg.pagefault.address, size = PAGER_PAGE_SIZE;
	const struct region *r = regions_find(&s->regions, address);
	struct fault *f;

	session_count(s, SESSION_COUNT_FAULTS, 1);
	session_count(s,
		      m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE
			      ? SESSION_COUNT_WRITES
			      : SESSION_COUNT_READS,
		      1);
	if (r)
		size = r->page_size;
	if (m->arg.pagefault.flags & not_served) {
		session_count(s, SESSION_COUNT_UNSERVED, 1);
		r = NULL;
	}
	address &= ~(size - 1);
	f = fault_find(s, address);
	if (f) {
		f->asked_again = true;
		session_count(s, SESSION_COUNT_JOINED, 1);
		return;
	}
	f = fault_new(s, address, r, now);
	if (!f) {
		put_back(s, address, size);
		return;
	}
	list_append(fresh, &f->wait_node);
}

static void count_kinds(struct session *s, struct list_node *fresh)
{
	list_foreach (n, fresh) {
		struct fault *f = container_of(n, struct fault, wait_node);
		enum session_counter kind = kind_of(s, f);

		session_count(s, kind, 1);
		if (kind == SESSION_COUNT_MISSING)
			record_touch(s, f->page);
	}
}

static void remove_pages(struct session *s, uint64_t start, uint64_t end)
{
	const struct region *r = regions_from(&s->regions, start);
	const struct region *stop = s->regions.all + s->regions.count;

	session_count(s, SESSION_COUNT_REMOVES, 1);
	for (; r && r < stop && r->base < end; r++) {
		uint64_t from = start > r->base ? start : r->base;
		uint64_t to = r->base + r->size;

		if (to > end)
			to = end;
		if ((from | to) & (r->page_size - 1)) {
			policy_broken(s, err_set(-EPROTO,
						 "part of a page was given "
						 "back: the region has not the "
						 "page size that it says"));
			return;
		}
		pagestate_set(s->pages, region_page(r, from),
			      (to - from) / PAGER_PAGE_SIZE,
			      PAGER_PAGE_REMOVED);
	}
}

/* True where states have changed. */
static bool take_event(struct session *s, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		remove_pages(s, m->arg.remove.start, m->arg.remove.end);
		return true;
	case UFFD_EVENT_REMAP:
		/*
		 * Pages that were there have moved along. What was absent will
		 * fault at addresses in no region: by the policy, loudly.
		 */
		log_warn("memory was moved to where it is not known: what was "
			 "not paged in yet is lost session=%s",
			 s->id);
		remove_pages(s, m->arg.remap.from,
			     m->arg.remap.from + m->arg.remap.len);
		return true;
	case UFFD_EVENT_FORK:
		/* Refused at the handshake; the kernel gave us an fd. */
		close_quietly((int)m->arg.fork.ufd);
		return false;
	default:
		return false;
	}
}

/* Reads a turn's messages; 0 or -errno. */
static int read_turn(struct session *s, struct list_node *fresh)
{
	struct uffd_msg *inbox = s->pages->inbox;
	bool changed = false;
	int n;

	for (int i = 0; i < READS_A_TURN; i++) {
		uint64_t now;

		/* Into the file that outlives us: see pagestate.h. */
		n = uffd_read(s->uffd.fd, inbox, PAGER_INBOX_MESSAGES);
		if (n < 0)
			return n;
		if (n > 0 && inject_pass(INJECT_UFFD_READ, NULL) < 0)
			continue; /* lost, as a test wants it */
		now = worker_now();
		for (int k = 0; k < n; k++) {
			if (inbox[k].event == UFFD_EVENT_PAGEFAULT)
				take_fault(s, &inbox[k], fresh, now);
			else
				changed |= take_event(s, &inbox[k]);
		}
		if (n < (int)PAGER_INBOX_MESSAGES)
			break;
	}
	if (changed) {
		fault_retry_all(s);
		ahead_retry(s);
	}
	return 0;
}

static void demand(struct session *s, struct list_node *fresh)
{
	struct list_node *n;

	count_kinds(s, fresh);
	while ((n = list_pop(fresh)))
		demand_add(s, container_of(n, struct fault, wait_node));
}

void events_replay(struct session *s)
{
	const struct uffd_msg *inbox = s->pages->inbox;

	for (unsigned int i = 0; i < PAGER_INBOX_MESSAGES; i++)
		/* A FORK's descriptor was its reader's. */
		if (inbox[i].event != UFFD_EVENT_FORK)
			(void)take_event(s, &inbox[i]);
}

void events_read(struct session *s)
{
	struct list_node fresh = LIST_INIT(fresh);
	int r;

	if (!session_serves(s))
		return;
	r = read_turn(s, &fresh);
	demand(s, &fresh);
	if (r < 0 && session_serves(s))
		policy_broken(s, err_set(r, "cannot read its userfaultfd: %s",
					 strerrordesc_np(-r)));
}

void events_ready(struct watch *watch, uint32_t events)
{
	/* It says so of a blocking descriptor, which its peer can make it. */
	if (events & EPOLLERR)
		(void)fcntl(watch->fd, F_SETFL, O_NONBLOCK);
	events_read(container_of(watch, struct session, uffd));
}
