#include "fs/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "fs/base/cleanup.h"

int file_pread(int fd, void *buf, size_t len, uint64_t offset,
	       enum inject_point point)
{
	uint8_t *to = buf;
	size_t left = len;

	while (left) {
		size_t want = left;
		ssize_t n = inject_pass(point, &want);

		if (n == 0) {
			n = pread(fd, to, want, (off_t)offset);
			if (n < 0)
				n = -errno;
		}
		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -ENODATA;
		to += n;
		left -= (size_t)n;
		offset += (uint64_t)n;
	}
	inject_flip(point, buf, len);
	return 0;
}

int file_pwrite(int fd, const void *buf, size_t len, uint64_t offset,
		enum inject_point point)
{
	const uint8_t *from = buf;

	while (len) {
		size_t want = len;
		ssize_t n = inject_pass(point, &want);

		if (n == 0) {
			n = pwrite(fd, from, want, (off_t)offset);
			if (n < 0)
				n = -errno;
		}
		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		from += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int file_sync(int fd, enum inject_point point)
{
	int r = inject_pass(point, NULL);

	if (r < 0)
		return r;
	return fdatasync(fd) < 0 ? -errno : 0;
}

int file_sync_dir(int dirfd)
{
	int r = inject_pass(INJECT_DIR_SYNC, NULL);

	if (r < 0)
		return r;
	return fsync(dirfd) < 0 ? -errno : 0;
}

int file_create_temp(int dirfd, const char *prefix,
		     char ret_name[FILE_TEMP_NAME_MAX])
{
	char name[FILE_TEMP_NAME_MAX];
	uint64_t tag;
	int fd;

	do {
		if (getrandom(&tag, sizeof(tag), 0) != (ssize_t)sizeof(tag))
			return -errno;
		(void)snprintf(name, sizeof(name), "%s.%016llx", prefix,
			       (unsigned long long)tag);
		fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
			    0600);
	} while (fd < 0 && errno == EEXIST);
	if (fd < 0)
		return -errno;
	(void)snprintf(ret_name, FILE_TEMP_NAME_MAX, "%s", name);
	return fd;
}

int file_read_all(int dirfd, const char *path, size_t max, uint8_t **ret_data,
		  size_t *ret_len)
{
	/* A fifo in our place must not hang us. */
	_cleanup_close_ int fd =
		openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : file_read_fd(fd, max, ret_data, ret_len);
}

int file_read_fd(int fd, size_t max, uint8_t **ret_data, size_t *ret_len)
{
	_cleanup_free_ uint8_t *data = NULL;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	r = file_pread(fd, data, (size_t)st.st_size, 0, INJECT_POINT_COUNT);
	if (r < 0)
		return r;
	data[st.st_size] = '\0';
	*ret_len = (size_t)st.st_size;
	*ret_data = steal_ptr(data);
	return 0;
}
