/*
 * Faults injected by name, for tests. In a build with PAGER_INJECT the
 * environment's PAGER_INJECT holds a comma-separated list of
 *
 *   POINT:FAULT[@N][+]
 *
 * FAULT is an errno's name (EIO, ENOSPC, EDQUOT, EAGAIN, EINTR ...), "short"
 * (a read or write of half its length), "crash" (SIGKILL to ourselves),
 * "flip" (one bit of the bytes read is turned over) or "slow=MS". @N hits
 * only the Nth passing of the point, counted from 1 (default 1); + hits all
 * from there on. Every point is a row of inject_points below and is passed
 * at one named place of the program. In other builds the points compile to
 * nothing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* X(enumerator, name, where it is passed) */
#define INJECT_POINTS(X)                                                       \
	X(PACK_CREATE, "pack-create", "before a pack is created")              \
	X(PACK_WRITE, "pack-write", "each write into a pack")                  \
	X(PACK_SYNC, "pack-sync", "fdatasync of a finished pack")              \
	X(PACK_RENAME, "pack-rename", "before a pack gets its name")           \
	X(PACK_COMMIT, "pack-commit", "after a pack got its name")             \
	X(PACK_READ, "pack-read", "each read of a slot, sync or async")        \
	X(TABLE_READ, "table-read", "each read of a pack's tables")            \
	X(RUN_WRITE, "run-write", "each write of an index run")                \
	X(RUN_RENAME, "run-rename", "before an index run gets its name")       \
	X(RUN_DROP, "run-drop", "before a merged index run is removed")        \
	X(SEQUENCE_WRITE, "sequence-write", "the pack counter's write")        \
	X(MANIFEST_WRITE, "manifest-write", "the manifest's write")            \
	X(MANIFEST_SYNC, "manifest-sync", "fsync of the manifest")             \
	X(MANIFEST_RENAME, "manifest-rename", "before the commit")             \
	X(MANIFEST_COMMIT, "manifest-commit", "after the commit's rename")     \
	X(DIR_SYNC, "dir-sync", "fsync of a folder")                           \
	X(IMAGE_READ, "image-read", "each read of a file being published")     \
	X(EXPORT_WRITE, "export-write", "each write of an export")             \
	X(TRACE_WRITE, "trace-write", "each write of a fault trace")           \
	X(UFFD_COPY, "uffd-copy", "each UFFDIO_COPY")                          \
	X(UFFD_ZERO, "uffd-zero", "each UFFDIO_ZEROPAGE")                      \
	X(UFFD_READ, "uffd-read", "after messages were read, before use")      \
	X(UFFD_INSTALLED, "uffd-installed", "after an install, unnoted")       \
	X(HANDSHAKE, "handshake", "between the steps of a handshake")          \
	X(RESUME, "resume", "between the steps of a recovery")                 \
	X(JOURNAL_WRITE, "journal-write", "each write of a session's journal") \
	X(OPENAT2, "openat2", "before a client's path is resolved")

enum inject_point {
#define X(id, name, where) INJECT_##id,
	INJECT_POINTS(X)
#undef X
		INJECT_POINT_COUNT
};

#ifdef PAGER_INJECT

/*
 * Passes the point: 0, or a negative errno to fail with. `len`, where not
 * NULL, is halved by "short". Crash and slow happen inside.
 */
int inject_pass(enum inject_point point, size_t *len);

/*
 * As inject_pass() for a thread that must not sleep: a "slow" that is due is
 * told in `ret_delay_ms`, which stays untouched without one.
 */
int inject_pass_async(enum inject_point point, size_t *len,
		      unsigned int *ret_delay_ms);

/* Turns one bit of `buf` over where a "flip" is due at the point. */
void inject_flip(enum inject_point point, uint8_t *buf, size_t len);

/* Replaces the environment's list; NULL or "" clears it. For unit tests. */
int inject_configure(const char *spec);

#else

static inline int inject_pass(enum inject_point point, size_t *len)
{
	(void)point;
	(void)len;
	return 0;
}

static inline int inject_pass_async(enum inject_point point, size_t *len,
				    unsigned int *ret_delay_ms)
{
	(void)ret_delay_ms;
	return inject_pass(point, len);
}

static inline void inject_flip(enum inject_point point, uint8_t *buf,
			       size_t len)
{
	(void)point;
	(void)buf;
	(void)len;
}

#endif
