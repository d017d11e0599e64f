/*
 * Some neighbouring pages of a session's image put together in one buffer,
 * overlays laid over them, so that one copy installs them. All within one
 * leaf of the page table. All of it runs on the session's worker.
 *
 * Calling sequence: gather_new() once; the caller fills `page`, `count`,
 * `class`, `done` and `what`; gather_start(); done(); then what[i] says what
 * page i is and, where it is data, the buffer has its bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/cache/fetch.h"
#include "pager/pagetable.h"

struct overlay;
struct session;
struct worker;

#define GATHER_PARALLEL 32u /* fetches of one gather at once */

enum gather_what {
	GATHER_SKIP, /* is not asked for */
	GATHER_ZERO, /* before gather_start(): is asked for */
	GATHER_DATA,
};

struct gather;

struct gather_slot {
	struct fetch fetch;
	struct gather *gather;
	unsigned int index; /* which page */
	struct gather_slot *next_free;
};

struct gather {
	/* The caller's; to be left alone from start to done. */
	uint64_t page;	    /* the first */
	unsigned int count; /* at most `room` */
	enum cache_class class;
	/*
	 * Called once for each gather_start(), perhaps before that returns.
	 * -ECANCELED: it was abandoned. Else an error of the first page that
	 * failed, err_text() tells of it and bad_block is its block.
	 */
	void (*done)(struct gather *g, int error);
	uint8_t what[PAGER_NODE_ENTRIES]; /* enum gather_what */
	void *owner;
	struct list_node node;

	/* For the caller to read. */
	struct worker *worker;
	uint32_t session; /* its number, for the trace */
	uint8_t *buffer;  /* `room` pages, page-aligned */
	unsigned int room;
	bool waited; /* for a read */
	uint64_t bad_block;

	/* The gather's own. */
	const struct overlay *overlay;
	bool abandoned;
	uint64_t blocks[PAGER_NODE_ENTRIES];
	unsigned int next;	/* of the pages, to be fetched */
	unsigned int under_way; /* fetches */
	struct gather_slot slots[GATHER_PARALLEL], *free_slot;
	int error; /* the first; nothing more is fetched then */
	char *error_text;
};

/* For up to `room` pages, 1 to 512. NULL when out of memory. */
struct gather *gather_new(struct worker *w, unsigned int room);
void gather_free(struct gather *g); /* not under way; accepts NULL */

/* Pages of a leaf that is zero come to be GATHER_ZERO without a read. */
void gather_start(struct gather *g, const struct session *s);

/* Of one under way: done() says -ECANCELED when its fetches are over. */
void gather_abandon(struct gather *g);
