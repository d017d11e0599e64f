/*
 * Whoever locks a manifest that was opened by its name checks afterwards that
 * the name still is that file: it may have been removed, renamed or published
 * anew while the lock was waited for.
 */
#include "fs/store/lease/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

static const struct kind {
	short type;
	off_t start, length; /* 0: to the end of all files */
} kinds[] = {
	[LEASE_READ] = {F_RDLCK, 0, 1},
	[LEASE_LASTING] = {F_RDLCK, 0, 2},
	[LEASE_NAME] = {F_WRLCK, 1, 1},
	[LEASE_ALL] = {F_WRLCK, 0, 0},
};

static bool is_exclusive(enum lease kind)
{
	return kinds[kind].type == F_WRLCK;
}

static int lock(int fd, enum lease kind, bool wait)
{
	struct flock range = {
		.l_type = kinds[kind].type,
		.l_whence = SEEK_SET,
		.l_start = kinds[kind].start,
		.l_len = kinds[kind].length,
	};
	int r;

	do {
		r = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
	return 0;
}

int lease_take(int fd, enum lease kind)
{
	return lock(fd, kind, false);
}

void lease_drop(int fd)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (fd < 0)
		return;
	(void)fcntl(fd, F_OFD_SETLK, &all); /* of our own lock: cannot fail */
	close_quietly(fd);
}

int lease_still_named(int folder, const char *name, int fd)
{
	struct stat by_fd, by_name;

	if (fstat(fd, &by_fd) < 0)
		return -errno;
	if (fstatat(folder, name, &by_name, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return by_fd.st_ino == by_name.st_ino && by_fd.st_dev == by_name.st_dev;
}

int lease_open(struct store *s, const char *name, enum lease kind)
{
	int folder = store_folder_fd(s, STORE_SNAPSHOTS);
	bool exclusive = is_exclusive(kind);

	for (;;) {
		_cleanup_close_ int fd =
			openat(folder, name,
			       (exclusive ? O_RDWR : O_RDONLY) | O_CLOEXEC |
				       O_NOFOLLOW | O_NONBLOCK);
		int r;

		if (fd < 0 && errno == ENOENT)
			return err_set(-ENOENT, "no snapshot '%s'", name);
		if (fd < 0)
			return -errno;
		r = lock(fd, kind, !exclusive);
		if (r < 0)
			return r;
		r = lease_still_named(folder, name, fd);
		if (r < 0)
			return r;
		if (r > 0)
			return steal_fd(fd);
	}
}
