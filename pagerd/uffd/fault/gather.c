#include "pagerd/uffd/fault/gather.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pagerd/uffd/memory/overlay.h"
#include "pagerd/uffd/serve/worker.h"

struct gather *gather_new(struct worker *w, unsigned int room)
{
	struct gather *g = calloc(1, sizeof(*g));
	void *buffer = mmap(NULL, (size_t)room * PAGER_PAGE_SIZE,
			    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	if (!g || buffer == MAP_FAILED) {
		free(g);
		if (buffer != MAP_FAILED)
			(void)munmap(buffer, (size_t)room * PAGER_PAGE_SIZE);
		return NULL;
	}
	g->worker = w;
	g->buffer = buffer;
	g->room = room;
	list_init(&g->node);
	for (unsigned int i = 0; i < GATHER_PARALLEL; i++) {
		g->slots[i].gather = g;
		g->slots[i].next_free = g->free_slot;
		g->free_slot = &g->slots[i];
	}
	return g;
}

void gather_free(struct gather *g)
{
	if (!g)
		return;
	assert(g->under_way == 0);
	(void)munmap(g->buffer, (size_t)g->room * PAGER_PAGE_SIZE);
	free(g->error_text);
	free(g);
}

static uint8_t *place_of(const struct gather *g, unsigned int index)
{
	return g->buffer + (size_t)index * PAGER_PAGE_SIZE;
}

static void finish(struct gather *g)
{
	_cleanup_free_ char *text = steal_ptr(g->error_text);
	int error = g->error;

	if (error < 0 && text)
		error = err_restore(error, text);
	g->done(g, g->abandoned ? -ECANCELED : error);
}

static void fail(struct gather *g, uint64_t block, int error)
{
	if (g->error)
		return;
	g->error = error;
	g->error_text = strdup(err_text(error));
	g->bad_block = block;
}

/* The page's bytes, as the image has them, are in the buffer. */
static void complete_page(struct gather *g, unsigned int index)
{
	overlay_apply(g->overlay, g->page + index, place_of(g, index));
	g->what[index] = GATHER_DATA;
}

static void take_block(struct gather_slot *slot, int error)
{
	struct gather *g = slot->gather;
	struct cache_ref *ref = &slot->fetch.ref;

	if (error == 0 && ref->kind != PAGER_KIND_PAGE)
		error = err_set(-EBADMSG, "the page table points at a node");
	if (error < 0) {
		fail(g, slot->fetch.block, error);
	} else if (!g->abandoned) {
		memcpy(place_of(g, slot->index), ref->data, PAGER_PAGE_SIZE);
		complete_page(g, slot->index);
	}
	cache_unpin(ref);
	slot->next_free = g->free_slot;
	g->free_slot = slot;
}

static bool wants_more(const struct gather *g)
{
	return !g->error && !g->abandoned && g->next < g->count;
}

static void go_on(struct gather *g);

static void block_arrived(struct fetch *fetch, int error)
{
	struct gather_slot *slot =
		container_of(fetch, struct gather_slot, fetch);
	struct gather *g = slot->gather;

	g->under_way--;
	take_block(slot, error);
	go_on(g);
}

static void fetch_block(struct gather *g, unsigned int index)
{
	struct gather_slot *slot = g->free_slot;
	int r;

	g->free_slot = slot->next_free;
	slot->index = index;
	slot->fetch = (struct fetch){
		.block = g->blocks[index],
		.session = g->session,
		.class = g->class,
		.awaited = g->class == CACHE_FAULT,
		.done = block_arrived,
	};
	r = fetch_start(g->worker->fetcher, &slot->fetch);
	if (r == -EINPROGRESS) {
		g->under_way++;
		g->waited = true;
	} else {
		take_block(slot, r);
	}
}

static void next_page(struct gather *g)
{
	unsigned int index = g->next++;
	uint64_t page = g->page + index;

	if (g->what[index] == GATHER_SKIP)
		return;
	if (overlay_covers(g->overlay, page)) {
		complete_page(g, index);
	} else if (g->blocks[index]) {
		fetch_block(g, index);
	} else if (overlay_touches(g->overlay, page)) {
		memset(place_of(g, index), 0, PAGER_PAGE_SIZE);
		complete_page(g, index);
	}
}

static void go_on(struct gather *g)
{
	while (wants_more(g) && g->free_slot)
		next_page(g);
	if (g->under_way == 0 && !wants_more(g))
		finish(g);
}

static int read_leaf(struct gather *g, const struct cache_ref *leaf)
{
	for (unsigned int i = 0; i < g->count; i++) {
		int r = pagetable_entry(leaf->data, leaf->kind, g->page + i,
					&g->blocks[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static void take_leaf(struct gather_slot *slot, int error)
{
	struct gather *g = slot->gather;

	slot->next_free = g->free_slot;
	g->free_slot = slot;
	if (error == 0)
		error = read_leaf(g, &slot->fetch.ref);
	if (error < 0)
		fail(g, slot->fetch.block, error);
	cache_unpin(&slot->fetch.ref);
	go_on(g);
}

static void leaf_arrived(struct fetch *fetch, int error)
{
	struct gather_slot *slot =
		container_of(fetch, struct gather_slot, fetch);

	slot->gather->under_way--;
	take_leaf(slot, error);
}

static void fetch_leaf(struct gather *g, uint64_t leaf)
{
	struct gather_slot *slot = g->free_slot;
	int r;

	g->free_slot = slot->next_free;
	slot->fetch = (struct fetch){
		.block = leaf,
		.session = g->session,
		.class = CACHE_NODE,
		.awaited = g->class == CACHE_FAULT,
		.done = leaf_arrived,
	};
	r = fetch_start(g->worker->fetcher, &slot->fetch);
	if (r == -EINPROGRESS) {
		g->under_way++;
		g->waited = true;
	} else {
		take_leaf(slot, r);
	}
}

void gather_start(struct gather *g, const struct session *s)
{
	uint64_t leaf = pagetable_leaf(s->table, g->page);

	g->session = s->number;
	assert(g->under_way == 0 && g->count <= g->room);
	assert(g->page % PAGER_NODE_ENTRIES + g->count <= PAGER_NODE_ENTRIES);
	g->overlay = s->overlay;
	g->abandoned = g->waited = false;
	g->next = 0;
	g->error = 0;
	g->bad_block = 0;
	if (leaf) {
		fetch_leaf(g, leaf);
		return;
	}
	memset(g->blocks, 0, g->count * sizeof(g->blocks[0]));
	go_on(g);
}

void gather_abandon(struct gather *g)
{
	assert(g->under_way > 0);
	g->abandoned = true;
	/* The session, and its overlay with it, may be gone from here on. */
	g->overlay = NULL;
}
