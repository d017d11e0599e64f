/*
 * pagerbench storm: 64 clones of one snapshot, each a process, touch all of
 * it at once, each in an order of its own. The bare handler's clones have a
 * handler process each, on the same cores, in turns with pagerd's.
 *
 * Then one VM's faults, alone and beside a stranger that scans another image
 * from end to end: what others do must not show. Both VMs are on one worker
 * of pagerd's there, which is the worst place to be. What the machine itself
 * adds, whose processors they share, the bare handlers' row tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "pager/block.h"
#include "tests/bench/bench.h"
#include "tests/bench/fault/clones.h"
#include "tests/bench/image.h"
#include "tests/bench/served.h"

#define CLONES	       64u
#define DEFAULT_SIZE   (UINT64_C(8) << 20)
#define DEFAULT_ROUNDS 3u
#define ROUNDS_MAX     32u
#define SCANNED	       8u /* times the size */

enum side { BARE, PAGERD, SIDES };

static const char *const side_names[SIDES] = {"bare handlers", "pagerd"};

struct storm {
	double rate[ROUNDS_MAX]; /* touches a second, all clones together */
	double median_p99[ROUNDS_MAX], worst_p99[ROUNDS_MAX]; /* us */
};

struct neighbour {
	/* us; [0]: alone, [1]: beside the stranger */
	double p50[2][ROUNDS_MAX], p99[2][ROUNDS_MAX];
};

struct storm_bench {
	struct bench_options options, one_worker;
	char *folder;
	uint64_t size;
	const uint8_t *image, *scanned;
	struct storm storms[SIDES];
	struct neighbour neighbours[SIDES];
};

static struct clone_plan plan_for(const struct storm_bench *b,
				  unsigned int count, struct served *served)
{
	return (struct clone_plan){
		.count = count,
		.size = b->size,
		.image = b->image,
		.served = served,
	};
}

static int storm_round(struct storm_bench *b, struct served *served,
		       unsigned int round)
{
	struct storm *s = &b->storms[served ? PAGERD : BARE];
	struct clone_plan plan = plan_for(b, CLONES, served);
	struct touch_figures figures[CLONES];
	uint64_t touches = CLONES * (b->size / PAGER_PAGE_SIZE);
	double seconds, p99[CLONES];
	int r = clones_run(&plan, figures, &seconds);

	if (r < 0)
		return r;
	for (unsigned int i = 0; i < CLONES; i++)
		p99[i] = figures[i].p99;
	s->median_p99[round] = bench_median(p99, CLONES);
	s->worst_p99[round] = p99[CLONES - 1];
	s->rate[round] = (double)touches / seconds;
	return 0;
}

static int neighbour_round(struct storm_bench *b, struct served *served,
			   unsigned int round)
{
	struct neighbour *n = &b->neighbours[served ? PAGERD : BARE];
	struct clone_plan plan = plan_for(b, 1, served);
	struct touch_figures alone, beside;
	double seconds;
	int r = clones_run(&plan, &alone, &seconds);

	plan.scan_size = SCANNED * b->size;
	plan.scan_image = b->scanned;
	if (r == 0)
		r = clones_run(&plan, &beside, &seconds);
	if (r < 0)
		return r;
	n->p50[0][round] = alone.p50;
	n->p99[0][round] = alone.p99;
	n->p50[1][round] = beside.p50;
	n->p99[1][round] = beside.p99;
	return 0;
}

/* All blocks come into the cache, as the bare handlers have all in memory. */
static int warm(struct storm_bench *b, struct served *served)
{
	struct clone_plan plan = plan_for(b, 1, served);
	struct touch_figures figures;
	double seconds;

	return clones_run(&plan, &figures, &seconds);
}

typedef int round_fn(struct storm_bench *b, struct served *served,
		     unsigned int round);

static int with_daemon(struct storm_bench *b,
		       const struct bench_options *options, round_fn *run,
		       unsigned int round)
{
	struct served *served;
	int r = served_start(options, b->folder, 4 * SCANNED * b->size,
			     &served);

	if (r < 0)
		return r;
	r = warm(b, served);
	if (r == 0)
		r = run(b, served, round);
	served_stop(served);
	return r;
}

static int run_rounds(struct storm_bench *b, unsigned int rounds)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < rounds; i++) {
		r = storm_round(b, NULL, i);
		if (r == 0)
			r = with_daemon(b, &b->options, storm_round, i);
		if (r == 0)
			r = neighbour_round(b, NULL, i);
		if (r == 0)
			r = with_daemon(b, &b->one_worker, neighbour_round, i);
	}
	return r;
}

static void report_storms(struct storm_bench *b, unsigned int rounds,
			  struct report *report)
{
	double rate[SIDES], median[SIDES], worst[SIDES];

	for (int i = 0; i < SIDES; i++) {
		rate[i] = bench_median(b->storms[i].rate, rounds);
		median[i] = bench_median(b->storms[i].median_p99, rounds);
		worst[i] = bench_median(b->storms[i].worst_p99, rounds);
		report_row(report, "64 clones at once (median of the rounds)",
			   json_pack("{s:s, s:f, s:f, s:f}", "handler",
				     side_names[i], "faults/s", rate[i],
				     "median clone's p99 us", median[i],
				     "slowest clone's p99 us", worst[i]));
	}
	report_aim(report, "faults/s, of the bare handlers'",
		   rate[PAGERD] / rate[BARE], 0.8, false);
	report_aim(report, "slowest clone's p99, of the median clone's",
		   worst[PAGERD] / median[PAGERD], 3, true);
}

static void report_neighbours(struct storm_bench *b, unsigned int rounds,
			      struct report *report)
{
	double p50[SIDES][2], p99[SIDES][2];

	for (int i = 0; i < SIDES; i++) {
		struct neighbour *n = &b->neighbours[i];

		for (int k = 0; k < 2; k++) {
			p50[i][k] = bench_median(n->p50[k], rounds);
			p99[i][k] = bench_median(n->p99[k], rounds);
		}
		report_row(report, "one VM beside a stranger's scan",
			   json_pack("{s:s, s:f, s:f, s:f, s:f}", "handler",
				     side_names[i], "alone p50 us", p50[i][0],
				     "p99 us", p99[i][0], "beside p50 us",
				     p50[i][1], "beside p99 us", p99[i][1]));
	}
	report_aim(report, "p99 beside a stranger's scan, of alone",
		   p99[PAGERD][1] / p99[PAGERD][0], 1.5, true);
}

static int make_image(struct storm_bench *b, const char *name, uint64_t seed,
		      uint64_t size, const uint8_t **ret_bytes)
{
	struct image_recipe recipe = {.seed = seed, .bytes = size};
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	void *bytes;
	int r;

	if (asprintf(&path, "%s/%s", b->folder, name) < 0)
		return -ENOMEM;
	r = image_make(path, &recipe);
	if (r == 0)
		r = served_publish(b->folder, name, path);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (fd < 0 || bytes == MAP_FAILED)
		return err_set(-errno, "%s: %m", path);
	*ret_bytes = bytes;
	return file_pread(fd, bytes, size, 0, INJECT_POINT_COUNT);
}

static int prepare(struct storm_bench *b, const struct bench_options *options)
{
	int r;

	b->options = *options;
	b->size = options->size ?: DEFAULT_SIZE;
	if (options->input)
		return err_set(-EINVAL, "storm makes its own images: leave "
					"--input out");
	if (b->size % PAGER_PAGE_SIZE)
		return err_set(-EINVAL, "--size: a multiple of 4096");
	b->one_worker = bench_with_arg(options, "--workers=1");
	r = make_image(b, "image", 3, b->size, &b->image);
	if (r == 0)
		r = make_image(b, "scanned", 4, SCANNED * b->size, &b->scanned);
	return r;
}

int bench_storm(const struct bench_options *options, struct report *report)
{
	unsigned int rounds = options->rounds ?: DEFAULT_ROUNDS;
	struct storm_bench b = {0};
	int r = bench_make_folder(options, &b.folder);

	if (r < 0)
		return r;
	r = prepare(&b, options);
	if (r == 0)
		r = run_rounds(&b, rounds);
	if (r == 0) {
		report_fact(
			report, "pages of each clone",
			json_integer((json_int_t)(b.size / PAGER_PAGE_SIZE)));
		report_storms(&b, rounds, report);
		report_neighbours(&b, rounds, report);
	}
	bench_remove_folder(b.folder);
	free(b.folder);
	return r;
}
