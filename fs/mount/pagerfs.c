/*
 * pagerfs: mounts a store without a daemon.
 *
 * In the background mode the parent forks before there is any thread or lock
 * and waits until the child says whether the mount can be used.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/cache/cache.h"
#include "fs/mount/mount.h"
#include "fs/mount/options.h"
#include "fs/store/store.h"

enum { EXIT_USAGE = 2 };

DEFINE_CLEANUP(store, struct store *, store_unref)
DEFINE_CLEANUP(cache, struct cache *, cache_free)
DEFINE_CLEANUP(mount, struct mount *, mount_free)

static int complain(const char *what, int r)
{
	(void)fprintf(stderr, "pagerfs: %s: %s\n", what, err_text(r));
	return r;
}

/* The cache's counters, for .pager/cache.json. */
static json_t *cache_status(void *arg, const char *name)
{
	struct cache_stats s;
	json_t *classes = json_object(), *all;

	(void)name;
	cache_stats(arg, &s);
	for (int i = 0; i < CACHE_CLASS_COUNT; i++)
		(void)json_object_set_new(
			classes, cache_class_name((enum cache_class)i),
			json_pack("{s:I, s:I, s:I}", "hits",
				  (json_int_t)s.by_class[i].hits, "misses",
				  (json_int_t)s.by_class[i].misses, "waits",
				  (json_int_t)s.by_class[i].waits));
	all = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "bytes",
		(json_int_t)s.bytes, "limit", (json_int_t)s.limit, "blocks",
		(json_int_t)s.blocks, "pinned", (json_int_t)s.pinned, "hits",
		(json_int_t)s.hits, "misses", (json_int_t)s.misses, "evictions",
		(json_int_t)s.evictions, "failures", (json_int_t)s.failures);
	if (all)
		(void)json_object_set_new(all, "classes", classes);
	return all;
}

/* Leases want the store to be writable; a read-only one has no removals. */
static int open_store(const char *path, struct store **ret_store)
{
	int r = store_open(path, STORE_WRITE, ret_store);

	if (r == -EROFS || r == -EACCES || r == -EPERM)
		r = store_open(path, STORE_READ, ret_store);
	return r;
}

/* An open file of the mount takes a descriptor here, for its lease. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Until a signal, or until somebody else has unmounted. */
static int wait_for_end(const struct mount *m, const sigset_t *signals)
{
	_cleanup_close_ int fd = signalfd(-1, signals, SFD_CLOEXEC);
	struct pollfd fds[] = {
		{.fd = fd, .events = POLLIN},
		{.fd = mount_ended_fd(m), .events = POLLIN},
	};

	if (fd < 0)
		return -errno;
	while (poll(fds, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Tells the parent, if there is one, that the mount can be used. */
static int say_ready(int ready_fd)
{
	_cleanup_close_ int null = -1;

	if (ready_fd < 0) {
		log_info("ready");
		return 0;
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0 ||
	    write(ready_fd, "", 1) != 1)
		return -errno;
	close_quietly(ready_fd);
	return 0;
}

static int serve(const struct pagerfs_options *o, int ready_fd)
{
	static const char *const status_names[] = {"cache"};
	struct store *store cleanup(cleanup_store) = NULL;
	struct cache *cache cleanup(cleanup_cache) = NULL;
	struct mount *m cleanup(cleanup_mount) = NULL;
	const struct cache_options cache_options = {.limit = o->cache_bytes};
	struct mount_options mount_options = {
		.path = o->path,
		.threads = o->threads,
		.readahead = o->readahead,
		.allow_other = o->allow_other,
		.rdwr_open = o->rdwr_open,
		.uid = o->uid,
		.gid = o->gid,
	};
	sigset_t signals;
	int r = open_store(o->store, &store);

	if (r < 0)
		return complain(o->store, r);
	r = cache_new(&cache_options, &cache);
	if (r < 0)
		return complain("the cache", r);
	mount_options.view = (struct view){store, cache, store_source(store)};
	mount_options.status =
		(struct tree_status){status_names, 1, cache_status, cache};
	/* Before there are threads, which inherit it. */
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	r = mount_new(&mount_options, &m);
	if (r == 0)
		r = mount_start(m);
	if (r == 0)
		r = say_ready(ready_fd);
	if (r == 0)
		r = wait_for_end(m, &signals);
	return r < 0 ? complain("mounting", r) : 0;
}

/* The parent's end: 0 once the child has said that it is ready. */
static int await_child(int fd)
{
	char ready;
	ssize_t n;

	do {
		n = read(fd, &ready, 1);
	} while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -EIO; /* the child has said why */
}

static int serve_in_background(const struct pagerfs_options *o)
{
	int fds[2], r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return complain("pipe", -errno);
	pid = fork();
	if (pid < 0)
		return complain("fork", -errno);
	if (pid > 0) {
		close_quietly(fds[1]);
		r = await_child(fds[0]);
		close_quietly(fds[0]);
		return r;
	}
	close_quietly(fds[0]);
	(void)setsid();
	return serve(o, fds[1]);
}

int main(int argc, char **argv)
{
	struct pagerfs_options o;
	int r = options_parse(argc, argv, &o);

	if (r < 0) {
		(void)complain("usage", r);
		return EXIT_USAGE;
	}
	if (o.help) {
		options_print_help(stdout);
	} else if (o.manual) {
		options_print_manual(stdout);
	} else if (o.version) {
		(void)puts("pagerfs " PAGER_VERSION);
	} else {
		raise_file_limit();
		r = o.foreground ? serve(&o, -1) : serve_in_background(&o);
	}
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
