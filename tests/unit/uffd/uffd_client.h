/*
 * What a test says to a VMM of its own: uffd_client.c, a program that has
 * memory and a userfaultfd and does what it is told, one command at a time,
 * over a SOCK_SEQPACKET pair on its descriptor 3. Descriptor 4 is a file that
 * both map: CLIENT_SHARED bytes, through which texts and memory pass.
 */
#pragma once

#include <stdint.h>

#define CLIENT_SHARED  (80u << 20)
#define CLIENT_PATH    (CLIENT_SHARED - 4096) /* where a socket's path stands */
#define CLIENT_REGIONS 64

enum client_op {
	CLIENT_UFFD,	 /* a: features -> 0 */
	CLIENT_MAP,	 /* region, a: bytes, b: page size -> address */
	CLIENT_REGISTER, /* region -> 0 */
	CLIENT_CONNECT,	 /* to the path in the shared file -> 0 */
	/*
	 * a: bytes of the shared file to send; b: how many at a time (0: all);
	 * c: what fds go with the first piece, enum client_fds
	 */
	CLIENT_SEND,
	CLIENT_HANG_UP,
	CLIENT_READ,  /* region, a: offset, b: bytes -> into the shared file */
	CLIENT_TOUCH, /* region, a: offset -> its byte, or -EFAULT: SIGBUS */
	CLIENT_TOUCHES, /* region, a: offset, b: step, c: threads -> sum */
	CLIENT_START,	/* as TOUCH, by a thread of its own -> 0 */
	CLIENT_JOIN,	/* of the oldest of these -> as TOUCH */
	CLIENT_WRITE,	/* region, a: offset, b: value */
	CLIENT_DISCARD, /* region, a: offset, b: bytes: MADV_DONTNEED */
	CLIENT_START_DISCARD, /* likewise, by a thread; JOIN tells -> 0 */
	CLIENT_WAKE,	 /* region, a: offset, b: bytes: who waits there -> 0 */
	CLIENT_STRIPE,	 /* region, a: pages: every other one is discarded */
	CLIENT_CHURN,	 /* region, a: pages, b: rounds: touch and discard by
			  * threads that race; -> 0 */
	CLIENT_UNMAP,	 /* region, a: offset, b: bytes */
	CLIENT_MOVE,	 /* region, to another address -> 0 */
	CLIENT_BLOCKING, /* makes the userfaultfd blocking -> 0 */
	CLIENT_CLOSE_UFFD,
	CLIENT_POPULATE, /* region, a: offset: UFFDIO_COPY of 0xAA, wakes nobody
			    -> 0 */
	CLIENT_BECOME,	 /* a: uid -> 0 */
	/* Its process exits; another one goes on with the same memory. */
	CLIENT_MOULT,
	CLIENT_EXIT,
};

enum client_fds {
	CLIENT_NO_FD,
	CLIENT_THE_UFFD,
	CLIENT_TWO_FDS,
	CLIENT_THREE_FDS,
	CLIENT_MANY_FDS, /* more than any receiver has room for */
	CLIENT_A_FILE,
	CLIENT_FRESH_UFFD, /* UFFDIO_API was not done */
};

struct client_command {
	uint32_t op, region;
	uint64_t a, b, c;
};

struct client_reply {
	int64_t result; /* negative errno, or as above */
};
