/*
 * The system calls on a userfaultfd, and the one place that says what their
 * results mean. None of them blocks.
 *
 * Kernel headers of Debian 12 stop before UFFDIO_POISON: uffd.c defines it.
 */
#pragma once

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>

enum uffd_result {
	UFFD_DONE,     /* all of it */
	UFFD_RETRY,    /* not now: an event is under way, or memory is short */
	UFFD_EXISTS,   /* a page is there already; its waiters were NOT woken */
	UFFD_UNMAPPED, /* no mapping there is registered (any more) */
	UFFD_GONE,     /* the address space is gone: the VMM is dead */
	UFFD_FAILED,   /* see error */
};

struct uffd_outcome {
	enum uffd_result result;
	int error;     /* negative errno, 0 for UFFD_DONE */
	uint64_t done; /* bytes installed from the start, also without DONE */
};

/* Installs `len` bytes at `address` and wakes who waits there. */
struct uffd_outcome uffd_copy(int fd, uint64_t address, const void *from,
			      uint64_t len);

/* Zero pages; not for hugetlb memory, where it is -EINVAL. */
struct uffd_outcome uffd_zero(int fd, uint64_t address, uint64_t len);

/* SIGBUS to whoever touches. UFFD_FAILED, -EINVAL: an old kernel. */
struct uffd_outcome uffd_poison(int fd, uint64_t address, uint64_t len);

/*
 * The range is no longer served, and whoever waits there looks again. 0;
 * -EINVAL: something in it cannot have been registered, or nothing is mapped
 * there; -ESRCH: the VMM is dead; -ENOMEM.
 */
int uffd_unregister(int fd, uint64_t address, uint64_t len);

/* Whoever waits in the range looks again. */
void uffd_wake(int fd, uint64_t address, uint64_t len);

/*
 * Whether `address` is registered still, without changing anything there:
 * UFFD_DONE yes, UFFD_UNMAPPED, UFFD_GONE. What it cannot tell is yes.
 */
enum uffd_result uffd_probe(int fd, uint64_t address);

/*
 * Reads up to `max` messages; returns how many, 0 where there are none now.
 * A blocking descriptor does not block it (where the kernel knows
 * RWF_NOWAIT for userfaultfds; before, the peer could undo O_NONBLOCK).
 */
int uffd_read(int fd, struct uffd_msg *messages, unsigned int max);

/*
 * Whether an fd from a peer is a userfaultfd that is ready for use. Sets
 * O_NONBLOCK. -EPROTO with the reason; `ret_features` as negotiated.
 */
int uffd_check(int fd, uint64_t *ret_features);
