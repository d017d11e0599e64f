/*
 * What /proc/PID/pagemap tells of another process's memory. Needs the right to
 * look into it, as /proc/PID/maps does. It waits for that process's mmap lock,
 * as every install does.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/*
 * 1: a page is mapped at `address`, or swapped out; 0: none is. -errno: it
 * cannot be told, the process is gone or not ours to look into.
 */
int pagemap_has(pid_t pid, uint64_t address);
