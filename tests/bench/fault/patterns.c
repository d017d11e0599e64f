#include "tests/bench/fault/patterns.h"

#include "pager/block.h"
#include "tests/bench/fault/touch.h"
#include "tests/bench/served.h"

#define ROUNDS 5u
#define APART  16u /* as many pages as ride at most, and one */

static const struct {
	const char *name;
	unsigned int step, seed;
} patterns[] = {
	{"all pages, at random", 1, 11},
	{"all pages, in order", 1, 0},
	{"three pages in 16, at random", APART / 3, 13},
	{"two pages in 16, at random", APART / 2, 13},
	{"one page in 16, at random", APART, 12},
};

#define PATTERNS (sizeof(patterns) / sizeof(patterns[0]))

static const char *const switches[2] = {"--neighbours=off", "--neighbours=on"};

struct figures {
	double mean[2][PATTERNS][ROUNDS]; /* us */
};

static int touch_pattern(struct served *s, uint64_t size, unsigned int pattern,
			 double *ret_mean)
{
	unsigned int step = patterns[pattern].step;
	struct touch_figures figures;
	struct served_memory *m;
	struct touch t;
	int r = touch_init_apart(&t, size / PAGER_PAGE_SIZE / step, step,
				 patterns[pattern].seed);

	if (r < 0)
		return r;
	r = served_map(s, "image", size, SERVED_ON_DEMAND, &m);
	if (r == 0) {
		touch_all(&t, served_data(m), &figures);
		*ret_mean = figures.mean;
		served_unmap(m);
	}
	touch_release(&t);
	return r;
}

static int run_daemon(const struct bench_options *options, const char *folder,
		      uint64_t size, double mean[PATTERNS][ROUNDS])
{
	struct served *s;
	double first;
	int r = served_start(options, folder, 2 * size, &s);

	if (r < 0)
		return r;
	/* So that all is in the cache. */
	r = touch_pattern(s, size, 1, &first);
	for (unsigned int i = 0; r == 0 && i < ROUNDS; i++)
		for (unsigned int p = 0; r == 0 && p < PATTERNS; p++)
			r = touch_pattern(s, size, p, &mean[p][i]);
	served_stop(s);
	return r;
}

int patterns_run(const struct bench_options *options, const char *folder,
		 uint64_t size, struct report *report)
{
	struct figures f;

	for (int i = 0; i < 2; i++) {
		struct bench_options o = bench_with_arg(options, switches[i]);
		int r = run_daemon(&o, folder, size, f.mean[i]);

		if (r < 0)
			return r;
	}
	for (unsigned int p = 0; p < PATTERNS; p++) {
		double off = bench_median(f.mean[0][p], ROUNDS);
		double on = bench_median(f.mean[1][p], ROUNDS);

		report_row(report, "cached neighbours, warm, us a touch",
			   json_pack("{s:s, s:f, s:f, s:f}", "order",
				     patterns[p].name, "off", off, "on", on,
				     "on/off", on / off));
	}
	return 0;
}
