#include "pagerd/control/mount/daemonmount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/cache/admin/resize.h"
#include "fs/mount/mount.h"
#include "fs/mount/read/gather.h"
#include "fs/store/pack/codec.h"
#include "pagerd/control/cache/cachejson.h"
#include "pagerd/control/stats.h"

/* Each reads by itself, and holds GATHER_BATCH slots while it does. */
#define THREADS 4u

/* Of the file descriptors, for files that are open in the mount. */
#define OPEN_SHARE 4u

#define NICE	  5
#define READAHEAD ((size_t)1 << 20)

struct daemonmount {
	struct mount *mount; /* NULL once it has ended and is let go of */
	char *path;
	bool ended;
};

static json_t *show_stats(struct daemon *d)
{
	struct stats s;

	return stats_take(d, &s) < 0 ? NULL : stats_to_json(&s);
}

static json_t *show_health(struct daemon *d)
{
	return stats_health(d);
}

static json_t *show_cache(struct daemon *d)
{
	return cachejson_show(d);
}

static json_t *show_sessions(struct daemon *d)
{
	return stats_sessions(d);
}

static const char *const names[] = {"health", "stats", "cache", "sessions"};
static json_t *(*const shows[])(struct daemon *d) = {show_health, show_stats,
						     show_cache, show_sessions};

#define NAMES (sizeof(names) / sizeof(names[0]))
_Static_assert(NAMES == sizeof(shows) / sizeof(shows[0]), "one each");

/* A tree_status.get; the tree asks for the names that it was given. */
static json_t *show(void *arg, const char *name)
{
	for (size_t i = 0; i < NAMES; i++)
		if (strcmp(name, names[i]) == 0)
			return shows[i](arg);
	return NULL;
}

static unsigned int most_open(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
	    limit.rlim_cur / OPEN_SHARE > UINT16_MAX)
		return UINT16_MAX;
	return (unsigned int)(limit.rlim_cur / OPEN_SHARE);
}

/* What its threads read and decompress with counts within the bound. */
static int charge_threads(struct cache *c)
{
	int r = resize_charge(c, CACHE_CHARGE_READS, THREADS * gather_bytes());

	if (r == 0)
		r = resize_charge(c, CACHE_CHARGE_DECODERS,
				  THREADS * coder_bytes());
	return r;
}

static int mount_and_start(struct daemon *d, struct daemonmount *m)
{
	const struct mount_options options = {
		.view = {d->store, d->cache, store_source(d->store)},
		.status = {names, NAMES, show, d},
		.path = m->path,
		.threads = THREADS,
		.nice = NICE,
		.readahead = READAHEAD,
		.most_open = most_open(),
		.uid = geteuid(),
		.gid = getegid(),
	};
	int r = mount_new(&options, &m->mount);

	if (r == 0)
		r = mount_start(m->mount);
	return r < 0 ? err_wrap(r, "mount") : 0;
}

DEFINE_CLEANUP(daemonmount, struct daemonmount *, daemonmount_free)

int daemonmount_new(struct daemon *d, const char *path,
		    struct daemonmount **ret_mount)
{
	struct daemonmount *m cleanup(cleanup_daemonmount) =
		calloc(1, sizeof(*m));
	int r;

	if (!m || !(m->path = strdup(path)))
		return -ENOMEM;
	r = charge_threads(d->cache);
	if (r == 0)
		r = mount_and_start(d, m);
	if (r < 0)
		return r;
	log_info("mounted path=%s", m->path);
	*ret_mount = steal_ptr(m);
	return 0;
}

int daemonmount_fd(const struct daemonmount *m)
{
	return m && m->mount ? mount_ended_fd(m->mount) : -1;
}

void daemonmount_note(struct daemonmount *m)
{
	bool over = mount_is_over(m->mount);

	if (!m->ended) {
		mount_detach(m->mount);
		m->ended = true;
		log_warn("mount: somebody has ended it; sessions go on "
			 "path=%s",
			 m->path);
	}
	/* Before, it would wait for a thread that waits for the disk. */
	if (!over)
		return;
	mount_free(m->mount);
	m->mount = NULL;
}

void daemonmount_leave(struct daemonmount *m)
{
	if (m && m->mount)
		mount_detach(m->mount);
}

void daemonmount_free(struct daemonmount *m)
{
	if (!m)
		return;
	mount_free(m->mount);
	free(m->path);
	free(m);
}
