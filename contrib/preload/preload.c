/*
 * The preload shim: a VMM that knows nothing of pagers is restored through
 * one. With
 *
 *   LD_PRELOAD=libpager-preload.so PAGER_MAP=FILE=NAME PAGERD_RUNTIME=DIR
 *
 * each private mapping of FILE becomes private anonymous memory at the same
 * place, which the daemon pages in from snapshot NAME. FILE need only exist
 * and have the right size: its bytes are never read. PAGER_MAP is split at its
 * last '='.
 *
 * - FILE is recognised by device and inode of the descriptor, so it does not
 *   matter by which path or descriptor the program came to it.
 * - One session a mapping call, each on the same snapshot: a handshake names
 *   all regions of a session at once, and nobody knows which mapping is the
 *   program's last. A program that maps FILE in parts has as many sessions.
 * - Nothing falls back on the file: its bytes are not the guest's. A mapping
 *   that cannot be had fails, and so do a shared one and what would move or
 *   grow the memory (mremap(2) makes the kernel drop the userfaultfd, and
 *   pages that are not there yet would read as zero). One line on stderr says
 *   why.
 * - A private mapping without any access is a reservation of addresses, and
 *   is left alone.
 * - The sessions end with the process; the daemon sees that. A child has none
 *   of the memory (see pager/pager.h), and a program that it executes makes
 *   sessions of its own if it maps FILE.
 *
 * The program may map from any thread. Mappings of other files and anonymous
 * ones, our own included, take no lock and go straight to the kernel.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "fs/base/cleanup.h"
#include "fs/base/lock.h"
#include "pager/block.h"
#include "pager/pager.h"

#define EXPORTED __attribute__((visibility("default")))

/* By asm names: the C library's headers redirect one of the two. */
EXPORTED void *preload_mmap(void *addr, size_t length, int prot, int flags,
			    int fd, off_t offset) __asm__("mmap");
EXPORTED void *preload_mmap64(void *addr, size_t length, int prot, int flags,
			      int fd, off_t offset) __asm__("mmap64");
EXPORTED void *preload_mremap(void *old, size_t old_size, size_t new_size,
			      int flags, ...) __asm__("mremap");

/* What was mapped; never taken off, as the sessions end with the process. */
struct mapping {
	struct mapping *next;
	uintptr_t start, end;
	struct pager_session *session;
	struct pager_map *map;
};

static struct {
	/* Set before main() and not changed; file NULL: not in use. */
	char *file;
	const char *snapshot;

	struct lock lock;
	struct pager *pager;	  /* protected by lock; NULL: not opened yet */
	struct mapping *mappings; /* protected by lock */
} shim;

static void complain(const char *what, const char *why)
{
	char line[1024];
	size_t length;

	(void)snprintf(line, sizeof(line) - 1, "libpager-preload: %s: %s", what,
		       why);
	length = strlen(line);
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = ' ';
	line[length] = '\n';
	if (write(STDERR_FILENO, line, length + 1) < 0) {
		/* The result of the call says that it failed. */
	}
}

__attribute__((constructor)) static void read_environment(void)
{
	const char *map = getenv("PAGER_MAP");
	char *file, *equals;

	if (!map)
		return;
	file = strdup(map);
	equals = file ? strrchr(file, '=') : NULL;
	if (!equals || equals == file || !equals[1]) {
		complain("PAGER_MAP", "is not FILE=NAME");
		_exit(127);
	}
	*equals = '\0';
	lock_init(&shim.lock, "preload");
	shim.snapshot = equals + 1;
	shim.file = file;
}

static void *address(long result)
{
	void *addr;

	memcpy(&addr, &result, sizeof(addr));
	return addr;
}

static void *kernel_mmap(void *addr, size_t length, int prot, int flags, int fd,
			 off_t offset)
{
	/* The system call, as dlsym(3) may allocate and so map. */
	return address(
		syscall(SYS_mmap, addr, length, prot, flags, fd, offset));
}

static bool is_our_file(int fd)
{
	struct stat asked, ours;
	int saved = errno;
	bool same;

	same = shim.file && fstat(fd, &asked) == 0 && S_ISREG(asked.st_mode) &&
	       stat(shim.file, &ours) == 0 && asked.st_dev == ours.st_dev &&
	       asked.st_ino == ours.st_ino;
	errno = saved;
	return same;
}

/* What cannot be had from a daemon, or NULL. */
static const char *refusal(size_t length, int flags, off_t offset)
{
	if ((flags & MAP_TYPE) != MAP_PRIVATE)
		return "is mapped shared, but only private mappings can be "
		       "paged in (QEMU: share=off)";
	if (flags & MAP_LOCKED)
		return "is mapped locked, which would read all of it at once";
	if (length == 0 || length > SIZE_MAX - PAGER_PAGE_SIZE || offset < 0 ||
	    offset % PAGER_PAGE_SIZE != 0)
		return "is mapped with a length or offset that cannot be";
	return NULL;
}

/* The caller holds the lock. */
static int open_session(struct pager_session **ret_session)
{
	struct pager_session_options options = PAGER_SESSION_OPTIONS_INIT;
	int r = shim.pager ? 0 : pager_open(NULL, &shim.pager);

	if (r < 0) {
		complain(shim.file, strerrordesc_np(-r));
		return r;
	}
	options.snapshot = shim.snapshot;
	r = pager_session_create(shim.pager, &options, ret_session);
	if (r < 0)
		complain(shim.file, pager_error(shim.pager));
	return r;
}

/* The caller holds the lock. */
static int add_mapping(struct pager_region *region,
		       const struct pager_map_options *options)
{
	_cleanup_free_ struct mapping *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	r = open_session(&m->session);
	if (r < 0)
		return r;
	r = pager_map_regions(m->session, region, 1, options, &m->map);
	if (r < 0) {
		complain(shim.file, pager_error(shim.pager));
		(void)pager_session_close(m->session); /* r says enough */
		return r;
	}
	m->start = (uintptr_t)region->addr;
	m->end = m->start + region->size;
	m->next = shim.mappings;
	shim.mappings = steal_ptr(m);
	return 0;
}

static void *fail(int r)
{
	errno = -r;
	return MAP_FAILED;
}

static void *map_snapshot(struct pager_region region, int prot, int flags)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	int saved = errno, r;

	if (!(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)))
		region.addr = NULL; /* a hint, that we need not take */
	if (flags & MAP_FIXED && !(flags & MAP_FIXED_NOREPLACE))
		options.flags |= PAGER_MAP_REPLACE;
	options.prot = prot;
	LOCK_GUARD(&shim.lock);
	r = add_mapping(&region, &options);
	if (r < 0)
		return fail(r);
	errno = saved;
	return region.addr;
}

static void *map_any(void *addr, size_t length, int prot, int flags, int fd,
		     off_t offset)
{
	struct pager_region region = {.addr = addr};
	const char *reason;

	if (flags & MAP_ANONYMOUS || fd < 0 || !is_our_file(fd) ||
	    (prot == PROT_NONE && (flags & MAP_TYPE) == MAP_PRIVATE))
		return kernel_mmap(addr, length, prot, flags, fd, offset);
	reason = refusal(length, flags, offset);
	if (reason) {
		complain(shim.file, reason);
		return fail(-EINVAL);
	}
	region.size = (length + PAGER_PAGE_SIZE - 1) &
		      ~(uint64_t)(PAGER_PAGE_SIZE - 1);
	region.offset = (uint64_t)offset;
	return map_snapshot(region, prot, flags);
}

void *preload_mmap(void *addr, size_t length, int prot, int flags, int fd,
		   off_t offset)
{
	return map_any(addr, length, prot, flags, fd, offset);
}

void *preload_mmap64(void *addr, size_t length, int prot, int flags, int fd,
		     off_t offset)
{
	return map_any(addr, length, prot, flags, fd, offset);
}

static bool is_paged(const void *addr, size_t size)
{
	uintptr_t start = (uintptr_t)addr, end;

	if (!shim.file || __builtin_add_overflow(start, size, &end))
		return false;
	LOCK_GUARD(&shim.lock);
	for (const struct mapping *m = shim.mappings; m; m = m->next)
		if (start < m->end && m->start < end)
			return true;
	return false;
}

void *preload_mremap(void *old, size_t old_size, size_t new_size, int flags,
		     ...)
{
	void *new = NULL;
	va_list ap;

	if (flags & MREMAP_FIXED) {
		va_start(ap, flags);
		new = va_arg(ap, void *);
		va_end(ap);
	}
	if (is_paged(old, old_size)) {
		complain(shim.file, "cannot be moved or resized (mremap)");
		return fail(-EINVAL);
	}
	return address(
		syscall(SYS_mremap, old, old_size, new_size, flags, new));
}
