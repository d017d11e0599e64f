/*
 * What is left to whoever takes over a running pagerd: fewer capabilities, a
 * list of system calls, and rings that can only read.
 *
 *   sandbox_capabilities()   first of all, while there is one thread
 *   sandbox_daemon()         when everything is up: for all threads
 *   sandbox_holder()         the process that keeps descriptors (holder.h)
 *
 * The lists allow; everything else fails with EPERM rather than ending the
 * process, as a call that a C library takes up one day must not cost VMs their
 * daemon. clone3(2) alone gets ENOSYS: its flags lie in memory, where a filter
 * cannot read them, and the C library then takes clone(2), of which only
 * threads are allowed. There is no exec, no fork, no socket but a unix one, no
 * memory that can be written and executed, no new io_uring (an io_uring gets
 * past any filter; those that are there are restricted to reads, fetch.c).
 *
 * Not Landlock: a process in a Landlock domain may not look into one outside
 * of it, and pidfd_getfd(2), by which a VM is got back after a crash, does.
 * Folders are for the service manager to protect (contrib/systemd).
 */
#pragma once

#include <stdbool.h>

/*
 * As root, keeps what a daemon needs and drops all else for good, from the
 * bounding set too. Nothing happens as another user. -EPERM and so on.
 */
int sandbox_capabilities(bool mounts);

struct sandbox {
	bool mounts; /* will unmount */
};

/*
 * -ENOSYS, -EINVAL: the kernel has no such filters. Errors leave all as it
 * was.
 */
int sandbox_daemon(const struct sandbox *options);
int sandbox_holder(void);
