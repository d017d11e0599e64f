/*
 * Memory whose first touch a userfaultfd reports.
 *
 * A region goes from nothing to placed (mapped, registered, PROT_NONE) to
 * open (with the access that was asked for). It is opened only when a pager
 * has the userfaultfd, and never stays open without one: absent pages of such
 * memory would read as zero. Whatever goes wrong, a stray touch is SIGSEGV.
 */
#pragma once

#include "pager/pager.h"

/*
 * A userfaultfd with the one feature that a pager needs, EVENT_REMOVE;
 * returns it. `flags` are of enum pager_map_flag. -EPERM with what to do.
 */
int memory_open_uffd(unsigned int flags);

/*
 * Places one region and fills its addr in. On failure nothing is left of it,
 * or PROT_NONE memory where PAGER_MAP_REPLACE asked for that.
 */
int memory_place(int uffd, struct pager_region *region,
		 const struct pager_map_options *options);

/* Gives a placed region its access. */
int memory_allow(const struct pager_region *region, int prot);

/* Undoes memory_place(): by PROT_NONE memory with PAGER_MAP_REPLACE. */
void memory_drop(const struct pager_region *region, unsigned int flags);
