#include "tests/bench/served.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#define SNAPSHOT    "image"

struct served {
	char *runtime;
	pid_t daemon;
	struct pager *pager;
};

struct served_memory {
	struct pager_session *session;
	struct pager_map *map;
};

int served_publish(const char *folder, const char *image)
{
	struct publish_options options = PUBLISH_OPTIONS_INIT;
	_cleanup_free_ char *path = NULL;
	struct publish_result result;
	struct store *s;
	int r;

	if (asprintf(&path, "%s/store", folder) < 0)
		return -ENOMEM;
	r = store_init(path, NULL);
	if (r < 0)
		return r;
	r = store_open(path, STORE_WRITE, &s);
	if (r < 0)
		return r;
	options.name = SNAPSHOT;
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

	if (asprintf(&program, "%s/pagerd", options->programs) < 0 ||
	    asprintf(&store, "%s/store", folder) < 0 ||
	    asprintf(&log, "%s/pagerd.log", folder) < 0 ||
	    asprintf(&cache, "%llu", (unsigned long long)cache_bytes) < 0)
		return -ENOMEM;
	return bench_spawn((const char *[]){program, "--store", store,
					    "--runtime", s->runtime, "--cache",
					    cache, NULL},
			   STDERR_FILENO, log, &s->daemon);
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

int served_map(struct served *s, uint64_t size,
	       struct served_memory **ret_memory)
{
	struct pager_session_options session = PAGER_SESSION_OPTIONS_INIT;
	struct pager_map_options map = PAGER_MAP_OPTIONS_INIT;
	struct served_memory *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	session.snapshot = SNAPSHOT;
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

void served_unmap(struct served_memory *m)
{
	if (!m)
		return;
	pager_unmap(m->map);
	if (m->session)
		(void)pager_session_close(m->session);
	free(m);
}

int served_chill(const char *folder)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *entry;
	DIR *packs;

	if (asprintf(&path, "%s/store/packs", folder) < 0)
		return -ENOMEM;
	packs = opendir(path);
	if (!packs)
		return -errno;
	while ((entry = readdir(packs))) {
		_cleanup_close_ int fd = openat(dirfd(packs), entry->d_name,
						O_RDONLY | O_CLOEXEC);

		if (fd >= 0 && entry->d_name[0] != '.')
			(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	(void)closedir(packs);
	return 0;
}
