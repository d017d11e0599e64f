#include "fs/store/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/cleanup.h"

static int list(DIR *d, folder_name_fn *fn, void *arg)
{
	const struct dirent *e;
	int r = 0;

	while (r == 0) {
		errno = 0;
		e = readdir(d);
		if (!e)
			return -errno;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = fn(arg, e->d_name);
	}
	return r;
}

int folder_list(int at, const char *name, folder_name_fn *fn, void *arg)
{
	/* Opened anew: a descriptor that is shared has one position. */
	_cleanup_close_ int fd =
		openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d;
	int r;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d)
		return -errno;
	(void)steal_fd(fd);
	r = list(d, fn, arg);
	(void)closedir(d);
	return r;
}

int folder_open_private(int at, const char *name)
{
	_cleanup_close_ int fd = openat(
		at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_uid != 0 && st.st_uid != geteuid()) ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)))
		return -EPERM;
	return steal_fd(fd);
}
