#include "pagerd/uffd/memory/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/base/cleanup.h"

/* Documentation/admin-guide/mm/pagemap.rst of the kernel. */
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_SIZE    ((off_t)sizeof(uint64_t))

int pagemap_has(pid_t pid, uint64_t address)
{
	_cleanup_close_ int fd = -1;
	char path[64];
	uint64_t entry;
	off_t at = (off_t)(address / (uint64_t)sysconf(_SC_PAGESIZE));
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = pread(fd, &entry, sizeof(entry), at * ENTRY_SIZE);
	if (n < 0)
		return -errno;
	if (n != ENTRY_SIZE)
		return -ESRCH;
	return (entry & (ENTRY_PRESENT | ENTRY_SWAPPED)) != 0;
}
