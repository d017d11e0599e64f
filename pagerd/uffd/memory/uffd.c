#include "pagerd/uffd/memory/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "pager/block.h"

/* Linux 6.6; the kernel's own layout. */
struct poison_range {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define POISON_IOCTL _IOWR(UFFDIO, 0x08, struct poison_range)

/* The bit that fdinfo shows once UFFDIO_API was done, Linux 5.11 and later. */
#define FEATURE_INITIALIZED (UINT64_C(1) << 31)

static enum uffd_result classify(int error)
{
	switch (-error) {
	case 0:
		return UFFD_DONE;
	case EAGAIN:
	case ENOMEM:
	case EINTR:
		return UFFD_RETRY;
	case EEXIST:
		return UFFD_EXISTS;
	case ENOENT:
		return UFFD_UNMAPPED;
	case ESRCH:
		return UFFD_GONE;
	default:
		return UFFD_FAILED;
	}
}

/*
 * `moved` is what the kernel says that it did: bytes, or a negative errno, or
 * the 0 that we put there where an old kernel wrote nothing.
 */
static struct uffd_outcome outcome(int result, int64_t moved, uint64_t len)
{
	struct uffd_outcome o = {.error = result < 0 ? -errno : 0};

	o.result = classify(o.error);
	if (o.result == UFFD_DONE)
		o.done = len;
	else if (moved > 0 && (uint64_t)moved <= len)
		o.done = (uint64_t)moved;
	return o;
}

/*
 * Passes the fault point: true where the call is to be made, for `*len` bytes
 * that may have become fewer.
 */
static bool passes(enum inject_point point, uint64_t *len,
		   struct uffd_outcome *o)
{
	size_t allowed = *len;
	int r = inject_pass(point, &allowed);

	if (r < 0) {
		*o = (struct uffd_outcome){classify(r), r, 0};
		return false;
	}
	if (allowed < *len && allowed >= PAGER_PAGE_SIZE)
		*len = allowed / PAGER_PAGE_SIZE * PAGER_PAGE_SIZE;
	return true;
}

/* What a call for fewer bytes than wanted means: the kernel's partial one. */
static struct uffd_outcome shortened(struct uffd_outcome o, uint64_t len,
				     uint64_t wanted)
{
	if (o.result == UFFD_DONE && len < wanted)
		o = (struct uffd_outcome){UFFD_RETRY, -EAGAIN, len};
	return o;
}

struct uffd_outcome uffd_copy(int fd, uint64_t address, const void *from,
			      uint64_t len)
{
	struct uffdio_copy c = {
		.dst = address,
		.src = (uintptr_t)from,
		.len = len,
	};
	struct uffd_outcome o;
	uint64_t part = len;
	int r;

	if (!passes(INJECT_UFFD_COPY, &part, &o))
		return o;
	c.len = part;
	r = ioctl(fd, UFFDIO_COPY, &c);
	o = outcome(r, c.copy, part);
	return shortened(o, part, len);
}

struct uffd_outcome uffd_zero(int fd, uint64_t address, uint64_t len)
{
	struct uffdio_zeropage z = {.range = {.start = address}};
	struct uffd_outcome o;
	uint64_t part = len;
	int r;

	if (!passes(INJECT_UFFD_ZERO, &part, &o))
		return o;
	z.range.len = part;
	r = ioctl(fd, UFFDIO_ZEROPAGE, &z);
	o = outcome(r, z.zeropage, part);
	return shortened(o, part, len);
}

struct uffd_outcome uffd_poison(int fd, uint64_t address, uint64_t len)
{
	struct poison_range p = {.range = {.start = address, .len = len}};
	int r = ioctl(fd, POISON_IOCTL, &p);

	return outcome(r, p.updated, len);
}

int uffd_unregister(int fd, uint64_t address, uint64_t len)
{
	struct uffdio_range r = {.start = address, .len = len};

	if (ioctl(fd, UFFDIO_UNREGISTER, &r) == 0)
		return 0;
	/* The kernel's word for an address space that is gone. */
	return errno == ENOMEM && uffd_probe(fd, address) == UFFD_GONE ? -ESRCH
								       : -errno;
}

void uffd_wake(int fd, uint64_t address, uint64_t len)
{
	struct uffdio_range r = {.start = address, .len = len};

	/*
	 * It fails only for a range that no address space can have, and then
	 * nobody waits there.
	 */
	(void)ioctl(fd, UFFDIO_WAKE, &r);
}

enum uffd_result uffd_probe(int fd, uint64_t address)
{
	/*
	 * CONTINUE finds the mapping first and then refuses private anonymous
	 * memory, which has no page cache to map from.
	 */
	struct uffdio_continue c = {
		.range = {.start = address, .len = PAGER_PAGE_SIZE},
	};
	enum uffd_result r;

	if (ioctl(fd, UFFDIO_CONTINUE, &c) == 0)
		return UFFD_DONE;
	r = classify(-errno);
	return r == UFFD_UNMAPPED || r == UFFD_GONE ? r : UFFD_DONE;
}

int uffd_read(int fd, struct uffd_msg *messages, unsigned int max)
{
	static atomic_bool no_nowait;
	struct iovec to = {messages, max * sizeof(*messages)};
	ssize_t n = -1;

	errno = EOPNOTSUPP;
	if (!atomic_load_explicit(&no_nowait, memory_order_relaxed))
		n = preadv2(fd, &to, 1, -1, RWF_NOWAIT);
	if (n < 0 && errno == EOPNOTSUPP) {
		atomic_store_explicit(&no_nowait, true, memory_order_relaxed);
		n = read(fd, messages, to.iov_len);
	}
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return (int)((size_t)n / sizeof(*messages));
}

static bool is_userfaultfd(int fd)
{
	static const char wanted[] = "anon_inode:[userfaultfd]";
	char path[64], target[64];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n == (ssize_t)sizeof(wanted) - 1 &&
	       memcmp(target, wanted, sizeof(wanted) - 1) == 0;
}

static int read_features(int fd, uint64_t *ret_features)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64], line[256];

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	if (!f)
		return err_set(-errno, "cannot open %s: %m", path);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "API: %*x:%" SCNx64, ret_features) == 1)
			return 0;
	return err_set(-EPROTO, "%s has no features", path);
}

int uffd_check(int fd, uint64_t *ret_features)
{
	uint64_t features = 0;
	int flags, r;

	if (!is_userfaultfd(fd))
		return err_set(-EPROTO, "the fd received is no userfaultfd");
	r = read_features(fd, &features);
	if (r < 0)
		return r;
	if (!(features & FEATURE_INITIALIZED))
		return err_set(-EPROTO, "UFFDIO_API was not done on the fd");
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(-errno, "cannot make the fd non-blocking: %m");
	*ret_features = features & ~FEATURE_INITIALIZED;
	return 0;
}
