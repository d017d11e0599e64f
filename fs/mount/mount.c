/*
 * Why not libfuse's own loop: it ends on a signal or on the next request, and
 * a daemon that unmounts has neither at hand. Here each thread reads its own
 * clone of the device and is cancelled while it waits in that read, the only
 * place where it can be cancelled. libfuse replies through custom_write(), in
 * the thread that has the request and so on the device that it came from.
 *
 * All threads serve all requests. A request is answered by the thread that
 * read it before that reads the next, so there are never more readers of the
 * store than threads.
 */
#include "fs/mount/mount.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <mntent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/mount/ops.h"
#include "fs/store/store.h"

#define MOUNT_MAGIC   UINT32_C(0x4d4f554e)
#define THREADS_MAX   64u
#define THREADS_AUTO  8u
#define THREADS_LEAST 4u
#define SUBTYPE	      "pagerfs"

/* The largest request, with its header as libfuse reckons it. */
#define REQUEST_SIZE (GATHER_READ_MAX + 4096u)

struct server {
	struct mount *mount;
	pthread_t thread;
	bool started;
	int fd;		  /* the thread's clone of the device */
	uint8_t *request; /* REQUEST_SIZE bytes */
	struct gather *gather;
};

struct mount {
	uint32_t magic;
	struct ops_context context;
	struct fuse_session *session;
	char *path;
	bool mounted;
	size_t readahead;
	int nice;
	int ended_fd;
	struct server servers[THREADS_MAX];
	unsigned int server_count;
	unsigned int over_count; /* of the servers */
};

/* The device of the thread that runs. */
static _Thread_local int thread_device = -1;

static ssize_t custom_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

static ssize_t custom_write(int fd, struct iovec *iov, int count,
			    void *userdata)
{
	(void)fd;
	(void)userdata;
	return writev(thread_device, iov, count);
}

static const struct fuse_custom_io custom_io = {
	.read = custom_read,
	.writev = custom_write,
};

/* One request's bytes; -ENODEV once the mount has ended. */
static ssize_t receive(struct server *s)
{
	ssize_t n;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	n = read(s->fd, s->request, REQUEST_SIZE);
	if (n < 0)
		n = -errno;
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return n;
}

/* ENOENT: the request was interrupted before we had it. */
static bool may_go_on(ssize_t n)
{
	return n == -EINTR || n == -EAGAIN || n == -ENOENT;
}

static void *serve(void *arg)
{
	const uint64_t one = 1;
	struct server *s = arg;
	struct mount *m = s->mount;
	ssize_t n = 0;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	/* Of this thread alone; without the right to, it stays as it was. */
	if (m->nice)
		(void)setpriority(PRIO_PROCESS, 0, m->nice);
	thread_device = s->fd;
	ops_enter_thread(s->gather);
	while (!fuse_session_exited(m->session)) {
		struct fuse_buf buf = {.mem = s->request};

		n = receive(s);
		if (n <= 0 && !may_go_on(n))
			break;
		if (n <= 0)
			continue;
		buf.size = (size_t)n;
		fuse_session_process_buf(m->session, &buf);
	}
	if (n < 0 && n != -ENODEV)
		log_error("mount: reading requests: %s path=%s",
			  strerrordesc_np((int)-n), m->path);
	/* An eventfd takes 8 bytes as long as its sum does not overflow. */
	if (write(m->ended_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		abort();
	return NULL;
}

static int clone_device(const struct mount *m, int *ret_fd)
{
	uint32_t master = (uint32_t)fuse_session_fd(m->session);
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &master) < 0)
		return err_set(-errno, "cannot clone /dev/fuse: %m");
	*ret_fd = steal_fd(fd);
	return 0;
}

static int init_server(struct mount *m, struct server *s)
{
	int r;

	s->mount = m;
	s->fd = -1;
	s->request = malloc(REQUEST_SIZE);
	r = s->request ? gather_open(&s->gather) : -ENOMEM;
	return r < 0 ? r : clone_device(m, &s->fd);
}

static void release_server(struct server *s)
{
	if (s->started) {
		(void)pthread_cancel(s->thread);
		(void)pthread_join(s->thread, NULL);
	}
	close_quietly(s->fd);
	gather_close(s->gather);
	free(s->request);
}

static unsigned int choose_threads(unsigned int asked)
{
	long processors;

	if (asked)
		return asked < THREADS_MAX ? asked : THREADS_MAX;
	processors = sysconf(_SC_NPROCESSORS_ONLN);
	/* More than there are processors: some wait for the disk. */
	if (processors < (long)THREADS_LEAST)
		return THREADS_LEAST;
	return processors < (long)THREADS_AUTO ? (unsigned int)processors
					       : THREADS_AUTO;
}

static int init_servers(struct mount *m, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		int r = init_server(m, &m->servers[m->server_count++]);

		if (r < 0)
			return r;
	}
	return 0;
}

/* In FUSE's option string a comma in a value is escaped. */
static int put_escaped(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			(void)fputc('\\', f);
		(void)fputc(*s, f);
	}
	return ferror(f) ? -ENOMEM : 0;
}

static int session_options(const struct mount_options *o, char **ret_text)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -ENOMEM;
	(void)fprintf(f,
		      "-osubtype=%s,nosuid,nodev,noexec,%s%sfsname=", SUBTYPE,
		      o->rdwr_open ? "" : "ro,",
		      o->allow_other ? "allow_other,default_permissions," : "");
	(void)put_escaped(f, store_path(o->view.store));
	if (fclose(f) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	return 0;
}

static int new_session(struct mount *m, const struct mount_options *o)
{
	char *argv[] = {(char *)SUBTYPE, NULL, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	_cleanup_free_ char *options = NULL;
	int r = session_options(o, &options);

	if (r < 0)
		return r;
	argv[1] = options;
	m->session = fuse_session_new(&args, &ops_table, sizeof(ops_table),
				      &m->context);
	fuse_opt_free_args(&args);
	return m->session ? 0 : err_set(-EINVAL, "libfuse takes no options");
}

static void end_mntent(FILE *f)
{
	if (f)
		(void)endmntent(f);
}

DEFINE_CLEANUP(mntent, FILE *, end_mntent)

/* The last mount on a path is the one that is seen there. */
static bool is_ours(const char *path)
{
	FILE *f cleanup(cleanup_mntent) = setmntent("/proc/self/mounts", "re");
	char buf[8192];
	struct mntent e;
	bool ours = false;

	while (f && getmntent_r(f, &e, buf, sizeof(buf)))
		if (strcmp(e.mnt_dir, path) == 0)
			ours = strcmp(e.mnt_type, "fuse." SUBTYPE) == 0;
	return ours;
}

/* Absolute, though what is mounted there may not answer. */
static int absolute_path(const char *path, char **ret_path)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_free_ char *parent = NULL;
	char *whole, *slash;

	if (!copy)
		return -ENOMEM;
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	slash = strrchr(copy, '/');
	if (!slash || slash[1] == '\0' || strcmp(slash, "/..") == 0 ||
	    strcmp(slash, "/.") == 0) {
		whole = realpath(copy, NULL);
	} else {
		*slash = '\0';
		parent = realpath(*copy ? copy : "/", NULL);
		if (!parent ||
		    asprintf(&whole, "%s/%s", strcmp(parent, "/") ? parent : "",
			     slash + 1) < 0)
			whole = NULL;
	}
	if (!whole)
		return err_set(-errno, "%s: %m", path);
	*ret_path = whole;
	return 0;
}

/*
 * The mount of a process that was killed answers ENOTCONN until it is gone.
 * statvfs() asks the file system itself; what stat() says the kernel may know.
 */
static int clear_path(const char *path)
{
	struct statvfs fs;

	while (statvfs(path, &fs) < 0) {
		if (errno != ENOTCONN || !is_ours(path))
			return err_set(-errno, "%s: %m", path);
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return err_set(-errno,
				       "%s: a dead mount is there: %m; try "
				       "fusermount3 -uz",
				       path);
	}
	return 0;
}

static int check_path(const char *path)
{
	struct stat st;
	int r = clear_path(path);

	if (r < 0)
		return r;
	if (is_ours(path))
		return err_set(-EBUSY,
			       "%s: a store is mounted there already; end that "
			       "with umount, or choose another folder",
			       path);
	if (stat(path, &st) < 0)
		return err_set(-errno, "%s: %m", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(-ENOTDIR, "%s: no folder", path);
	return 0;
}

static int mount_session(struct mount *m)
{
	int r = check_path(m->path);

	if (r < 0)
		return r;
	/* libfuse has said on stderr what it knows. */
	if (fuse_session_mount(m->session, m->path) < 0)
		return err_set(-EPERM, "cannot mount on %s", m->path);
	m->mounted = true;
	r = fuse_session_custom_io(m->session, &custom_io,
				   fuse_session_fd(m->session));
	return r < 0 ? err_set(r, "libfuse takes no custom I/O") : 0;
}

static int new_tree(struct mount *m, const struct mount_options *o)
{
	const struct tree_options options = {
		.view = o->view,
		.status = o->status,
		.uid = o->uid,
		.gid = o->gid,
	};

	return tree_new(&options, &m->context.tree);
}

DEFINE_CLEANUP(mount, struct mount *, mount_free)

int mount_new(const struct mount_options *options, struct mount **ret_mount)
{
	struct mount *m cleanup(cleanup_mount) = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->magic = MOUNT_MAGIC;
	opens_init(&m->context.opens, options->most_open);
	m->context.rdwr_open = options->rdwr_open;
	m->readahead = options->readahead;
	m->nice = options->nice;
	m->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->ended_fd < 0)
		return -errno;
	r = absolute_path(options->path, &m->path);
	if (r == 0)
		r = new_tree(m, options);
	if (r == 0)
		r = new_session(m, options);
	if (r == 0)
		r = mount_session(m);
	if (r == 0)
		r = init_servers(m, choose_threads(options->threads));
	if (r < 0)
		return r;
	*ret_mount = steal_ptr(m);
	return 0;
}

/* Best effort: more than the kernel's own bound is root's to set. */
static void raise_readahead(const struct mount *m)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64];
	struct stat st;

	if (!m->readahead || stat(m->path, &st) < 0)
		return;
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb",
		       major(st.st_dev), minor(st.st_dev));
	f = fopen(path, "we");
	if (f)
		(void)fprintf(f, "%zu", m->readahead >> 10);
}

int mount_start(struct mount *m)
{
	assert(m->magic == MOUNT_MAGIC);
	for (unsigned int i = 0; i < m->server_count; i++) {
		struct server *s = &m->servers[i];
		int r = pthread_create(&s->thread, NULL, serve, s);

		if (r)
			return err_set(-r, "cannot start a thread");
		s->started = true;
	}
	raise_readahead(m);
	return 0;
}

int mount_ended_fd(const struct mount *m)
{
	assert(m->magic == MOUNT_MAGIC);
	return m->ended_fd;
}

bool mount_is_over(struct mount *m)
{
	uint64_t more;

	assert(m->magic == MOUNT_MAGIC);
	if (read(m->ended_fd, &more, sizeof(more)) == (ssize_t)sizeof(more))
		m->over_count += (unsigned int)more;
	return m->over_count == m->server_count;
}

void mount_detach(struct mount *m)
{
	assert(m->magic == MOUNT_MAGIC);
	if (!m->mounted)
		return;
	m->mounted = false;
	fuse_session_unmount(m->session);
	/* It leaves one whose connection was aborted. */
	(void)clear_path(m->path);
}

void mount_free(struct mount *m)
{
	if (!m)
		return;
	assert(m->magic == MOUNT_MAGIC);
	for (unsigned int i = 0; i < m->server_count; i++)
		release_server(&m->servers[i]);
	mount_detach(m);
	if (m->session)
		fuse_session_destroy(m->session);
	opens_release(&m->context.opens);
	tree_free(m->context.tree);
	close_quietly(m->ended_fd);
	free(m->path);
	m->magic = 0;
	free(m);
}
