/*
 * pagerbench mount: a published image read through pagerfs, beside a minimal
 * FUSE file of the same bytes and the plain file, in two states:
 *
 *   cold    nothing of it is in memory but what the minimal file system is:
 *           pagerfs was just started, its packs and the plain file dropped
 *           from the page cache
 *   cached  all blocks are in pagerfs's cache, the plain file is in the page
 *           cache; what the kernel has of the two mounts is dropped
 *
 * Two images: one like a guest's, and one without zero pages, which a mount
 * answers without any block. Both mounts have the same readahead and threads.
 * The CPU time of the two servers is told too: on a busy machine it says more
 * than the rates do. Before the measurements each mount is read through and
 * compared with the plain file.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "tests/bench/bench.h"
#include "tests/bench/image.h"
#include "tests/bench/mount/load.h"
#include "tests/bench/mount/minimal.h"
#include "tests/bench/served.h"

#define DEFAULT_SIZE   (UINT64_C(256) << 20)
#define DEFAULT_ROUNDS 3u
#define ROUNDS_MAX     32u
#define READAHEAD_KIB  1024u
#define THREADS	       4u /* of either server: more only cost it wake-ups */

enum contender { PLAIN, MINIMAL, PAGERFS, CONTENDERS };
enum temperature { COLD, CACHED, TEMPERATURES };

static const char *const temperature_names[TEMPERATURES] = {"cold", "cached"};

struct subject {
	const char *name;
	unsigned int zero_percent; /* of the image that is made */
};

static const struct subject subjects[] = {
	{"like a guest's", 71},
	{"no zero pages", 0},
};

struct mount_bench {
	const struct bench_options *options;
	char *folder, *image;
	char *files[CONTENDERS];
	char *minimal_path, *pagerfs_path;
	struct minimal *minimal;
	pid_t pagerfs;	 /* 0: not mounted */
	bool warm;	 /* pagerfs has all in its cache */
	double resident; /* percent that stayed where all was to go, at worst */
	double rates[LOAD_KINDS][TEMPERATURES][CONTENDERS][ROUNDS_MAX];
	/* CPU time of the server for a piece, in us. */
	double costs[LOAD_KINDS][TEMPERATURES][CONTENDERS][ROUNDS_MAX];
};

static int set_readahead(const char *mount)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64];
	struct stat st;

	if (stat(mount, &st) < 0)
		return err_set(-errno, "%s: %m", mount);
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb",
		       major(st.st_dev), minor(st.st_dev));
	f = fopen(path, "we");
	if (!f || fprintf(f, "%u", READAHEAD_KIB) < 0)
		return err_set(-errno, "%s: %m", path);
	return 0;
}

static void stop_pagerfs(struct mount_bench *b)
{
	if (b->pagerfs > 0) {
		(void)kill(b->pagerfs, SIGTERM);
		(void)waitpid(b->pagerfs, NULL, 0);
	}
	b->pagerfs = 0;
	b->warm = false;
}

/* The file can be seen once pagerfs answers. */
static int await_file(const struct mount_bench *b)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct stat st;

	for (int i = 0; i < 10000; i++) {
		if (stat(b->files[PAGERFS], &st) == 0)
			return 0;
		(void)nanosleep(&pause, NULL);
	}
	return err_set(-ETIMEDOUT, "pagerfs does not mount; see %s/pagerfs.log",
		       b->folder);
}

static int start_pagerfs(struct mount_bench *b)
{
	_cleanup_free_ char *program = NULL, *store = NULL, *log = NULL,
			    *mount_options = NULL;
	struct stat st;
	int r;

	if (stat(b->image, &st) < 0)
		return err_set(-errno, "%s: %m", b->image);
	/* The image and as much again, for what the cache itself needs. */
	if (asprintf(&program, "%s/pagerfs", b->options->programs) < 0 ||
	    asprintf(&store, "%s/store", b->folder) < 0 ||
	    asprintf(&log, "%s/pagerfs.log", b->folder) < 0 ||
	    asprintf(&mount_options, "cache=%llu,readahead=%u,threads=%u",
		     (unsigned long long)st.st_size * 2, READAHEAD_KIB << 10,
		     THREADS) < 0)
		return -ENOMEM;
	r = bench_spawn((const char *[]){program, store, b->pagerfs_path, "-f",
					 "-o", mount_options, NULL},
			STDERR_FILENO, log, &b->pagerfs);
	return r < 0 ? r : await_file(b);
}

static int drop(struct mount_bench *b, const char *path)
{
	double resident = 0;
	int r = bench_chill_file(path, &resident);

	if (resident > b->resident)
		b->resident = resident;
	return r;
}

static int remount(struct mount_bench *b)
{
	double resident = 0;
	int r;

	stop_pagerfs(b);
	r = served_chill(b->folder, &resident);
	if (resident > b->resident)
		b->resident = resident;
	return r < 0 ? r : start_pagerfs(b);
}

/* Empties what the contender would otherwise have in memory, or fills it. */
static int prepare(struct mount_bench *b, enum contender c, enum temperature t)
{
	int r = 0;

	if (c == PLAIN && t == CACHED)
		return load_compare(b->image, b->image);
	if (c == PAGERFS && t == COLD)
		return remount(b);
	if (c == PAGERFS && !b->warm)
		r = load_compare(b->files[c], b->image);
	b->warm = c == PAGERFS || b->warm;
	return r < 0 ? r : drop(b, b->files[c]);
}

/* CPU time of a process's threads in ns; one that has ended is not counted. */
static uint64_t cpu_time(pid_t process)
{
	char path[64];
	struct dirent *entry;
	uint64_t sum = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", process);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		_cleanup_fclose_ FILE *f = NULL;
		char line[64], *end;

		(void)snprintf(path, sizeof(path),
			       "/proc/%d/task/%.16s/schedstat", process,
			       entry->d_name);
		f = fopen(path, "re");
		if (f && fgets(line, sizeof(line), f))
			sum += strtoull(line, &end, 10);
	}
	if (dir)
		(void)closedir(dir);
	return sum;
}

static int measure_one(struct mount_bench *b, enum load_kind k,
		       enum temperature t, enum contender c, unsigned int round)
{
	struct load_result result;
	uint64_t before = 0;
	pid_t server = 0;
	int r = prepare(b, c, t);

	if (c == MINIMAL)
		server = minimal_process(b->minimal);
	else if (c == PAGERFS)
		server = b->pagerfs;
	if (r == 0 && server)
		before = cpu_time(server);
	if (r == 0)
		r = load_run(k, b->files[c], round * 7919, &result);
	if (r < 0)
		return r;
	b->rates[k][t][c][round] = result.rate;
	if (server)
		b->costs[k][t][c][round] = (double)(cpu_time(server) - before) /
					   1000 / result.pieces;
	return 0;
}

static int measure(struct mount_bench *b, unsigned int round)
{
	int r = 0;

	for (int t = 0; t < TEMPERATURES; t++)
		for (int k = 0; k < LOAD_KINDS; k++)
			for (int c = 0; r == 0 && c < CONTENDERS; c++)
				r = measure_one(b, (enum load_kind)k,
						(enum temperature)t,
						(enum contender)c, round);
	return r;
}

static void report_one(struct mount_bench *b, const struct subject *s,
		       enum load_kind k, enum temperature t,
		       unsigned int rounds, struct report *report)
{
	double median[CONTENDERS];
	char what[128];

	for (int c = 0; c < CONTENDERS; c++)
		median[c] = bench_median(b->rates[k][t][c], rounds);
	report_row(report, s->name,
		   json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f}", "load",
			     loads[k].name, "blocks", temperature_names[t],
			     "unit", loads[k].unit, "plain", median[PLAIN],
			     "minimal", median[MINIMAL], "pagerfs",
			     median[PAGERFS], "of minimal",
			     median[PAGERFS] / median[MINIMAL], "of plain",
			     median[PAGERFS] / median[PLAIN]));
	(void)snprintf(what, sizeof(what), "%s, %s, %s", s->name, loads[k].name,
		       temperature_names[t]);
	if (t == CACHED)
		report_aim(report, what, median[PAGERFS] / median[MINIMAL],
			   k == LOAD_FAULTS ? 0.9 : 0.8, false);
	else if (k == LOAD_SEQUENTIAL)
		/* Three times what squashfuse gives on one machine. */
		report_aim(report, what, median[PAGERFS], 1.2, false);
}

static void report_costs(struct mount_bench *b, const struct subject *s,
			 enum load_kind k, enum temperature t,
			 unsigned int rounds, struct report *report)
{
	double minimal = bench_median(b->costs[k][t][MINIMAL], rounds);
	double pagerfs = bench_median(b->costs[k][t][PAGERFS], rounds);
	char table[96];

	(void)snprintf(table, sizeof(table), "%s: us of the server's CPU",
		       s->name);
	report_row(report, table,
		   json_pack("{s:s, s:s, s:s, s:f, s:f, s:f}", "load",
			     loads[k].name, "blocks", temperature_names[t],
			     "for", loads[k].piece, "minimal", minimal,
			     "pagerfs", pagerfs, "of minimal",
			     pagerfs / minimal));
}

static int make_paths(struct mount_bench *b)
{
	if (asprintf(&b->minimal_path, "%s/minimal", b->folder) < 0 ||
	    asprintf(&b->pagerfs_path, "%s/pagerfs", b->folder) < 0 ||
	    asprintf(&b->files[MINIMAL], "%s/memory", b->minimal_path) < 0 ||
	    asprintf(&b->files[PAGERFS], "%s/snapshots/image/memory",
		     b->pagerfs_path) < 0)
		return -ENOMEM;
	b->files[PLAIN] = strdup(b->image);
	if (!b->files[PLAIN])
		return -ENOMEM;
	if (mkdir(b->minimal_path, 0700) < 0 ||
	    mkdir(b->pagerfs_path, 0700) < 0)
		return err_set(-errno, "%s: %m", b->folder);
	return 0;
}

static int make_image(struct mount_bench *b, const struct subject *s)
{
	const struct image_recipe recipe = {
		.seed = 1,
		.bytes = b->options->size ?: DEFAULT_SIZE,
		.zero_percent = s->zero_percent,
	};

	if (b->options->input) {
		b->image = strdup(b->options->input);
		return b->image ? 0 : -ENOMEM;
	}
	if (asprintf(&b->image, "%s/image", b->folder) < 0)
		return -ENOMEM;
	return image_make(b->image, &recipe);
}

static void bench_release(struct mount_bench *b)
{
	stop_pagerfs(b);
	minimal_stop(b->minimal);
	if (b->folder)
		bench_remove_folder(b->folder);
	for (int c = 0; c < CONTENDERS; c++)
		free(b->files[c]);
	free(b->minimal_path);
	free(b->pagerfs_path);
	free(b->folder);
	free(b->image);
}

static int set_up(struct mount_bench *b, const struct subject *s)
{
	int r = bench_make_folder(b->options, &b->folder);

	if (r == 0)
		r = make_image(b, s);
	if (r == 0)
		r = make_paths(b);
	if (r == 0)
		r = served_publish(b->folder, "image", b->image);
	if (r == 0)
		r = minimal_start(b->minimal_path, b->image, THREADS,
				  &b->minimal);
	if (r == 0)
		r = set_readahead(b->minimal_path);
	return r < 0 ? r : load_compare(b->files[MINIMAL], b->image);
}

static int run_subject(const struct bench_options *options,
		       const struct subject *s, struct report *report)
{
	unsigned int rounds = options->rounds ?: DEFAULT_ROUNDS;
	struct mount_bench *b = calloc(1, sizeof(*b));
	char fact[64];
	int r;

	if (!b)
		return -ENOMEM;
	b->options = options;
	r = set_up(b, s);
	for (unsigned int i = 0; r == 0 && i < rounds; i++)
		r = measure(b, i);
	for (int k = 0; r == 0 && k < LOAD_KINDS; k++)
		for (int t = 0; t < TEMPERATURES; t++) {
			report_one(b, s, (enum load_kind)k, (enum temperature)t,
				   rounds, report);
			report_costs(b, s, (enum load_kind)k,
				     (enum temperature)t, rounds, report);
		}
	(void)snprintf(fact, sizeof(fact), "%s: percent not dropped", s->name);
	if (r == 0)
		report_fact(report, fact, json_real(b->resident));
	bench_release(b);
	free(b);
	return r;
}

int bench_mount(const struct bench_options *options, struct report *report)
{
	static const struct subject own = {"your image", 0};
	int r = 0;

	if (options->rounds > ROUNDS_MAX)
		return err_set(-EINVAL, "--rounds: at most %u", ROUNDS_MAX);
	if (options->input)
		return run_subject(options, &own, report);
	for (size_t i = 0; r == 0 && i < sizeof(subjects) / sizeof(*subjects);
	     i++)
		r = run_subject(options, &subjects[i], report);
	return r;
}
