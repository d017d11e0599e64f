/*
 * libpager: memory that pagerd pages in from a snapshot.
 *
 *	struct pager *p;
 *	struct pager_session *s;
 *	struct pager_map *m;
 *	struct pager_session_options so = PAGER_SESSION_OPTIONS_INIT;
 *	struct pager_map_options mo = PAGER_MAP_OPTIONS_INIT;
 *
 *	so.snapshot = "web-1";
 *	mo.size = 1 << 30;
 *	pager_open(NULL, &p);                 // the daemon
 *	pager_session_create(p, &so, &s);     // a session on a snapshot
 *	pager_map(s, &mo, &m);                // memory, filled on first touch
 *	use(pager_map_data(m), pager_map_size(m));
 *	pager_unmap(m);
 *	pager_session_close(s);
 *	pager_close(p);
 *
 * Results: 0, or a negative errno, and then pager_error() has one line that
 * says what failed, why, and what to do. Outputs are untouched on failure.
 *
 * Threads: one thread at a time may be inside the calls on one struct pager
 * and on what was made from it; different ones are independent. Mapped memory
 * is plain memory: any thread may touch it at any time. There is no global
 * state.
 *
 * What to know about mapped memory:
 * - A first touch waits until the daemon has brought the page. It waits, and
 *   does not fail, while no daemon runs: a new daemon goes on where the old
 *   one was killed.
 * - It is not inherited by fork(2): a child that touches it gets SIGSEGV. With
 *   an ordinary mapping, it would read zeros where a page is not there yet.
 * - It must not be moved or grown by mremap(2), for the same reason.
 * - MADV_DONTNEED gives pages back: they are zero from then on, for ever.
 * - It cannot be locked: mlockall(MCL_FUTURE) makes pager_map() fail.
 */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PAGER_API __attribute__((visibility("default")))

struct pager;
struct pager_session;
struct pager_map;

/*
 * Names a daemon by its runtime directory; NULL: $PAGERD_RUNTIME, else
 * /run/pagerd. Talks to nobody yet. -ENOMEM, -ENAMETOOLONG.
 */
PAGER_API int pager_open(const char *runtime, struct pager **ret_pager);

/* Sessions of it may still be there, and stay usable. Accepts NULL. */
PAGER_API void pager_close(struct pager *p);

/*
 * The line for the last failed call on `p` or on what was made from it; ""
 * before the first. Valid until the next call.
 */
PAGER_API const char *pager_error(const struct pager *p);

struct pager_session_options {
	const char *snapshot;
	const char *id;	    /* 1 to 64 of A-Z a-z 0-9 . _ -; NULL: chosen */
	const char *policy; /* "kill", "poison", "stall"; NULL: the daemon's */
	int64_t uid, gid;   /* who may connect, beside root; -1: root alone */
	/*
	 * 1 or 0; -1: as the daemon does by itself. To install the snapshot's
	 * working set ahead of its use; to record one (1: also where there is
	 * one already, and then nothing is installed ahead).
	 */
	int prefetch, record;
};

#define PAGER_SESSION_OPTIONS_INIT               \
	{                                        \
		NULL, NULL, NULL, -1, -1, -1, -1 \
	}

/*
 * Makes a session. -ENOENT no such snapshot; -EBADMSG it is damaged; -ENOTUNIQ
 * the id is taken; -ESHUTDOWN the daemon drains; -EAGAIN it has no room now;
 * -EINVAL what it does not accept; -ECONNREFUSED no daemon; -EACCES not for
 * this user; -ETIMEDOUT; -ECONNRESET the daemon has hung up; -EPROTO an answer
 * that makes no sense.
 */
PAGER_API int pager_session_create(struct pager *p,
				   const struct pager_session_options *options,
				   struct pager_session **ret_session);

/*
 * A session that somebody else made, by its socket. Its handshake is not
 * confirmed by the daemon, and its status cannot be asked for (-ENOTSUP).
 * -ENAMETOOLONG, -ENOMEM.
 */
PAGER_API int pager_session_attach(struct pager *p, const char *socket_path,
				   struct pager_session **ret_session);

/* The id, NULL for an attached one; the socket. As long as the session. */
PAGER_API const char *pager_session_id(const struct pager_session *s);
PAGER_API const char *pager_session_socket(const struct pager_session *s);

/*
 * What the daemon knows of the session, as JSON: at least "state", "faults",
 * "pages_present", "pages_total", "oldest_fault_us", "p50_us", "p99_us". The
 * caller frees it with free(3). Errors as pager_session_create().
 */
PAGER_API int pager_session_status(struct pager_session *s, char **ret_json);

/*
 * Ends a session that was created, and frees the handle; an attached one is
 * only freed. -EBUSY while it is mapped: nothing was done. Any other error is
 * the daemon's, and the handle is freed all the same.
 */
PAGER_API int pager_session_close(struct pager_session *s);

/* A piece of memory. */
struct pager_region {
	void *addr;	 /* NULL: anywhere, and filled in by the call */
	uint64_t size;	 /* bytes, a multiple of the page size */
	uint64_t offset; /* in the snapshot's image, likewise */
};

enum pager_map_flag {
	/* An address that was given may be in use: as with MAP_FIXED, what is
	 * there is replaced. After a failure, PROT_NONE memory is there. */
	PAGER_MAP_REPLACE = 1 << 0,

	/*
	 * Without it, a process that may not open /dev/userfaultfd fails with
	 * -EPERM. With it, an unprivileged userfaultfd will do, which only
	 * answers the program's own accesses: KVM, read(2) and every other
	 * system call get EFAULT on a page that is not there yet.
	 */
	PAGER_MAP_USER_MODE_ONLY = 1 << 1,
};

struct pager_map_options {
	uint64_t size;	    /* for pager_map() */
	uint64_t offset;    /* likewise */
	uint64_t page_size; /* 4096, or 2 MiB from the huge page pool */
	int prot;	    /* as for mmap(2) */
	unsigned int flags; /* of enum pager_map_flag */
};

#define PAGER_MAP_OPTIONS_INIT           \
	{                                \
		0, 0, 4096, 0x1 | 0x2, 0 \
	} /* PROT_READ | PROT_WRITE */

/*
 * Memory, userfaultfd and handshake in one call; the memory is private. A
 * session is mapped once at a time (-EBUSY) and its regions all at once. In a
 * session that was created, returns when the daemon has begun to serve.
 *
 * -EINVAL sizes, offsets or addresses that are not multiples of the page size,
 * overlap, or that the daemon refused; -EEXIST something is at a given address;
 * -ENOMEM, and no huge pages; -EPERM no userfaultfd, or memory is locked;
 * -ECONNREFUSED, -ENOENT the session is gone; -ETIMEDOUT, -EPIPE.
 */
PAGER_API int pager_map(struct pager_session *s,
			const struct pager_map_options *options,
			struct pager_map **ret_map);

/* As pager_map(), with 1 to 1024 regions in any order of addr and offset. */
PAGER_API int pager_map_regions(struct pager_session *s,
				struct pager_region *regions,
				unsigned int count,
				const struct pager_map_options *options,
				struct pager_map **ret_map);

/* Of the first region. */
PAGER_API void *pager_map_data(const struct pager_map *m);
PAGER_API uint64_t pager_map_size(const struct pager_map *m);

/* Unmaps every region and lets go of the session. Accepts NULL. */
PAGER_API void pager_unmap(struct pager_map *m);

#ifdef __cplusplus
}
#endif
