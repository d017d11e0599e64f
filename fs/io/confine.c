#include "fs/io/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/io/inject.h"

#define SHOWN 256 /* bytes of a path in a message */

/* openat2() gives up where names move under it; an attacker may move many. */
#define TRIES 16

struct folder {
	char *given, *real; /* without a '/' at the end: "" is the root */
	int fd;
};

struct confine {
	size_t count;
	struct folder folders[];
};

static char *without_slashes(char *path)
{
	for (size_t n = path ? strlen(path) : 0; n && path[n - 1] == '/'; n--)
		path[n - 1] = '\0';
	return path;
}

static int open_folder(const char *path, struct folder *f)
{
	f->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (f->fd < 0)
		return err_set(-errno, "%s: %m", path);
	f->given = without_slashes(strdup(path));
	f->real = without_slashes(realpath(path, NULL));
	return f->given && f->real ? 0 : -ENOMEM;
}

int confine_new(const char *const *folders, size_t count,
		struct confine **ret_confine)
{
	struct confine *c cleanup(cleanup_confine) =
		calloc(1, sizeof(*c) + count * sizeof(c->folders[0]));

	if (!c)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		int r = open_folder(folders[i], &c->folders[c->count++]);

		if (r < 0)
			return r;
	}
	*ret_confine = steal_ptr(c);
	return 0;
}

void confine_free(struct confine *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++) {
		close_quietly(c->folders[i].fd);
		free(c->folders[i].given);
		free(c->folders[i].real);
	}
	free(c);
}

/* What of the path lies below the folder of that name; NULL: it does not. */
static const char *below(const char *folder, const char *path)
{
	size_t len = strlen(folder);

	if (strncmp(folder, path, len) != 0 || path[len] != '/' ||
	    path[len + 1] == '\0')
		return NULL;
	return path + len + 1;
}

/* One name after the other, none of them "..", none a symbolic link. */
static int walk(int folder, const char *rest)
{
	_cleanup_close_ int fd = openat(folder, ".", O_PATH | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (size_t len; *rest; rest += len + (rest[len] == '/')) {
		char name[NAME_MAX + 1];
		struct stat st;
		int next;

		len = strcspn(rest, "/");
		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		if (len == 0)
			continue;
		memcpy(name, rest, len);
		name[len] = '\0';
		if (strcmp(name, "..") == 0)
			return -EXDEV;
		next = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return -errno;
		close_quietly(fd);
		fd = next;
		if (fstat(fd, &st) < 0 || S_ISLNK(st.st_mode))
			return -ELOOP;
	}
	return steal_fd(fd);
}

static int resolve(int folder, const char *path, uint64_t how_to_resolve)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = how_to_resolve,
	};
	long fd = inject_pass(INJECT_OPENAT2, NULL);

	if (fd < 0)
		return (int)fd;
	for (int i = 0; i < TRIES; i++) {
		fd = syscall(SYS_openat2, folder, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

static bool is_missing(int error)
{
	return error == -ENOSYS || error == -EPERM;
}

static int resolve_beneath(int folder, const char *rest)
{
	int fd = resolve(folder, rest, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);

	return is_missing(fd) ? walk(folder, rest) : fd;
}

static int fail(int error, const char *path)
{
	if (error == -EXDEV)
		return err_set(-EXDEV, "'%.*s' leads out of the folder", SHOWN,
			       path);
	return err_set(error, "'%.*s': %s", SHOWN, path,
		       strerrordesc_np(-error));
}

/* Of a place that is a regular file, open for reading. */
static int open_place(int place, const char *path, int *ret_fd)
{
	char again[32];
	struct stat st;
	int fd;

	if (fstat(place, &st) < 0)
		return fail(-errno, path);
	if (!S_ISREG(st.st_mode))
		return err_set(-EINVAL, "'%.*s' is no regular file", SHOWN,
			       path);
	(void)snprintf(again, sizeof(again), "/proc/self/fd/%d", place);
	fd = open(again, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fail(-errno, path);
	*ret_fd = fd;
	return 0;
}

static int check_absolute(const char *path)
{
	return path[0] == '/' ? 0
			      : err_set(-EINVAL, "'%.*s' is no absolute path",
					SHOWN, path);
}

int confine_open(const struct confine *c, const char *path, int *ret_fd)
{
	int r = check_absolute(path);

	if (r < 0)
		return r;
	r = err_set(-EXDEV, "'%.*s' lies in no folder that is allowed", SHOWN,
		    path);
	for (size_t i = 0; i < c->count; i++) {
		const struct folder *f = &c->folders[i];
		const char *rest = below(f->given, path)
					   ?: below(f->real, path);
		_cleanup_close_ int place = -1;

		if (!rest)
			continue;
		place = resolve_beneath(f->fd, rest);
		if (place >= 0)
			return open_place(place, path, ret_fd);
		r = fail(place, path);
	}
	return r;
}

int confine_look(const char *path, int *ret_fd)
{
	int fd, r = check_absolute(path);

	if (r < 0)
		return r;
	fd = resolve(AT_FDCWD, path, RESOLVE_NO_MAGICLINKS);
	if (is_missing(fd)) {
		_cleanup_close_ int root = open("/", O_PATH | O_CLOEXEC);

		fd = root < 0 ? -errno : walk(root, path);
	}
	if (fd < 0)
		return fail(fd, path);
	*ret_fd = fd;
	return 0;
}
