#include "pagerd/client/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pager/handshake.h"

#define MEMORY_HUGE_2MB (21 << 26) /* MAP_HUGE_2MB, of <linux/mman.h> */

/* The device needs only the right to open it; the system call a capability. */
static int open_device(void)
{
	_cleanup_close_ int device =
		open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd;

	if (device < 0)
		return -errno;
	fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int open_any(unsigned int flags)
{
	int fd = open_device();

	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && flags & PAGER_MAP_USER_MODE_ONLY)
		fd = (int)syscall(SYS_userfaultfd,
				  O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	return fd < 0 ? -errno : fd;
}

int memory_open_uffd(unsigned int flags)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_REMOVE,
	};
	_cleanup_close_ int fd = open_any(flags);

	if (fd == -EPERM || fd == -EACCES)
		return err_set(-EPERM,
			       "no right to a userfaultfd: run as root, or "
			       "give this user /dev/userfaultfd");
	if (fd < 0)
		return err_set(fd, "userfaultfd: %s", strerrordesc_np(-fd));
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return err_set(-errno, "userfaultfd without EVENT_REMOVE: %s",
			       strerrordesc_np(errno));
	return steal_fd(fd);
}

static int map_error(int error, const struct pager_region *region, bool huge)
{
	if (error == EEXIST)
		return err_set(-EEXIST, "something is mapped at %p already",
			       region->addr);
	if (error == ENOMEM && huge)
		return err_set(-ENOMEM,
			       "no %llu bytes of free 2 MiB pages; raise "
			       "vm.nr_hugepages",
			       (unsigned long long)region->size);
	return err_set(-error, "cannot map %llu bytes: %s",
		       (unsigned long long)region->size,
		       strerrordesc_np(error));
}

/*
 * PROT_NONE keeps mlockall(MCL_FUTURE) from populating the mapping, and
 * everybody from touching it, before it is registered.
 */
static int map_region(struct pager_region *region,
		      const struct pager_map_options *options)
{
	bool huge = options->page_size == PAGER_HUGE_PAGE_SIZE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *addr;

	if (region->addr)
		flags |= options->flags & PAGER_MAP_REPLACE
				 ? MAP_FIXED
				 : MAP_FIXED_NOREPLACE;
	if (huge)
		flags |= MAP_HUGETLB | MEMORY_HUGE_2MB;
	addr = mmap(region->addr, region->size, PROT_NONE, flags, -1, 0);
	if (addr == MAP_FAILED)
		return map_error(errno, region, huge);
	if (region->addr && addr != region->addr) {
		/* A kernel without MAP_FIXED_NOREPLACE took it for a hint. */
		(void)munmap(addr, region->size);
		return map_error(EEXIST, region, huge);
	}
	region->addr = addr;
	return 0;
}

/* A locked mapping gets its pages as soon as it is opened: all zero. */
static int refuse_locked(const struct pager_region *region)
{
	if (madvise(region->addr, region->size, MADV_DONTNEED) == 0)
		return 0;
	if (errno == EINVAL)
		return err_set(-EPERM,
			       "memory that is locked (mlockall) cannot be "
			       "paged in; run without locking");
	return err_set(-errno, "madvise: %s", strerrordesc_np(errno));
}

static int arm(int uffd, const struct pager_region *region)
{
	struct uffdio_register request = {
		.range = {(uintptr_t)region->addr, region->size},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int r = refuse_locked(region);

	if (r < 0)
		return r;
	if (madvise(region->addr, region->size, MADV_DONTFORK) < 0)
		return err_set(-errno, "madvise: %s", strerrordesc_np(errno));
	if (ioctl(uffd, UFFDIO_REGISTER, &request) < 0)
		return err_set(-errno, "cannot register %llu bytes: %s",
			       (unsigned long long)region->size,
			       strerrordesc_np(errno));
	return 0;
}

int memory_place(int uffd, struct pager_region *region,
		 const struct pager_map_options *options)
{
	struct pager_region placed = *region;
	int r = map_region(&placed, options);

	if (r < 0)
		return r;
	r = arm(uffd, &placed);
	if (r < 0) {
		memory_drop(&placed, options->flags);
		return r;
	}
	*region = placed;
	return 0;
}

int memory_allow(const struct pager_region *region, int prot)
{
	if (mprotect(region->addr, region->size, prot) < 0)
		return err_set(-errno, "cannot open %llu bytes: %s",
			       (unsigned long long)region->size,
			       strerrordesc_np(errno));
	return 0;
}

void memory_drop(const struct pager_region *region, unsigned int flags)
{
	void *left = MAP_FAILED;

	/* A hole would be for any other thread's mmap() to fall into. */
	if (flags & PAGER_MAP_REPLACE)
		left = mmap(region->addr, region->size, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				    MAP_FIXED,
			    -1, 0);
	if (left == MAP_FAILED)
		(void)munmap(region->addr, region->size);
}
