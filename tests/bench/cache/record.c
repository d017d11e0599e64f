#include "tests/bench/cache/record.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/publish/publish.h"
#include "fs/store/store.h"
#include "pager/block.h"
#include "pager/pager.h"
#include "tests/bench/image.h"

#define IMAGES	    3u
#define IMAGE_BYTES (UINT64_C(48) << 20)
#define PAGES	    (uint32_t)(IMAGE_BYTES / PAGER_PAGE_SIZE)
#define RESTORES    36u
#define TOUCHED	    (PAGES / 3) /* of these nine in ten, by each */
#define CACHE	    "32M"
#define START_TRIES 10000 /* of 1 ms */

DEFINE_CLEANUP(store, struct store *, store_unref)

struct recorder {
	char *folder, *runtime, *store, *trace;
	pid_t daemon;
	struct pager *pager;
	uint64_t seed;
};

static uint32_t draw(struct recorder *rec, uint32_t range)
{
	rec->seed =
		rec->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)((rec->seed >> 33) * range >> 31);
}

static int publish_one(struct recorder *rec, struct store *s, unsigned int n)
{
	const struct image_recipe recipe = {
		.seed = n + 1,
		.bytes = IMAGE_BYTES,
		.zero_percent = 40,
	};
	struct publish_options options = PUBLISH_OPTIONS_INIT;
	_cleanup_free_ char *path = NULL;
	struct publish_result result;
	char name[16];
	int r;

	(void)snprintf(name, sizeof(name), "image-%u", n);
	if (asprintf(&path, "%s/%s", rec->folder, name) < 0)
		return -ENOMEM;
	r = image_make(path, &recipe);
	options.name = name;
	options.memory.key = "memory";
	options.memory.path = path;
	if (r == 0)
		r = publish(s, &options, &result);
	(void)unlink(path);
	return r;
}

static int publish_all(struct recorder *rec)
{
	struct store *s cleanup(cleanup_store) = NULL;
	int r = store_init(rec->store, NULL);

	if (r == 0)
		r = store_open(rec->store, STORE_WRITE, &s);
	for (unsigned int n = 0; r == 0 && n < IMAGES; n++)
		r = publish_one(rec, s, n);
	return r;
}

static bool answers(struct recorder *rec)
{
	struct pager_session_options session = PAGER_SESSION_OPTIONS_INIT;
	struct pager_session *s;

	session.snapshot = "image-0";
	if (pager_session_create(rec->pager, &session, &s) < 0)
		return false;
	(void)pager_session_close(s);
	return true;
}

static int start_daemon(const struct bench_options *options,
			struct recorder *rec)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	_cleanup_free_ char *program = NULL, *log = NULL;
	int r;

	if (asprintf(&program, "%s/pagerd", options->programs) < 0 ||
	    asprintf(&log, "%s/pagerd.log", rec->folder) < 0)
		return -ENOMEM;
	r = bench_spawn((const char *[]){program, "--store", rec->store,
					 "--runtime", rec->runtime, "--cache",
					 CACHE, "--fault-trace", rec->trace,
					 NULL},
			STDERR_FILENO, log, &rec->daemon);
	if (r == 0)
		r = pager_open(rec->runtime, &rec->pager);
	for (int i = 0; r == 0 && i < START_TRIES; i++) {
		if (answers(rec))
			return 0;
		(void)nanosleep(&pause, NULL);
	}
	return r < 0 ? r : err_set(-ETIMEDOUT, "pagerd did not get ready");
}

/* In an order of this restore's own. */
static void touch_pages(struct recorder *rec, const uint8_t *memory)
{
	uint32_t start = draw(rec, TOUCHED);

	for (uint32_t i = 0; i < TOUCHED; i++) {
		/* The step has no divisor in common with the count. */
		uint32_t page =
			(uint32_t)((start + (uint64_t)i * 7919) % TOUCHED);

		if (draw(rec, 10))
			(void)((const volatile uint8_t *)
				       memory)[(size_t)page * PAGER_PAGE_SIZE];
	}
}

static int restore(struct recorder *rec)
{
	struct pager_session_options session = PAGER_SESSION_OPTIONS_INIT;
	struct pager_map_options map = PAGER_MAP_OPTIONS_INIT;
	struct pager_session *s = NULL;
	struct pager_map *m = NULL;
	uint32_t dice = draw(rec, 6);
	char name[16];
	int r;

	/* 3 : 2 : 1 */
	(void)snprintf(name, sizeof(name), "image-%u",
		       dice < 3	  ? 0
		       : dice < 5 ? 1
				  : 2);
	session.snapshot = name;
	map.size = IMAGE_BYTES;
	r = pager_session_create(rec->pager, &session, &s);
	if (r == 0)
		r = pager_map(s, &map, &m);
	if (r < 0)
		r = err_set(r, "%s", pager_error(rec->pager));
	else
		touch_pages(rec, pager_map_data(m));
	pager_unmap(m);
	if (s)
		(void)pager_session_close(s);
	return r;
}

static int stop_daemon(struct recorder *rec)
{
	int status = 0;

	pager_close(rec->pager);
	if (rec->daemon <= 0)
		return 0;
	(void)kill(rec->daemon, SIGTERM);
	(void)waitpid(rec->daemon, &status, 0);
	return status ? err_set(-EIO, "pagerd ended with status %d", status)
		      : 0;
}

static int record(const struct bench_options *options, struct recorder *rec)
{
	int r = publish_all(rec), stopped;

	if (r == 0)
		r = start_daemon(options, rec);
	for (unsigned int i = 0; r == 0 && i < RESTORES; i++)
		r = restore(rec);
	stopped = stop_daemon(rec);
	return r < 0 ? r : stopped;
}

int record_restores(const struct bench_options *options,
		    struct trace *ret_trace)
{
	struct recorder rec = {.seed = 5};
	int r = bench_make_folder(options, &rec.folder);

	if (r < 0)
		return r;
	if (asprintf(&rec.runtime, "%s/run", rec.folder) < 0 ||
	    asprintf(&rec.store, "%s/store", rec.folder) < 0 ||
	    asprintf(&rec.trace, "%s/trace", rec.folder) < 0)
		r = -ENOMEM;
	if (r == 0)
		r = record(options, &rec);
	if (r == 0)
		r = trace_read(rec.trace, ret_trace);
	bench_remove_folder(rec.folder);
	free(rec.folder);
	free(rec.runtime);
	free(rec.store);
	free(rec.trace);
	return r;
}
