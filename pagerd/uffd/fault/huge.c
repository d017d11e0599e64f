#include "pagerd/uffd/fault/huge.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/base/err.h"
#include "pagerd/uffd/fault/fault.h"
#include "pagerd/uffd/fault/gather.h"
#include "pagerd/uffd/memory/overlay.h"
#include "pagerd/uffd/memory/pagemap.h"
#include "pagerd/uffd/serve/worker.h"

#define BUFFERS_MAX 4u

int huge_pool_init(struct huge_pool *p)
{
	void *zeros = mmap(NULL, PAGER_HUGE_PAGE_SIZE, PROT_READ,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*p = (struct huge_pool){0};
	list_init(&p->idle);
	list_init(&p->queue);
	if (zeros == MAP_FAILED)
		return err_set(-ENOMEM, "no memory for a worker");
	p->zeros = zeros;
	return 0;
}

void huge_pool_release(struct huge_pool *p)
{
	struct list_node *n;

	assert(list_empty(&p->queue));
	while ((n = list_pop(&p->idle))) {
		gather_free(container_of(n, struct gather, node));
		p->made--;
	}
	assert(p->made == 0);
	if (p->zeros)
		(void)munmap(p->zeros, PAGER_HUGE_PAGE_SIZE);
	p->zeros = NULL;
}

static struct gather *take_gather(struct worker *w)
{
	struct list_node *n = list_pop(&w->huge.idle);
	struct gather *g = NULL;

	if (n)
		return container_of(n, struct gather, node);
	if (w->huge.made < BUFFERS_MAX)
		g = gather_new(w, PAGER_NODE_ENTRIES);
	if (g)
		w->huge.made++;
	return g;
}

static void give_back(struct gather *g)
{
	g->owner = NULL;
	list_insert(&g->worker->huge.idle, &g->node);
}

/*
 * For hugetlb memory the kernel says EEXIST not only of a page that is there,
 * but also where none is free and the page table's entry exists (its
 * hugetlb_mfill_atomic_pte()). Taken for a page that is there, it would have
 * the guest fault without end, and once pages are free again the fault on a
 * "present" page would be answered with zeros. So the VMM's own page table
 * decides; what that does not show is put off, with EEXIST as the reason.
 */
static struct uffd_outcome check_exists(const struct session *s,
					uint64_t address, struct uffd_outcome o)
{
	if (o.result == UFFD_EXISTS &&
	    pagemap_has(atomic_load(&s->shown.vmm_pid), address) != 1)
		o = (struct uffd_outcome){UFFD_RETRY, -EEXIST, 0};
	return o;
}

/*
 * One copy. Hugetlb memory is never copied in part; where a client says 2 MiB
 * of what is not, the rest follows until something stops it.
 */
static struct uffd_outcome copy_whole(const struct session *s, uint64_t address,
				      const uint8_t *from)
{
	uint64_t done = 0;
	struct uffd_outcome o;

	do {
		o = uffd_copy(s->uffd.fd, address + done, from + done,
			      PAGER_HUGE_PAGE_SIZE - done);
		done += o.done;
	} while (o.result == UFFD_RETRY && o.done > 0);
	o.done = o.result == UFFD_DONE ? done : 0;
	return check_exists(s, address, o);
}

struct uffd_outcome huge_zero(struct fault *f)
{
	struct uffd_outcome o =
		copy_whole(f->session, f->address, f->worker->huge.zeros);

	if (o.result == UFFD_DONE)
		session_count(f->session, SESSION_COUNT_ZEROED,
			      PAGER_NODE_ENTRIES);
	return o;
}

struct uffd_outcome huge_install(const struct session *s, uint64_t address,
				 struct gather *g)
{
	bool all_zero = true;

	for (unsigned int i = 0; i < PAGER_NODE_ENTRIES; i++)
		all_zero = all_zero && g->what[i] == GATHER_ZERO;
	if (all_zero)
		return copy_whole(s, address, g->worker->huge.zeros);
	/* Pages of zeros among the others have to be in the buffer as well. */
	for (unsigned int i = 0; i < PAGER_NODE_ENTRIES; i++)
		if (g->what[i] == GATHER_ZERO)
			memset(g->buffer + (size_t)i * PAGER_PAGE_SIZE, 0,
			       PAGER_PAGE_SIZE);
	return copy_whole(s, address, g->buffer);
}

static void install(struct gather *g, struct fault *f)
{
	struct uffd_outcome o = huge_install(f->session, f->address, g);

	if (o.result == UFFD_DONE) {
		session_count(f->session, SESSION_COUNT_COPIED,
			      PAGER_NODE_ENTRIES);
		fault_note_source(f, f->waited ? SESSION_SOURCE_DISK
					       : SESSION_SOURCE_CACHE);
	}
	give_back(g);
	fault_settle(f, o);
}

static void gathered(struct gather *g, int error)
{
	struct fault *f = g->owner;

	if (error == -ECANCELED) {
		give_back(g);
		return;
	}
	f->gather = NULL;
	f->stage = FAULT_RUNNING;
	f->waited |= g->waited;
	if (error < 0) {
		f->fetch.block = g->bad_block;
		give_back(g);
		fault_failed(f, error);
	} else if (pagestate_get(f->session->pages, f->page) ==
		   PAGER_PAGE_ABSENT) {
		install(g, f);
	} else {
		give_back(g);
		fault_step(f);
	}
}

static void begin(struct gather *g, struct fault *f)
{
	f->gather = g;
	f->stage = FAULT_GATHERING;
	g->owner = f;
	g->page = f->page;
	g->count = PAGER_NODE_ENTRIES;
	g->class = CACHE_FAULT;
	g->done = gathered;
	memset(g->what, GATHER_ZERO, sizeof(g->what));
	gather_start(g, f->session);
}

static void install_zero(struct fault *f)
{
	struct uffd_outcome o = huge_zero(f);

	if (o.result == UFFD_DONE)
		fault_note_source(f, SESSION_SOURCE_ZERO);
	fault_settle(f, o);
}

void huge_start(struct fault *f)
{
	struct session *s = f->session;
	struct gather *g;

	if (pagetable_leaf(s->table, f->page) == 0 &&
	    overlay_clear_run(s->overlay, f->page, PAGER_NODE_ENTRIES) ==
		    PAGER_NODE_ENTRIES) {
		install_zero(f);
		return;
	}
	g = take_gather(f->worker);
	if (g) {
		begin(g, f);
		return;
	}
	if (f->worker->huge.made == 0) {
		/* No buffer will ever come back to wake a queue. */
		fault_settle(f, (struct uffd_outcome){UFFD_RETRY, -ENOMEM, 0});
		return;
	}
	f->stage = FAULT_QUEUED;
	list_append(&f->worker->huge.queue, &f->wait_node);
}

void huge_run_queue(struct huge_pool *p)
{
	struct list_node *n;

	while (!list_empty(&p->idle) && (n = list_pop(&p->queue))) {
		struct fault *f = container_of(n, struct fault, wait_node);

		fault_step(f);
	}
}

void huge_abandon(struct fault *f)
{
	if (f->gather)
		gather_abandon(f->gather);
	f->gather = NULL;
}
