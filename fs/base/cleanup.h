/*
 * Scope macros: a variable marked with one is released when its scope ends.
 * Hand-over to a longer life is explicit: `*ret_x = steal_ptr(x)` or
 * steal_fd(fd) leaves NULL or -1 behind, which every release accepts.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup(fn) __attribute__((cleanup(fn)))

#define steal_ptr(p)                         \
	({                                   \
		__typeof__(p) stolen_ = (p); \
		(p) = NULL;                  \
		stolen_;                     \
	})

static inline int steal_fd_of(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}
#define steal_fd(fd) steal_fd_of(&(fd))

/* Closing a file that was only read, or is given up: no result matters. */
static inline void close_quietly(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
}

static inline void cleanup_fd(int *fd)
{
	close_quietly(*fd);
}
#define _cleanup_close_ cleanup(cleanup_fd)

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ cleanup(cleanup_free)

static inline void cleanup_file(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}
#define _cleanup_fclose_ cleanup(cleanup_file)

/*
 * Defines cleanup_NAME(), for use as `struct x *v cleanup(cleanup_NAME)`,
 * from a release function that accepts NULL.
 */
#define DEFINE_CLEANUP(name, type, release)        \
	static inline void cleanup_##name(type *p) \
	{                                          \
		release(*p);                       \
	}
