/*
 * How long VMs wait for the next daemon: from the old one's death (kill -9),
 * or from the request to leave (SIGTERM, an upgrade), to the last of N
 * sessions having an answer to a fault. The baseline, in the same round, is
 * the start of a daemon that has nothing to take over, to its socket.
 *
 * All VMs are memory of this process, which reads a page of each in turn.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "tests/bench/bench.h"
#include "tests/bench/image.h"
#include "tests/bench/served.h"

#define IMAGE_SIZE   (UINT64_C(4) << 20)
#define CACHE_SIZE   (UINT64_C(64) << 20)
#define ROUNDS	     5u
#define ROUNDS_MAX   32u
#define PAGE	     4096u
#define SESSIONS_MAX 1000u

struct run {
	const struct bench_options *options;
	const char *folder;
	struct served *served;
	struct served_memory *memory[SESSIONS_MAX];
	unsigned int count;
	unsigned int page; /* the next that nobody has read yet */
};

static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int grow(struct run *run, unsigned int count)
{
	for (; run->count < count; run->count++) {
		int r = served_map(run->served, "image", IMAGE_SIZE,
				   SERVED_DEFAULT, &run->memory[run->count]);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Milliseconds from the signal to the last answer. */
static int pause_of(struct run *run, int number, double *ret_ms)
{
	uint64_t begin = bench_now();
	int r = served_restart(run->served, run->options, run->folder,
			       CACHE_SIZE, number);

	if (r < 0)
		return r;
	run->page = (run->page + 1) % (IMAGE_SIZE / PAGE);
	for (unsigned int i = 0; i < run->count; i++)
		(void)((volatile uint8_t *)served_data(
			run->memory[i]))[(size_t)run->page * PAGE];
	*ret_ms = (double)(bench_now() - begin) / 1e6;
	return served_wait(run->served);
}

/* An empty daemon beside it, on a folder of its own. */
static int empty_start(struct run *run, const char *folder, double *ret_ms)
{
	uint64_t begin = bench_now();
	struct served *s;
	int r = served_start(run->options, folder, CACHE_SIZE, &s);

	if (r < 0)
		return r;
	*ret_ms = (double)(bench_now() - begin) / 1e6;
	served_stop(s);
	return 0;
}

static int measure(struct run *run, const char *empty, unsigned int rounds,
		   struct report *report)
{
	double killed[ROUNDS_MAX], left[ROUNDS_MAX], started[ROUNDS_MAX];
	double kill_ms, leave_ms, start_ms;
	char what[64];

	for (unsigned int i = 0; i < rounds; i++) {
		int r = empty_start(run, empty, &started[i]);

		if (r == 0)
			r = pause_of(run, SIGKILL, &killed[i]);
		if (r == 0)
			r = pause_of(run, SIGTERM, &left[i]);
		if (r < 0)
			return r;
	}
	kill_ms = bench_median(killed, rounds);
	leave_ms = bench_median(left, rounds);
	start_ms = bench_median(started, rounds);
	report_row(report, "all sessions serving again, ms, medians",
		   json_pack("{s:i, s:f, s:f, s:f, s:f}", "sessions",
			     (int)run->count, "kill -9", kill_ms, "SIGTERM",
			     leave_ms, "empty start", start_ms,
			     "kill -9 / empty", kill_ms / start_ms));
	(void)snprintf(what, sizeof(what), "%u sessions, kill -9, ms",
		       run->count);
	if (run->count == 100)
		report_aim(report, what, kill_ms, 100, true);
	if (run->count == 1)
		report_aim(report, "pause in an upgrade, ms", leave_ms, 50,
			   true);
	return 0;
}

static int run_all(struct run *run, const char *empty, unsigned int rounds,
		   struct report *report)
{
	static const unsigned int counts[] = {1, 100, SESSIONS_MAX};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		int r = grow(run, counts[i]);

		if (r == 0)
			r = measure(run, empty, rounds, report);
		if (r < 0)
			return r;
	}
	return 0;
}

static int prepare(struct run *run, const char *empty)
{
	_cleanup_free_ char *image = NULL;
	int r;

	if (asprintf(&image, "%s/image", run->folder) < 0)
		return -ENOMEM;
	r = image_make(image,
		       &(struct image_recipe){.seed = 6, .bytes = IMAGE_SIZE});
	if (r == 0)
		r = served_publish(run->folder, "image", image);
	if (r == 0)
		r = served_publish(empty, "image", image);
	if (r == 0)
		r = served_start(run->options, run->folder, CACHE_SIZE,
				 &run->served);
	return r;
}

int bench_recover(const struct bench_options *options, struct report *report)
{
	struct run run = {.options = options};
	unsigned int rounds = options->rounds ? options->rounds : ROUNDS;
	char *folder, *empty = NULL;
	int r = bench_make_folder(options, &folder);

	if (r < 0)
		return r;
	raise_file_limit();
	run.folder = folder;
	r = bench_make_folder(options, &empty);
	if (r == 0)
		r = prepare(&run, empty);
	if (r == 0)
		r = run_all(&run, empty, rounds, report);
	while (run.count > 0)
		served_unmap(run.memory[--run.count]);
	served_stop(run.served);
	if (empty)
		bench_remove_folder(empty);
	bench_remove_folder(folder);
	free(empty);
	free(folder);
	return r;
}
