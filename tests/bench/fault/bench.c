/*
 * pagerbench fault: one thread touches pages one fault at a time and times
 * each touch. Nothing is installed ahead or along, and nothing recorded, so
 * that it is fault against fault. What neighbours that ride along gain is told
 * after that, by patterns.c.
 *
 * Warm: the handler has every block in memory (pagerd: in its cache). Cold:
 * nothing is, and neither the packs nor the plain image are in the page cache:
 * how much of each still is gets counted and reported. Zero: a walk through
 * the zero pages behind the others, which the bare handler answers by one
 * UFFDIO_ZEROPAGE each. The bare handler of bare.c runs beside, in turns.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/page.h"
#include "tests/bench/bench.h"
#include "tests/bench/fault/bare.h"
#include "tests/bench/fault/patterns.h"
#include "tests/bench/fault/touch.h"
#include "tests/bench/image.h"
#include "tests/bench/served.h"

#define DEFAULT_SIZE   (UINT64_C(64) << 20)
#define DEFAULT_ROUNDS 5u
#define ROUNDS_MAX     32u

enum contender {
	BARE_WARM,
	PAGERD_WARM,
	BARE_COLD,
	PAGERD_COLD,
	BARE_ZEROS,
	PAGERD_ZEROS,
	CONTENDERS
};

static const char *const contender_names[CONTENDERS] = {
	[BARE_WARM] = "bare handler, warm",
	[PAGERD_WARM] = "pagerd, warm",
	[BARE_COLD] = "bare pread + copy, cold",
	[PAGERD_COLD] = "pagerd, cold",
	[BARE_ZEROS] = "bare handler, zero pages in order",
	[PAGERD_ZEROS] = "pagerd, zero pages in order",
};

struct figures {
	double p50[ROUNDS_MAX], p99[ROUNDS_MAX], mean[ROUNDS_MAX]; /* us */
};

struct fault_bench {
	const struct bench_options *options;
	struct bench_options alone; /* each fault for itself */
	char *folder, *image;
	uint64_t size, pages; /* of data; as much again is zero */
	struct touch random, zeros;
	double resident[2]; /* percent of the image, of the packs; when cold */
	struct figures figures[CONTENDERS];
};

static void run(struct fault_bench *b, const uint8_t *data, enum contender who,
		unsigned int round)
{
	bool zeros = who == BARE_ZEROS || who == PAGERD_ZEROS;
	struct figures *f = &b->figures[who];
	struct touch_figures t;

	touch_all(zeros ? &b->zeros : &b->random, zeros ? data + b->size : data,
		  &t);
	f->p50[round] = t.p50;
	f->p99[round] = t.p99;
	f->mean[round] = t.mean;
}

static int chill_image(struct fault_bench *b)
{
	double resident;
	int r = bench_chill_file(b->image, &resident);

	if (r == 0 && resident > b->resident[0])
		b->resident[0] = resident;
	return r;
}

static int bare_round(struct fault_bench *b, enum contender who,
		      unsigned int round)
{
	static const enum bare_source sources[] = {
		[BARE_WARM] = BARE_MEMORY,
		[BARE_COLD] = BARE_PREAD,
		[BARE_ZEROS] = BARE_ZEROPAGE,
	};
	struct bare *bare;
	int r = who == BARE_COLD ? chill_image(b) : 0;

	if (r == 0)
		r = bare_start(b->image, sources[who], &bare);
	if (r < 0)
		return r;
	run(b, bare_data(bare), who, round);
	bare_stop(bare);
	return 0;
}

/* The bytes are compared once, where no time is taken. */
static int check_bytes(const struct fault_bench *b, const uint8_t *data)
{
	_cleanup_close_ int fd = open(b->image, O_RDONLY | O_CLOEXEC);
	uint8_t page[PAGER_PAGE_SIZE];

	for (uint64_t i = 0; i < 2 * b->pages; i++) {
		if (pread(fd, page, sizeof(page), (off_t)(i * sizeof(page))) !=
		    sizeof(page))
			return -EIO;
		if (memcmp(page, data + i * sizeof(page), sizeof(page)) != 0)
			return err_set(-EBADMSG, "page %llu is not the image's",
				       (unsigned long long)i);
	}
	return 0;
}

static int one_session(struct fault_bench *b, struct served *s,
		       enum contender who, unsigned int round)
{
	struct served_memory *m;
	int r = served_map(s, "image", 2 * b->size, SERVED_ON_DEMAND, &m);

	if (r < 0)
		return r;
	run(b, served_data(m), who, round);
	if (who == PAGERD_WARM)
		run(b, served_data(m), PAGERD_ZEROS, round);
	r = check_bytes(b, served_data(m));
	served_unmap(m);
	return r;
}

/* A daemon is started cold; its second session finds all in the cache. */
static int pagerd_round(struct fault_bench *b, unsigned int round)
{
	double resident;
	struct served *s;
	int r = served_chill(b->folder, &resident);

	if (r < 0)
		return r;
	if (resident > b->resident[1])
		b->resident[1] = resident;
	r = served_start(&b->alone, b->folder, 2 * b->size, &s);
	if (r < 0)
		return r;
	r = one_session(b, s, PAGERD_COLD, round);
	if (r == 0)
		r = one_session(b, s, PAGERD_WARM, round);
	served_stop(s);
	return r;
}

static int run_rounds(struct fault_bench *b, unsigned int rounds)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < rounds; i++) {
		r = bare_round(b, BARE_WARM, i);
		if (r == 0)
			r = bare_round(b, BARE_COLD, i);
		if (r == 0)
			r = bare_round(b, BARE_ZEROS, i);
		if (r == 0)
			r = pagerd_round(b, i);
	}
	return r;
}

static void report_aims(const double p50[], const double p99[],
			const double mean[], struct report *report)
{
	report_aim(report, "warm p50, of the bare handler's",
		   p50[PAGERD_WARM] / p50[BARE_WARM], 1.10, true);
	report_aim(report, "warm p99, of the bare handler's",
		   p99[PAGERD_WARM] / p99[BARE_WARM], 1.10, true);
	report_aim(report, "cold p50, of bare pread + copy",
		   p50[PAGERD_COLD] / p50[BARE_COLD], 1.15, true);
	report_aim(report, "cold p99, of bare pread + copy",
		   p99[PAGERD_COLD] / p99[BARE_COLD], 1.15, true);
	report_aim(report, "zero runs, us a page", mean[PAGERD_ZEROS], 0.3,
		   true);
}

static void report_figures(struct fault_bench *b, unsigned int rounds,
			   struct report *report)
{
	double p50[CONTENDERS], p99[CONTENDERS], mean[CONTENDERS];

	for (int c = 0; c < CONTENDERS; c++) {
		struct figures *f = &b->figures[c];

		p50[c] = bench_median(f->p50, rounds);
		p99[c] = bench_median(f->p99, rounds);
		mean[c] = bench_median(f->mean, rounds);
		report_row(report, "touch (median of the rounds)",
			   json_pack("{s:s, s:f, s:f, s:f}", "handler",
				     contender_names[c], "p50 us", p50[c],
				     "p99 us", p99[c], "mean us", mean[c]));
	}
	report_aims(p50, p99, mean, report);
}

static int make_image(struct fault_bench *b)
{
	struct image_recipe recipe = {.seed = 2, .bytes = b->size};
	int r = image_make(b->image, &recipe);

	if (r == 0 && truncate(b->image, (off_t)(2 * b->size)) < 0)
		r = err_set(-errno, "%s: %m", b->image);
	return r;
}

static int prepare(struct fault_bench *b, const struct bench_options *options)
{
	int r;

	b->options = options;
	b->alone = bench_with_arg(options, "--neighbours=off");
	b->size = options->size ?: DEFAULT_SIZE;
	b->pages = b->size / PAGER_PAGE_SIZE;
	if (options->input)
		return err_set(-EINVAL, "fault makes its own image: leave "
					"--input out");
	if (b->pages == 0 || b->size % PAGER_PAGE_SIZE)
		return err_set(-EINVAL, "--size: a multiple of 4096");
	r = touch_init(&b->random, b->pages, 1);
	if (r == 0)
		r = touch_init(&b->zeros, b->pages, 0);
	if (r == 0 && asprintf(&b->image, "%s/image", b->folder) < 0)
		r = -ENOMEM;
	return r < 0 ? r : make_image(b);
}

static void report_all(struct fault_bench *b, unsigned int rounds,
		       struct report *report)
{
	report_fact(report, "pages", json_integer((json_int_t)b->pages));
	report_fact(report, "zero pages", json_integer((json_int_t)b->pages));
	report_fact(report, "cold: percent of the image in the page cache",
		    json_real(b->resident[0]));
	report_fact(report, "cold: percent of the packs in the page cache",
		    json_real(b->resident[1]));
	report_figures(b, rounds, report);
}

int bench_fault(const struct bench_options *options, struct report *report)
{
	unsigned int rounds = options->rounds ?: DEFAULT_ROUNDS;
	struct fault_bench b = {0};
	int r = bench_make_folder(options, &b.folder);

	if (r < 0)
		return r;
	r = prepare(&b, options);
	if (r == 0)
		r = served_publish(b.folder, "image", b.image);
	if (r == 0)
		r = run_rounds(&b, rounds);
	if (r == 0)
		report_all(&b, rounds, report);
	if (r == 0)
		r = patterns_run(options, b.folder, b.size, report);
	bench_remove_folder(b.folder);
	free(b.folder);
	free(b.image);
	touch_release(&b.random);
	touch_release(&b.zeros);
	return r;
}
