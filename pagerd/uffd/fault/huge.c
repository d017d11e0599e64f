#include "pagerd/uffd/fault/huge.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pagerd/uffd/fault/fault.h"
#include "pagerd/uffd/serve/worker.h"

#define BUFFERS_MAX 4u
#define PARALLEL    32u /* fetches of one gather at once */

struct gather;

struct slot {
	struct fetch fetch;
	struct gather *gather;
	unsigned int index; /* which of the 512 pages */
	struct slot *next_free;
};

struct gather {
	struct list_node node; /* in pool->idle */
	struct worker *worker;
	struct fault *fault; /* NULL: abandoned, or idle */
	uint8_t *buffer;
	uint64_t blocks[PAGER_NODE_ENTRIES];
	unsigned int next;	/* of blocks, to be fetched */
	unsigned int under_way; /* fetches */
	struct slot slots[PARALLEL], *free_slot;
	int error; /* the first; nothing more is fetched then */
	uint64_t bad_block;
	char error_text[ERR_TEXT_MAX];
};

static void *map_2mib(int protection)
{
	void *map = mmap(NULL, PAGER_HUGE_PAGE_SIZE, protection,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

int huge_pool_init(struct huge_pool *p)
{
	*p = (struct huge_pool){.zeros = map_2mib(PROT_READ)};
	list_init(&p->idle);
	list_init(&p->queue);
	return p->zeros ? 0 : err_set(-ENOMEM, "no memory for a worker");
}

void huge_pool_release(struct huge_pool *p)
{
	struct list_node *n;

	assert(list_empty(&p->queue));
	while ((n = list_pop(&p->idle))) {
		struct gather *g = container_of(n, struct gather, node);

		(void)munmap(g->buffer, PAGER_HUGE_PAGE_SIZE);
		free(g);
		p->made--;
	}
	assert(p->made == 0);
	if (p->zeros)
		(void)munmap(p->zeros, PAGER_HUGE_PAGE_SIZE);
	p->zeros = NULL;
}

static struct gather *gather_new(struct worker *w)
{
	_cleanup_free_ struct gather *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->buffer = map_2mib(PROT_READ | PROT_WRITE);
	if (!g->buffer)
		return NULL;
	g->worker = w;
	for (unsigned int i = 0; i < PARALLEL; i++) {
		g->slots[i].gather = g;
		g->slots[i].next_free = g->free_slot;
		g->free_slot = &g->slots[i];
	}
	w->huge.made++;
	return steal_ptr(g);
}

static struct gather *gather_take(struct worker *w)
{
	struct list_node *n = list_pop(&w->huge.idle);

	if (n)
		return container_of(n, struct gather, node);
	return w->huge.made < BUFFERS_MAX ? gather_new(w) : NULL;
}

/*
 * One copy. Hugetlb memory is never copied in part; where a client says 2 MiB
 * of what is not, the rest follows until something stops it.
 */
static struct uffd_outcome copy_whole(struct fault *f, const uint8_t *from)
{
	struct session *s = f->session;
	uint64_t done = 0;
	struct uffd_outcome o;

	do {
		o = uffd_copy(s->uffd.fd, f->address + done, from + done,
			      PAGER_HUGE_PAGE_SIZE - done);
		done += o.done;
	} while (o.result == UFFD_RETRY && o.done > 0);
	return o;
}

struct uffd_outcome huge_zero(struct fault *f)
{
	struct uffd_outcome o = copy_whole(f, f->worker->huge.zeros);

	if (o.result == UFFD_DONE)
		session_count(f->session, SESSION_COUNT_ZEROED,
			      PAGER_NODE_ENTRIES);
	return o;
}

static void install(struct gather *g, struct fault *f)
{
	struct uffd_outcome o = copy_whole(f, g->buffer);

	if (o.result == UFFD_DONE) {
		session_count(f->session, SESSION_COUNT_COPIED,
			      PAGER_NODE_ENTRIES);
		session_count(f->session,
			      f->waited ? SESSION_COUNT_READ
					: SESSION_COUNT_CACHE,
			      1);
	}
	list_insert(&g->worker->huge.idle, &g->node);
	fault_settle(f, o);
}

static void finish(struct gather *g)
{
	struct fault *f = g->fault;
	int error = g->error;

	if (!f) {
		list_insert(&g->worker->huge.idle, &g->node);
		return;
	}
	g->fault = NULL;
	f->gather = NULL;
	f->stage = FAULT_RUNNING;
	if (error == 0 &&
	    pagestate_get(f->session->pages, f->page) == PAGER_PAGE_ABSENT) {
		install(g, f);
		return;
	}
	list_insert(&g->worker->huge.idle, &g->node);
	if (error == 0) {
		fault_step(f);
		return;
	}
	f->fetch.block = g->bad_block;
	fault_failed(f, err_restore(error, g->error_text));
}

static void fail(struct gather *g, uint64_t block, int error)
{
	if (g->error)
		return;
	err_copy(error, g->error_text);
	g->error = error;
	g->bad_block = block;
}

static void take_block(struct slot *slot, int error)
{
	struct gather *g = slot->gather;
	struct cache_ref *ref = &slot->fetch.ref;

	if (error == 0 && ref->kind != PAGER_KIND_PAGE)
		error = err_set(-EBADMSG, "the page table points at a node");
	if (error < 0)
		fail(g, slot->fetch.block, error);
	else
		memcpy(g->buffer + (size_t)slot->index * PAGER_PAGE_SIZE,
		       ref->data, PAGER_PAGE_SIZE);
	cache_unpin(ref);
	slot->next_free = g->free_slot;
	g->free_slot = slot;
}

static bool wants_more(const struct gather *g)
{
	return !g->error && g->fault && g->next < PAGER_NODE_ENTRIES;
}

static void gather_more(struct gather *g);

static void block_arrived(struct fetch *fetch, int error)
{
	struct slot *slot = container_of(fetch, struct slot, fetch);
	struct gather *g = slot->gather;

	g->under_way--;
	take_block(slot, error);
	gather_more(g);
}

static void fetch_block(struct gather *g, unsigned int index)
{
	struct slot *slot = g->free_slot;
	int r;

	g->free_slot = slot->next_free;
	slot->index = index;
	slot->fetch = (struct fetch){
		.block = g->blocks[index],
		.class = CACHE_FAULT,
		.done = block_arrived,
	};
	r = fetch_start(g->worker->fetcher, &slot->fetch);
	if (r == -EINPROGRESS) {
		g->under_way++;
		g->fault->waited = true;
	} else {
		take_block(slot, r);
	}
}

static void gather_more(struct gather *g)
{
	while (wants_more(g) && g->free_slot) {
		unsigned int index = g->next++;

		if (g->blocks[index])
			fetch_block(g, index);
		else
			memset(g->buffer + (size_t)index * PAGER_PAGE_SIZE, 0,
			       PAGER_PAGE_SIZE);
	}
	if (g->under_way == 0 && !wants_more(g))
		finish(g);
}

static int read_leaf(struct gather *g, const struct cache_ref *leaf)
{
	for (unsigned int i = 0; i < PAGER_NODE_ENTRIES; i++) {
		int r = pagetable_entry(leaf->data, leaf->kind,
					g->fault->page + i, &g->blocks[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static void leaf_arrived(struct fetch *fetch, int error)
{
	struct slot *slot = container_of(fetch, struct slot, fetch);
	struct gather *g = slot->gather;

	slot->next_free = g->free_slot;
	g->free_slot = slot;
	if (error == 0 && g->fault)
		error = read_leaf(g, &fetch->ref);
	if (error < 0)
		fail(g, fetch->block, error);
	cache_unpin(&fetch->ref);
	gather_more(g);
}

static void gather_begin(struct gather *g, struct fault *f, uint64_t leaf)
{
	struct slot *slot = g->free_slot;
	int r;

	g->free_slot = slot->next_free;
	g->fault = f;
	g->next = 0;
	g->error = 0;
	f->gather = g;
	f->stage = FAULT_GATHERING;
	slot->fetch = (struct fetch){
		.block = leaf,
		.class = CACHE_NODE,
		.done = leaf_arrived,
	};
	r = fetch_start(g->worker->fetcher, &slot->fetch);
	if (r == -EINPROGRESS)
		f->waited = true;
	else
		leaf_arrived(&slot->fetch, r);
}

static void install_zero(struct fault *f)
{
	struct uffd_outcome o = huge_zero(f);

	if (o.result == UFFD_DONE)
		session_count(f->session, SESSION_COUNT_ZERO, 1);
	fault_settle(f, o);
}

void huge_start(struct fault *f)
{
	uint64_t leaf = pagetable_leaf(f->session->table, f->page);
	struct gather *g;

	if (leaf == 0) {
		install_zero(f);
		return;
	}
	g = gather_take(f->worker);
	if (g) {
		gather_begin(g, f, leaf);
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
		f->gather->fault = NULL;
	f->gather = NULL;
}
