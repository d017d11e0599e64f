#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/log.h"
#include "pagerd/control/http/server.h"
#include "pagerd/control/lifecycle.h"
#include "pagerd/options.h"
#include "pagerd/sandbox/sandbox.h"

enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int fail(int error, enum exit_code code)
{
	(void)fprintf(stderr, "pagerd: %s\n", err_text(error));
	return (int)code;
}

/* Each session holds a handful of files, and so does each HTTP client. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warn("the limit of open files stays as it was: %s",
			 strerrordesc_np(errno));
}

/* VMs are better served without than not at all. */
static void confine_ourselves(const struct daemon_options *o)
{
	const struct sandbox sandbox = {.mounts = o->mount};
	int r = sandbox_daemon(&sandbox);

	if (r < 0)
		log_warn("no system call is kept from us: %s",
			 strerrordesc_np(-r));
}

static int serve(struct daemon *daemon, const struct daemon_options *o)
{
	struct server *server;
	int fd, r;

	fd = rundir_listen(daemon->rundir);
	if (fd < 0)
		return fd;
	r = server_new(daemon, fd, SERVER_SILENCE_S, &server);
	if (r < 0)
		return r;
	if (o->sandbox)
		confine_ourselves(o);
	r = lifecycle_run(daemon);
	server_free(server);
	if (r > 0)
		daemon_leave(daemon);
	return r;
}

/* An ordinary user unmounts by fusermount3, another program. */
static bool choose_sandbox(const struct options *o)
{
	if (!o->sandbox || !o->mount || geteuid() == 0)
		return o->sandbox;
	log_info("the sandbox is off: an ordinary user with a mount needs "
		 "another program to unmount it");
	return false;
}

static int run(const struct options *o)
{
	const struct daemon_options options = {
		.store = o->store,
		.runtime = o->runtime,
		.mount = o->mount,
		.cache_bytes = o->cache_bytes,
		.fault_trace = o->fault_trace,
		.imports = (const char *const *)o->imports,
		.import_count = o->import_count,
		.memory_pressure = o->memory_pressure,
		.sandbox = choose_sandbox(o),
		.workers = o->workers,
		.max_sessions = o->max_sessions,
		.stuck_after_ns = o->stuck_after_ns,
		.record_ns = o->record_ns,
		.record_pages = o->record_pages,
		.complete_age_ns = o->complete_age_ns,
		.complete_parallel = o->complete_parallel,
		.complete_rate = o->complete_rate,
		.no_neighbours = !o->neighbours,
		.spin_ns = o->spin_ns,
		.exit_when_drained = o->exit_when_drained,
	};
	struct daemon *daemon;
	int r;

	log_set_level(o->log_level);
	raise_file_limit();
	lifecycle_block_signals();
	if (options.sandbox && sandbox_capabilities(o->mount) < 0)
		log_warn("all capabilities are kept: %s", err_text(-EPERM));
	r = daemon_new(&options, &daemon);
	if (r < 0)
		return r;
	r = serve(daemon, &options);
	daemon_free(daemon);
	return r;
}

int main(int argc, char **argv)
{
	struct options options;
	int r = options_parse(argc, argv, &options);

	if (r < 0)
		return fail(r, EXIT_USAGE);
	if (options.help)
		options_print_help(stdout);
	else if (options.version)
		(void)puts("pagerd " PAGER_VERSION);
	else
		r = run(&options);
	options_release(&options);
	return r < 0 ? fail(r, EXIT_FAILED) : EXIT_DONE;
}
