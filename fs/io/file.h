/*
 * Whole reads and writes, and files that appear all at once.
 *
 * Every function retries EINTR and short results, passes the fault point that
 * the caller names (INJECT_POINT_COUNT for none), and returns 0 or a negative
 * errno.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs/io/inject.h"

/* All of `len` at `offset`; -ENODATA where the file ends before. */
int file_pread(int fd, void *buf, size_t len, uint64_t offset,
	       enum inject_point point);

int file_pwrite(int fd, const void *buf, size_t len, uint64_t offset,
		enum inject_point point);

/* fdatasync(2). An error is final: what was written may be gone. */
int file_sync(int fd, enum inject_point point);

/* fsync(2) of a folder, after a name in it has changed. */
int file_sync_dir(int dirfd);

/*
 * A new file open for reading and writing that has no name another program
 * would look for: "PREFIX.RANDOM" in `dirfd`, mode 0600, exclusive.
 * Returns the fd. The name lands in `ret_name` and is to be renamed or
 * unlinked.
 */
#define FILE_TEMP_NAME_MAX 64
int file_create_temp(int dirfd, const char *prefix,
		     char ret_name[FILE_TEMP_NAME_MAX]);

/*
 * The whole of a regular file of at most `max` bytes, and a NUL behind it
 * that is not counted. The caller frees. -EFBIG above the limit.
 */
int file_read_all(int dirfd, const char *path, size_t max, uint8_t **ret_data,
		  size_t *ret_len);

/* The same of a file that is open already. */
int file_read_fd(int fd, size_t max, uint8_t **ret_data, size_t *ret_len);
