#include "pagerd/control/cache/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/cache/admin/resize.h"
#include "fs/io/file.h"
#include "fs/io/text.h"
#include "pagerd/control/daemon.h"

#define MACHINE	  "/proc/pressure/memory"
#define GROUPS	  "/sys/fs/cgroup"
#define FILE_MAX  4096
#define PERIOD_MS 1000
#define SHORT	  0.10 /* stalled for so much of the time */
#define RELAXED	  0.01
#define FULL	  0.95 /* of the control group's limit */
#define ROOM	  0.85
#define TRIGGER	  "some 100000 1000000" /* 100 ms of a second */
#define SHRINK	  8
#define GROW	  16

struct pressure {
	struct cache *cache;
	char group[PATH_MAX]; /* "": none */
	int trigger; /* becomes ready when memory gets short; -1: none */
	int stop;    /* an eventfd */
	pthread_t thread;
	struct pressure_state state; /* the thread's, as all below */
	uint64_t total_us, read_ns;
};

static bool is_short(const struct pressure_figures *f)
{
	return f->stalled >= SHORT ||
	       (f->limit && (double)f->used > (double)f->limit * FULL);
}

static bool has_room(const struct pressure_figures *f, uint64_t more)
{
	return f->stalled < RELAXED &&
	       (!f->limit ||
		(double)(f->used + more) < (double)f->limit * ROOM);
}

uint64_t pressure_decide(struct pressure_state *state,
			 const struct pressure_figures *figures, uint64_t limit)
{
	uint64_t step;

	if (limit != state->set)
		state->wanted = limit;
	state->set = limit;
	step = state->wanted / GROW;
	if (is_short(figures)) {
		state->calm = 0;
		return limit - limit / SHRINK;
	}
	if (limit >= state->wanted || !has_room(figures, step)) {
		state->calm = 0;
		return limit;
	}
	if (++state->calm < PRESSURE_CALM)
		return limit;
	state->calm = 0;
	return state->wanted - limit < step ? state->wanted : limit + step;
}

/* The text of a small file; the caller frees. */
static int read_text(const char *folder, const char *name, char **ret_text)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = calloc(1, FILE_MAX);
	ssize_t n;

	if (!text)
		return -ENOMEM;
	(void)snprintf(path, sizeof(path), "%s%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, FILE_MAX - 1);
	if (n < 0)
		return -errno;
	*ret_text = steal_ptr(text);
	return 0;
}

/* "max", or a number of bytes. */
static uint64_t read_bytes(const char *folder, const char *name)
{
	_cleanup_free_ char *text = NULL;
	uint64_t bytes = 0;

	if (read_text(folder, name, &text) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return text_parse_u64(text, &bytes) < 0 ? 0 : bytes;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345" */
static int read_total(const char *folder, const char *name, uint64_t *ret_us)
{
	_cleanup_free_ char *text = NULL;
	const char *some, *total;
	int r = read_text(folder, name, &text);

	if (r < 0)
		return r;
	some = strstr(text, "some ");
	total = some ? strstr(some, "total=") : NULL;
	if (!total)
		return -ENOENT;
	*ret_us = strtoull(total + strlen("total="), NULL, 10);
	return 0;
}

int pressure_read(const char *group, uint64_t elapsed_ns, uint64_t *total_us,
		  struct pressure_figures *ret_figures)
{
	struct pressure_figures f = {0};
	uint64_t now_us = 0;
	int r = *group ? read_total(group, "/memory.pressure", &now_us)
		       : -ENOENT;

	if (r < 0)
		r = read_total("", MACHINE, &now_us);
	if (*group) {
		f.limit = read_bytes(group, "/memory.max");
		f.used = read_bytes(group, "/memory.current");
	}
	if (r < 0 && !f.limit)
		return -ENOENT;
	if (*total_us && now_us > *total_us && elapsed_ns)
		f.stalled = (double)(now_us - *total_us) * 1000 /
			    (double)elapsed_ns;
	*total_us = now_us;
	*ret_figures = f;
	return 0;
}

static void step(struct pressure *p)
{
	uint64_t now = daemon_now(), limit, wanted;
	struct pressure_figures figures;
	struct resize_report report;
	struct cache_stats stats;
	char was[TEXT_SIZE_MAX], is[TEXT_SIZE_MAX];

	if (pressure_read(p->group, now - p->read_ns, &p->total_us, &figures) <
	    0)
		return;
	p->read_ns = now;
	cache_stats(p->cache, &stats);
	limit = stats.limit;
	wanted = pressure_decide(&p->state, &figures, limit);
	if (wanted == limit || resize_cache(p->cache, wanted, &report) < 0 ||
	    report.limit == limit)
		return;
	p->state.set = report.limit;
	log_info("memory pressure: the cache's limit goes from %s to %s; "
		 "stalled for %.0f %% of the time, control group at %llu of "
		 "%llu bytes",
		 text_size(limit, was), text_size(report.limit, is),
		 figures.stalled * 100, (unsigned long long)figures.used,
		 (unsigned long long)figures.limit);
}

static void *work(void *arg)
{
	struct pressure *p = arg;
	struct pollfd fds[] = {
		{.fd = p->stop, .events = POLLIN},
		{.fd = p->trigger, .events = POLLPRI},
	};

	while (!(fds[0].revents & POLLIN)) {
		step(p);
		if (poll(fds, 2, PERIOD_MS) < 0 && errno != EINTR)
			break;
		/* The group has gone: the period has to do. */
		if (fds[1].revents & (POLLERR | POLLNVAL))
			fds[1].fd = -1;
	}
	return NULL;
}

/* "0::/system.slice/pagerd.service" */
static void find_group(char group[PATH_MAX])
{
	_cleanup_free_ char *text = NULL;
	const char *path;

	group[0] = '\0';
	if (read_text("", "/proc/self/cgroup", &text) < 0)
		return;
	path = strstr(text, "0::/");
	if (!path)
		return;
	path += strlen("0::");
	(void)snprintf(group, PATH_MAX, "%s%.*s", GROUPS,
		       (int)strcspn(path, "\n"), path);
}

/* Without it, or where we may not, once a second is often enough. */
static int open_trigger(const char *group)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX + 32];

	(void)snprintf(path, sizeof(path), "%s/memory.pressure", group);
	fd = open(*group ? path : MACHINE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || write(fd, TRIGGER, sizeof(TRIGGER)) < 0)
		return -1;
	return steal_fd(fd);
}

static void release(struct pressure *p)
{
	close_quietly(p->trigger);
	close_quietly(p->stop);
	free(p);
}

static int start(struct pressure *p)
{
	struct pressure_figures figures;
	int r;

	if (p->stop < 0)
		return err_set(-errno, "memory pressure: %m");
	if (pressure_read(p->group, 0, &p->total_us, &figures) < 0)
		return err_set(
			-EOPNOTSUPP,
			"memory pressure: the kernel has neither " MACHINE
			" nor a control group with a limit");
	p->read_ns = daemon_now();
	r = pthread_create(&p->thread, NULL, work, p);
	return r ? err_set(-r, "memory pressure: cannot start a thread") : 0;
}

int pressure_new(struct cache *c, const char *group,
		 struct pressure **ret_pressure)
{
	struct pressure *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->cache = c;
	if (group)
		(void)snprintf(p->group, sizeof(p->group), "%s", group);
	else
		find_group(p->group);
	p->trigger = open_trigger(p->group);
	p->stop = eventfd(0, EFD_CLOEXEC);
	r = start(p);
	if (r < 0) {
		release(p);
		return r;
	}
	*ret_pressure = p;
	return 0;
}

void pressure_free(struct pressure *p)
{
	if (!p)
		return;
	(void)eventfd_write(p->stop, 1);
	if (pthread_join(p->thread, NULL))
		abort(); /* it is ours, and joined once */
	release(p);
}
