#include "pagerd/control/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/text.h"

#define RUNDIR_MODE	   0711
#define RUNDIR_SOCKET_MODE 0600
#define RUNDIR_LOCK	   "pagerd.lock"
#define RUNDIR_SESSIONS	   "sessions"
#define RUNDIR_SOCKET	   "control.sock"
#define RUNDIR_TEMP	   "control.sock.new"

struct rundir {
	char *path;
	char *sessions;
	int fd;
	int lock_fd;
	bool listens; /* control.sock is ours to remove */
};

static int fail(const char *path, const char *what)
{
	return err_set(-errno, "%s: %s: %s", path, what,
		       strerrordesc_np(errno));
}

/* Whoever can write here could put a socket of his own in our place. */
static int check_ours(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(path, "cannot look at it");
	if (st.st_uid != geteuid())
		return err_set(-EPERM,
			       "%s: belongs to user %u, pagerd runs as %u; "
			       "choose another --runtime",
			       path, st.st_uid, geteuid());
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(-EPERM,
			       "%s: others may write to it (mode %04o); chmod "
			       "it, or choose another --runtime",
			       path, st.st_mode & 07777);
	return 0;
}

/*
 * The mode that mkdir(2) gives is cut by the umask, so it is set again, but
 * only on what we made: an operator's own choice stays.
 */
static int open_folder(int dirfd, const char *name, const char *path)
{
	bool made = mkdirat(dirfd, name, RUNDIR_MODE) == 0;
	_cleanup_close_ int fd = -1;
	int r;

	if (!made && errno != EEXIST)
		return fail(path, "cannot make it");
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(path, "cannot open it");
	if (made && fchmod(fd, RUNDIR_MODE) < 0)
		return fail(path, "chmod");
	r = check_ours(fd, path);
	return r < 0 ? r : steal_fd(fd);
}

static int refuse_second(int lock_fd, const char *path)
{
	char pid[16];
	uint64_t number;
	ssize_t len = pread(lock_fd, pid, sizeof(pid) - 1, 0);

	pid[len > 0 ? len : 0] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
	/* Between its lock and its note the other one has no number yet. */
	return err_set(-EBUSY,
		       "%s: another pagerd (pid %s) runs here; stop it or "
		       "choose another --runtime",
		       path, text_parse_u64(pid, &number) == 0 ? pid : "?");
}

static int take_lock(struct rundir *rd)
{
	char pid[16];
	int len;

	rd->lock_fd = openat(rd->fd, RUNDIR_LOCK,
			     O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (rd->lock_fd < 0)
		return fail(rd->path, RUNDIR_LOCK);
	if (flock(rd->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? refuse_second(rd->lock_fd, rd->path)
			       : fail(rd->path, RUNDIR_LOCK);
	len = snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (ftruncate(rd->lock_fd, 0) < 0 ||
	    pwrite(rd->lock_fd, pid, (size_t)len, 0) != len)
		return fail(rd->path, RUNDIR_LOCK);
	return 0;
}

static int open_sessions(struct rundir *rd)
{
	int fd;

	if (asprintf(&rd->sessions, "%s/" RUNDIR_SESSIONS, rd->path) < 0) {
		rd->sessions = NULL;
		return -ENOMEM;
	}
	fd = open_folder(rd->fd, RUNDIR_SESSIONS, rd->sessions);
	if (fd < 0)
		return fd;
	close_quietly(fd);
	return 0;
}

static int open_into(const char *path, struct rundir *rd)
{
	int r;

	rd->fd = open_folder(AT_FDCWD, path, path);
	if (rd->fd < 0)
		return rd->fd;
	rd->path = realpath(path, NULL);
	if (!rd->path)
		return fail(path, "cannot resolve it");
	r = take_lock(rd);
	if (r < 0)
		return r;
	return open_sessions(rd);
}

int rundir_open(const char *path, struct rundir **ret_rundir)
{
	struct rundir *rd = malloc(sizeof(*rd));
	int r;

	if (!rd)
		return -ENOMEM;
	*rd = (struct rundir){.fd = -1, .lock_fd = -1};
	r = open_into(path, rd);
	if (r < 0) {
		rundir_close(rd);
		return r;
	}
	*ret_rundir = rd;
	return 0;
}

void rundir_close(struct rundir *rd)
{
	if (!rd)
		return;
	if (rd->listens)
		(void)unlinkat(rd->fd, RUNDIR_SOCKET, 0);
	close_quietly(rd->lock_fd);
	close_quietly(rd->fd);
	free(rd->sessions);
	free(rd->path);
	free(rd);
}

const char *rundir_path(const struct rundir *rd)
{
	return rd->path;
}

const char *rundir_sessions(const struct rundir *rd)
{
	return rd->sessions;
}

/*
 * fchmod(2) before bind(2): the name is born with mode 0600 at most. What a
 * strict umask, which belongs to the whole process, has cut is given back.
 */
static int bind_and_listen(const struct rundir *rd, int fd,
			   const struct sockaddr_un *address)
{
	if (fchmod(fd, RUNDIR_SOCKET_MODE) < 0 ||
	    bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    fchmodat(rd->fd, RUNDIR_TEMP, RUNDIR_SOCKET_MODE, 0) < 0 ||
	    listen(fd, SOMAXCONN) < 0)
		return -errno;
	return 0;
}

int rundir_listen(struct rundir *rd)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int len = snprintf(address.sun_path, sizeof(address.sun_path),
			   "%s/" RUNDIR_TEMP, rd->path);

	if (len >= (int)sizeof(address.sun_path))
		return err_set(-ENAMETOOLONG,
			       "%s: too long a path for a socket in it",
			       rd->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(rd->path, "socket");
	if (unlinkat(rd->fd, RUNDIR_TEMP, 0) < 0 && errno != ENOENT)
		return fail(rd->path, RUNDIR_TEMP);
	if (bind_and_listen(rd, fd, &address) < 0)
		return fail(rd->path, RUNDIR_TEMP);
	if (renameat(rd->fd, RUNDIR_TEMP, rd->fd, RUNDIR_SOCKET) < 0)
		return fail(rd->path, RUNDIR_SOCKET);
	rd->listens = true;
	return steal_fd(fd);
}
