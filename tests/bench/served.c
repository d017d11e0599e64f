#include "tests/bench/served.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/publish/publish.h"
#include "fs/store/store.h"
#include "pager/pager.h"

#define START_TRIES 10000 /* of 1 ms */

struct served {
	char *runtime;
	pid_t daemon;
	struct pager *pager;
};

struct served_memory {
	struct pager_session *session;
	struct pager_map *map;
};

int served_publish(const char *folder, const char *name, const char *image)
{
	struct publish_options options = PUBLISH_OPTIONS_INIT;
	_cleanup_free_ char *path = NULL;
	struct publish_result result;
	struct store *s;
	int r;

	if (asprintf(&path, "%s/store", folder) < 0)
		return -ENOMEM;
	r = access(path, F_OK) == 0 ? 0 : store_init(path, NULL);
	if (r < 0)
		return r;
	r = store_open(path, STORE_WRITE, &s);
	if (r < 0)
		return r;
	options.name = name;
	options.memory.key = "memory";
	options.memory.path = image;
	r = publish(s, &options, &result);
	store_unref(s);
	return r;
}

static int spawn_daemon(const struct bench_options *options, const char *folder,
			uint64_t cache_bytes, struct served *s)
{
	_cleanup_free_ char *program = NULL, *store = NULL, *cache = NULL,
			    *log = NULL;

	const char *argv[7 + BENCH_DAEMON_ARGS + 1];

	if (asprintf(&program, "%s/pagerd", options->programs) < 0 ||
	    asprintf(&store, "%s/store", folder) < 0 ||
	    asprintf(&log, "%s/pagerd.log", folder) < 0 ||
	    asprintf(&cache, "%llu", (unsigned long long)cache_bytes) < 0)
		return -ENOMEM;
	memcpy(argv,
	       (const char *[]){program, "--store", store, "--runtime",
				s->runtime, "--cache", cache},
	       7 * sizeof(argv[0]));
	memcpy(argv + 7, options->daemon_args, sizeof(options->daemon_args));
	return bench_spawn(argv, STDERR_FILENO, log, &s->daemon);
}

/* A dead daemon's socket is still there. */
static bool answers(const char *socket_path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		       socket_path);
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static int wait_until_ready(struct served *s)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	_cleanup_free_ char *socket = NULL;

	if (asprintf(&socket, "%s/control.sock", s->runtime) < 0)
		return -ENOMEM;
	for (int i = 0; i < START_TRIES; i++) {
		if (answers(socket))
			return 0;
		if (waitpid(s->daemon, NULL, WNOHANG) == s->daemon) {
			s->daemon = 0;
			return err_set(-ECHILD, "pagerd ended at its start");
		}
		(void)nanosleep(&pause, NULL);
	}
	return err_set(-ETIMEDOUT, "pagerd did not get ready");
}

int served_start(const struct bench_options *options, const char *folder,
		 uint64_t cache_bytes, struct served **ret_served)
{
	struct served *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (!s)
		return r;
	if (asprintf(&s->runtime, "%s/run", folder) >= 0)
		r = spawn_daemon(options, folder, cache_bytes, s);
	if (r == 0)
		r = wait_until_ready(s);
	if (r == 0)
		r = pager_open(s->runtime, &s->pager);
	if (r < 0) {
		served_stop(s);
		return r;
	}
	*ret_served = s;
	return 0;
}

int served_restart(struct served *s, const struct bench_options *options,
		   const char *folder, uint64_t cache_bytes, int number)
{
	(void)kill(s->daemon, number);
	(void)waitpid(s->daemon, NULL, 0);
	return spawn_daemon(options, folder, cache_bytes, s);
}

int served_wait(struct served *s)
{
	return wait_until_ready(s);
}

void served_stop(struct served *s)
{
	if (!s)
		return;
	pager_close(s->pager);
	if (s->daemon > 0) {
		(void)kill(s->daemon, SIGTERM);
		(void)waitpid(s->daemon, NULL, 0);
	}
	free(s->runtime);
	free(s);
}

int served_reopen(struct served *s)
{
	/* The other one is the parent's. */
	s->pager = NULL;
	return pager_open(s->runtime, &s->pager);
}

int served_map(struct served *s, const char *snapshot, uint64_t size,
	       enum served_how how, struct served_memory **ret_memory)
{
	struct pager_session_options session = PAGER_SESSION_OPTIONS_INIT;
	struct pager_map_options map = PAGER_MAP_OPTIONS_INIT;
	struct served_memory *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	session.snapshot = snapshot;
	if (how == SERVED_ON_DEMAND)
		session.prefetch = 0;
	if (how != SERVED_DEFAULT)
		session.record = 0;
	map.size = size;
	r = pager_session_create(s->pager, &session, &m->session);
	if (r == 0)
		r = pager_map(m->session, &map, &m->map);
	if (r < 0) {
		r = err_set(r, "%s", pager_error(s->pager));
		served_unmap(m);
		return r;
	}
	*ret_memory = m;
	return 0;
}

uint8_t *served_data(const struct served_memory *m)
{
	return pager_map_data(m->map);
}

int served_await(struct served_memory *m, double *ret_seconds)
{
	const struct timespec pause = {.tv_nsec = 10000000};

	for (;;) {
		_cleanup_free_ char *text = NULL;
		int r = pager_session_status(m->session, &text);
		json_t *status = r < 0 ? NULL : json_loads(text, 0, NULL);
		json_int_t took = json_integer_value(
			json_object_get(status, "prefetch_us"));

		json_decref(status);
		if (r < 0)
			return r;
		if (took > 0) {
			*ret_seconds = (double)took / 1e6;
			return 0;
		}
		(void)nanosleep(&pause, NULL);
	}
}

void served_unmap(struct served_memory *m)
{
	if (!m)
		return;
	pager_unmap(m->map);
	if (m->session)
		(void)pager_session_close(m->session);
	free(m);
}

int served_chill(const char *folder, double *ret_resident)
{
	_cleanup_free_ char *packs = NULL;
	double worst = 0;
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	if (asprintf(&packs, "%s/store/packs", folder) < 0)
		return -ENOMEM;
	dir = opendir(packs);
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		_cleanup_free_ char *path = NULL;
		double resident = 0;

		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&path, "%s/%s", packs, entry->d_name) < 0)
			r = -ENOMEM;
		else
			r = bench_chill_file(path, &resident);
		if (resident > worst)
			worst = resident;
	}
	(void)closedir(dir);
	if (r == 0)
		*ret_resident = worst;
	return r;
}
