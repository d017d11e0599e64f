#include "tests/bench/mount/minimal.h"

#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"

#define FILE_NODE 2
#define TIMEOUT	  3600.0

struct minimal {
	char *path;
	pid_t server;
};

/* The server process's. */
static struct {
	const char *data;
	size_t size;
} memory;

static void describe(fuse_ino_t ino, struct stat *ret_stat)
{
	*ret_stat = (struct stat){
		.st_ino = ino,
		.st_nlink = 1,
		.st_mode = ino == FILE_NODE ? S_IFREG | 0400 : S_IFDIR | 0500,
		.st_size = ino == FILE_NODE ? (off_t)memory.size : 0,
	};
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {
		.ino = FILE_NODE,
		.attr_timeout = TIMEOUT,
		.entry_timeout = TIMEOUT,
	};

	if (parent != FUSE_ROOT_ID || strcmp(name, "memory") != 0) {
		(void)fuse_reply_err(req, ENOENT);
		return;
	}
	describe(FILE_NODE, &e.attr);
	(void)fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	describe(ino, &st);
	(void)fuse_reply_attr(req, &st, TIMEOUT);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->keep_cache = 1;
	(void)fuse_reply_open(req, fi);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	size_t from = (size_t)offset;

	(void)ino;
	(void)fi;
	if (from > memory.size)
		from = memory.size;
	if (size > memory.size - from)
		size = memory.size - from;
	(void)fuse_reply_buf(req, memory.data + from, size);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = do_lookup,
	.getattr = do_getattr,
	.open = do_open,
	.read = do_read,
};

static int load_memory(const char *image)
{
	_cleanup_close_ int fd = open(image, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *data;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	data = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED)
		return -errno;
	memory.data = data;
	memory.size = (size_t)st.st_size;
	return file_pread(fd, data, memory.size, 0, INJECT_POINT_COUNT);
}

static int loop(struct fuse_session *session, unsigned int threads)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, threads);
	fuse_loop_cfg_set_idle_threads(config, threads);
	r = fuse_session_loop_mt(session, config);
	fuse_loop_cfg_destroy(config);
	return r;
}

/* The server's exit status. One byte goes to `ready` once it is mounted. */
static int serve(const char *path, const char *image, unsigned int threads,
		 int ready)
{
	char *argv[] = {(char *)"minimal", (char *)"-oro", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	struct fuse_session *session;

	if (load_memory(image) < 0)
		return 1;
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session || fuse_session_mount(session, path) < 0 ||
	    write(ready, "", 1) != 1)
		return 1;
	close_quietly(ready);
	(void)loop(session, threads);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return 0;
}

DEFINE_CLEANUP(minimal, struct minimal *, minimal_stop)

int minimal_start(const char *path, const char *image, unsigned int threads,
		  struct minimal **ret_minimal)
{
	struct minimal *m cleanup(cleanup_minimal) = calloc(1, sizeof(*m));
	int fds[2];
	char byte;
	ssize_t n;

	if (!m)
		return -ENOMEM;
	m->path = strdup(path);
	if (!m->path)
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(-errno, "pipe: %m");
	m->server = fork();
	if (m->server == 0)
		_exit(serve(path, image, threads, fds[1]));
	close_quietly(fds[1]);
	n = m->server < 0 ? -1 : read(fds[0], &byte, 1);
	close_quietly(fds[0]);
	if (n != 1)
		return err_set(-EIO, "the minimal file system does not start");
	*ret_minimal = steal_ptr(m);
	return 0;
}

pid_t minimal_process(const struct minimal *m)
{
	return m->server;
}

void minimal_stop(struct minimal *m)
{
	if (!m)
		return;
	/* Its loop ends with the mount. */
	(void)umount2(m->path, MNT_DETACH | UMOUNT_NOFOLLOW);
	if (m->server > 0)
		(void)waitpid(m->server, NULL, 0);
	free(m->path);
	free(m);
}
