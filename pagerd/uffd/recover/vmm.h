/*
 * The VMM of a session as a process: whether it is still the same one, and
 * the userfaultfd that it holds itself.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pagerd/uffd/memory/regions.h"

/*
 * When the process began, in clock ticks after boot: with its pid this names
 * a process once and for all. -ESRCH, -EIO.
 */
int vmm_start_time(pid_t pid, uint64_t *ret_start);

/* A pidfd of the process that began then; -ESRCH where it is dead. */
int vmm_open(pid_t pid, uint64_t start);

/*
 * The number that the same open file as our `uffd` has in the process; -1
 * where it has none or may not be looked at. Reads its whole fd table, up to
 * a bound.
 */
int vmm_find_uffd(pid_t pid, int uffd);

/* Whether that number is (still) the same open file as `uffd`. */
bool vmm_has_uffd(pid_t pid, int number, int uffd);

/*
 * A descriptor of ours for the VMM's own userfaultfd that serves the regions:
 * `number` if that is it, else whichever it is. -ENOENT: it holds none;
 * -ESRCH; -EPERM: no right to look.
 */
int vmm_fetch_uffd(int pidfd, pid_t pid, int number,
		   const struct regions *regions, int *ret_uffd);

/*
 * Whether the memory of the regions is registered with this very userfaultfd.
 * 0, -ENOENT where it is another's, -ESRCH where the address space is gone or
 * nothing of it is registered any more.
 */
int vmm_check_uffd(int uffd, const struct regions *regions);

/* Whether the process has anything mapped there; true where it is unknown. */
bool vmm_maps_any(pid_t pid, const struct regions *regions);
