#include "fs/cache/shard/memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fs/base/err.h"
#include "pager/block.h"

void *memory_reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		(void)err_set(-ENOMEM, "cache: cannot reserve %zu bytes: %m",
			      bytes);
		return NULL;
	}
	(void)madvise(p, bytes, MADV_DONTDUMP);
	return p;
}

void memory_unreserve(void *memory, size_t bytes)
{
	if (memory && munmap(memory, bytes) < 0)
		abort(); /* we mapped it just so */
}

void memory_give_back(void *memory, size_t bytes)
{
	uintptr_t mask = PAGER_PAGE_SIZE - 1;
	uintptr_t from = ((uintptr_t)memory + mask) & ~mask;
	uintptr_t to = ((uintptr_t)memory + bytes) & ~mask;

	/* Of private anonymous memory of ours: there is no way to fail. */
	if (from < to && madvise((void *)from, to - from, MADV_DONTNEED) < 0)
		abort();
}
