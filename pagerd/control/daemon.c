#include "pagerd/control/daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/cache/admin/jobs.h"
#include "fs/cache/admin/resize.h"
#include "fs/cache/fetch.h"
#include "fs/cache/observe/trace.h"
#include "fs/store/pack/codec.h"
#include "fs/io/confine.h"
#include "fs/store/lease/removed.h"
#include "pagerd/control/cache/pressure.h"
#include "pagerd/control/http/server.h"
#include "pagerd/control/import/importer.h"
#include "pagerd/control/mount/daemonmount.h"
#include "pagerd/uffd/recover/vault.h"

uint64_t daemon_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/*
 * What threads need to read and decompress counts within the bound: workers,
 * those of the control socket, the one of cache jobs, and this one. A mount
 * counts its own.
 */
static int charge_threads(const struct daemon_options *o, struct cache *c)
{
	size_t decoders = o->workers + SERVER_THREADS + 2;
	int r = resize_charge(c, CACHE_CHARGE_READS,
			      o->workers * fetcher_bytes());

	if (r == 0)
		r = resize_charge(c, CACHE_CHARGE_DECODERS,
				  decoders * coder_bytes());
	return r;
}

static int make_cache(struct daemon *d, const struct daemon_options *options)
{
	const struct cache_options o = {.limit = options->cache_bytes};
	struct cache_stats stats;
	int r = cache_new(&o, &d->cache);

	if (r == 0)
		r = charge_threads(options, d->cache);
	if (r < 0)
		return err_wrap(r, "a cache of %llu bytes",
				(unsigned long long)options->cache_bytes);
	cache_stats(d->cache, &stats);
	if (stats.limit > options->cache_bytes)
		log_warn("the cache takes %zu bytes, the least with %u workers",
			 stats.limit, options->workers);
	return 0;
}

/* Its readers see all of the daemon, so it comes last. */
static int make_mount(const struct daemon_options *o, struct daemon *d)
{
	int r = o->mount ? daemonmount_new(d, o->mount, &d->mount) : 0;

	if (r < 0 && registry_count(d->registry) > 0) {
		log_error("%s; sessions are served without a mount",
			  err_text(r));
		r = 0;
	}
	return r;
}

/* They start threads. */
static int make_commands(const struct daemon_options *o, struct daemon *d)
{
	int r = pins_new(d->cache, &d->pins);

	if (r == 0)
		r = jobs_new(d->cache, d->pins, &d->jobs);
	if (r == 0 && o->memory_pressure)
		r = pressure_new(d->cache, NULL, &d->pressure);
	return r;
}

/* Before the workers run. */
static int open_trace(const struct daemon_options *o, struct daemon *d)
{
	int r;

	if (!o->fault_trace)
		return 0;
	r = trace_open(o->fault_trace, TRACE_BYTES_MAX, &d->trace);
	if (r == 0)
		r = resize_charge(d->cache, CACHE_CHARGE_TRACE, trace_bytes());
	if (r == 0)
		cache_set_trace(d->cache, d->trace);
	return r;
}

static void finish_trace(struct trace *t)
{
	struct trace_stats stats;

	if (!t)
		return;
	trace_finish(t);
	trace_stats(t, &stats);
	if (stats.error)
		log_warn("the fault trace ends early: %s",
			 strerrordesc_np(-stats.error));
	log_info("fault trace: %llu look-ups recorded, %llu not",
		 (unsigned long long)stats.recorded,
		 (unsigned long long)stats.lost);
}

/* The lock of the runtime directory first: it keeps a second daemon out. */
static int build(const struct daemon_options *o, struct daemon *d)
{
	int r = rundir_open(o->runtime, &d->rundir);

	/* Before the cache is there, and threads: see vault.h. */
	if (r == 0)
		r = vault_open(rundir_path(d->rundir), o->sandbox, &d->vault);
	if (r == 0)
		r = confine_new(o->imports, o->import_count, &d->imports);
	if (r == 0)
		r = store_open(o->store, STORE_READ, &d->store);
	if (r == 0) {
		removed_sweep(d->store);
		r = importer_new(d->store, d->imports, &d->importer);
	}
	if (r == 0)
		r = make_cache(d, o);
	if (r == 0)
		r = open_trace(o, d);
	if (r == 0) {
		const struct registry_options registry = {
			.store = d->store,
			.cache = d->cache,
			.vault = d->vault,
			.folder = rundir_sessions(d->rundir),
			.workers = o->workers,
			.max_sessions = o->max_sessions,
			.record_ns = o->record_ns,
			.record_pages = o->record_pages,
			.complete_age_ns = o->complete_age_ns,
			.complete_parallel = o->complete_parallel,
			.complete_rate = o->complete_rate,
			.no_neighbours = o->no_neighbours,
			.spin_ns = o->spin_ns,
		};

		r = registry_new(&registry, &d->registry);
	}
	if (r == 0)
		r = recovery_run(d->registry, d->vault,
				 rundir_sessions(d->rundir), &d->recovered);
	if (r == 0)
		r = make_commands(o, d);
	if (r == 0)
		r = make_mount(o, d);
	return r;
}

int daemon_new(const struct daemon_options *options, struct daemon **ret_daemon)
{
	struct daemon *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->started_ns = daemon_now();
	d->stuck_after_ns = options->stuck_after_ns;
	d->exit_when_drained = options->exit_when_drained;
	r = build(options, d);
	if (r < 0) {
		daemon_free(d);
		return r;
	}
	*ret_daemon = d;
	return 0;
}

void daemon_leave(struct daemon *d)
{
	log_info("%zu session(s) are left to the next daemon",
		 registry_count(d->registry));
	daemonmount_leave(d->mount);
	finish_trace(d->trace);
	_exit(0);
}

void daemon_free(struct daemon *d)
{
	if (!d)
		return;
	daemonmount_free(d->mount);
	pressure_free(d->pressure);
	jobs_free(d->jobs);
	pins_free(d->pins);
	registry_free(d->registry);
	finish_trace(d->trace);
	trace_close(d->trace);
	cache_free(d->cache);
	importer_free(d->importer);
	store_unref(d->store);
	confine_free(d->imports);
	vault_close(d->vault);
	rundir_close(d->rundir);
	free(d);
}
