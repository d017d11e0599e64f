/*
 * 2 MiB pages: 512 blocks gathered in a buffer, then one copy. A worker has
 * few such buffers; who finds none waits in a queue, first come first served.
 *
 * A 2 MiB page is one whole leaf of the page table: regions of 2 MiB pages
 * have offsets that are multiples of 2 MiB.
 */
#pragma once

#include "fs/base/list.h"
#include "pagerd/uffd/memory/uffd.h"

struct fault;
struct gather;
struct session;

struct huge_pool {
	struct list_node idle;	/* gathers */
	struct list_node queue; /* faults without one, by wait_node */
	unsigned int made;
	void *zeros; /* 2 MiB that read as zero */
};

/* -ENOMEM. */
int huge_pool_init(struct huge_pool *p);
void huge_pool_release(struct huge_pool *p); /* none may be in use */

/* Gathers and installs the 2 MiB page of an absent fault. */
void huge_start(struct fault *f);

/* Installs zeros: hugetlb memory has no ZEROPAGE. */
struct uffd_outcome huge_zero(struct fault *f);

/* Installs what was gathered, in one copy, and counts nothing. */
struct uffd_outcome huge_install(const struct session *s, uint64_t address,
				 struct gather *g);

/* At a turn's end: whoever waits gets the buffers that became free. */
void huge_run_queue(struct huge_pool *p);

/* The fault goes on to something else: its gather finishes for nobody. */
void huge_abandon(struct fault *f);
