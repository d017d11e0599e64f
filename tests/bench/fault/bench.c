/*
 * pagerbench fault: one thread touches the pages of an image without zero
 * pages in a random order, one fault at a time, and times each touch. Warm:
 * the handler has every block in memory (pagerd: in its cache). Cold: nothing
 * is, and the files are out of the page cache. The bare handler of bare.c runs
 * beside it, in turns; what it reads cold is the plain image.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/page.h"
#include "tests/bench/fault/bare.h"
#include "tests/bench/bench.h"
#include "tests/bench/image.h"
#include "tests/bench/served.h"

#define DEFAULT_SIZE   (UINT64_C(64) << 20)
#define DEFAULT_ROUNDS 5u
#define ROUNDS_MAX     32u

enum contender { BARE_WARM, PAGERD_WARM, BARE_COLD, PAGERD_COLD, CONTENDERS };

static const char *const contender_names[CONTENDERS] = {
	[BARE_WARM] = "bare handler, warm",
	[PAGERD_WARM] = "pagerd, warm",
	[BARE_COLD] = "bare pread + copy, cold",
	[PAGERD_COLD] = "pagerd, cold",
};

struct figures {
	double p50[ROUNDS_MAX], p99[ROUNDS_MAX]; /* us */
	double rate[ROUNDS_MAX];		 /* touches a second */
};

struct fault_bench {
	const struct bench_options *options;
	char *folder, *image;
	uint64_t size, pages;
	uint32_t *order; /* a permutation of the pages */
	double *times;	 /* of one round, us */
	struct figures figures[CONTENDERS];
};

static void shuffle(uint32_t *order, uint64_t count, unsigned int seed)
{
	struct random_data data = {0};
	char state[64];
	int32_t value;

	(void)initstate_r(seed, state, sizeof(state), &data);
	for (uint64_t i = 0; i < count; i++)
		order[i] = (uint32_t)i;
	for (uint64_t i = count; i > 1; i--) {
		uint64_t j;
		uint32_t swap;

		(void)random_r(&data, &value);
		j = (uint64_t)value % i;
		swap = order[i - 1];
		order[i - 1] = order[j];
		order[j] = swap;
	}
}

static void touch_all(struct fault_bench *b, const uint8_t *data,
		      enum contender who, unsigned int round)
{
	struct figures *f = &b->figures[who];
	uint64_t begin = bench_now(), before = begin, after;

	for (uint64_t i = 0; i < b->pages; i++) {
		const volatile uint8_t *page =
			data + (uint64_t)b->order[i] * PAGER_PAGE_SIZE;

		(void)*page;
		after = bench_now();
		b->times[i] = (double)(after - before) / 1000;
		before = after;
	}
	f->rate[round] = (double)b->pages / ((double)(before - begin) / 1e9);
	f->p50[round] = bench_median(b->times, (unsigned int)b->pages);
	f->p99[round] = b->times[b->pages * 99 / 100];
}

static int chill_file(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fdatasync(fd) < 0)
		return -errno;
	return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int bare_round(struct fault_bench *b, enum contender who,
		      unsigned int round)
{
	struct bare *bare;
	int r = who == BARE_COLD ? chill_file(b->image) : 0;

	if (r == 0)
		r = bare_start(b->image,
			       who == BARE_COLD ? BARE_PREAD : BARE_MEMORY,
			       &bare);
	if (r < 0)
		return r;
	touch_all(b, bare_data(bare), who, round);
	bare_stop(bare);
	return 0;
}

/* The bytes are compared once, where no time is taken. */
static int check_bytes(const struct fault_bench *b, const uint8_t *data)
{
	_cleanup_close_ int fd = open(b->image, O_RDONLY | O_CLOEXEC);
	uint8_t page[PAGER_PAGE_SIZE];

	for (uint64_t i = 0; i < b->pages; i++) {
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
	int r = served_map(s, b->size, &m);

	if (r < 0)
		return r;
	touch_all(b, served_data(m), who, round);
	r = check_bytes(b, served_data(m));
	served_unmap(m);
	return r;
}

/* A daemon is started cold; its second session finds all in the cache. */
static int pagerd_round(struct fault_bench *b, unsigned int round)
{
	struct served *s;
	int r = served_chill(b->folder);

	if (r == 0)
		r = served_start(b->options, b->folder, 2 * b->size, &s);
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
			r = pagerd_round(b, i);
	}
	return r;
}

static void report_figures(struct fault_bench *b, unsigned int rounds,
			   struct report *report)
{
	double p50[CONTENDERS];

	for (int c = 0; c < CONTENDERS; c++) {
		struct figures *f = &b->figures[c];

		p50[c] = bench_median(f->p50, rounds);
		report_row(report, "touch (median of the rounds)",
			   json_pack("{s:s, s:f, s:f, s:f}", "handler",
				     contender_names[c], "p50 us", p50[c],
				     "p99 us", bench_median(f->p99, rounds),
				     "faults/s",
				     bench_median(f->rate, rounds)));
	}
	report_aim(report, "warm p50, of the bare handler's",
		   p50[PAGERD_WARM] / p50[BARE_WARM], 1.25, true);
	report_aim(report, "cold p50, of bare pread + copy",
		   p50[PAGERD_COLD] / p50[BARE_COLD], 1.15, true);
}

static int prepare(struct fault_bench *b, const struct bench_options *options)
{
	struct image_recipe recipe = {.seed = 2};

	b->options = options;
	b->size = recipe.bytes = options->size ?: DEFAULT_SIZE;
	b->pages = b->size / PAGER_PAGE_SIZE;
	if (options->input)
		return err_set(-EINVAL, "fault makes its own image: leave "
					"--input out");
	if (b->pages == 0 || b->size % PAGER_PAGE_SIZE)
		return err_set(-EINVAL, "--size: a multiple of 4096");
	b->order = calloc(b->pages, sizeof(*b->order));
	b->times = calloc(b->pages, sizeof(*b->times));
	if (!b->order || !b->times ||
	    asprintf(&b->image, "%s/image", b->folder) < 0)
		return -ENOMEM;
	shuffle(b->order, b->pages, 1);
	return image_make(b->image, &recipe);
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
		r = served_publish(b.folder, b.image);
	if (r == 0)
		r = run_rounds(&b, rounds);
	if (r == 0) {
		report_fact(report, "pages", json_integer((json_int_t)b.pages));
		report_figures(&b, rounds, report);
	}
	bench_remove_folder(b.folder);
	free(b.folder);
	free(b.image);
	free(b.order);
	free(b.times);
	return r;
}
