/*
 * pagerbench publish: the image into an empty store (new content), and again
 * under another name (nothing new), beside `zstd -1 -T2` and `cp` of the same
 * file. zstd writes a stream without random access and without syncing; a
 * publish deduplicates, builds index and page table, and is durable. Sources
 * are in the page cache for everybody: a first read warms it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/publish/publish.h"
#include "fs/store/store.h"
#include "tests/bench/bench.h"
#include "tests/bench/image.h"

#define DEFAULT_SIZE   (UINT64_C(1) << 30)
#define DEFAULT_ROUNDS 5u
#define ROUNDS_MAX     32u

enum contender { COPY, ZSTD, FRESH, AGAIN, CONTENDERS };

static const char *const contender_names[CONTENDERS] = {
	[COPY] = "cp",
	[ZSTD] = "zstd -1 -T2",
	[FRESH] = "publish, new content",
	[AGAIN] = "publish, the same again",
};

struct publish_bench {
	char *folder, *image;
	double seconds[CONTENDERS][ROUNDS_MAX];
	struct publish_result fresh, again;
	uint64_t zstd_bytes;
};

static int publish_as(struct store *s, const char *image, const char *name,
		      struct publish_result *ret_result)
{
	struct publish_options options = PUBLISH_OPTIONS_INIT;

	options.name = name;
	options.memory.key = "memory";
	options.memory.path = image;
	return publish(s, &options, ret_result);
}

static int publish_round(struct publish_bench *b, unsigned int round)
{
	_cleanup_free_ char *path = NULL;
	struct store *s;
	uint64_t begin;
	int r;

	if (asprintf(&path, "%s/store", b->folder) < 0)
		return -ENOMEM;
	r = store_init(path, NULL);
	if (r < 0)
		return r;
	r = store_open(path, STORE_WRITE, &s);
	if (r < 0)
		return r;
	begin = bench_now();
	r = publish_as(s, b->image, "first", &b->fresh);
	b->seconds[FRESH][round] = (double)(bench_now() - begin) / 1e9;
	if (r == 0) {
		begin = bench_now();
		r = publish_as(s, b->image, "second", &b->again);
		b->seconds[AGAIN][round] = (double)(bench_now() - begin) / 1e9;
	}
	store_unref(s);
	bench_remove_folder(path);
	return r;
}

static int baseline_round(struct publish_bench *b, unsigned int round)
{
	_cleanup_free_ char *to = NULL;
	struct stat st;
	int r;

	if (asprintf(&to, "%s/baseline", b->folder) < 0)
		return -ENOMEM;
	r = bench_run(
		(const char *[]){"cp", "--sparse=never", b->image, to, NULL},
		&b->seconds[COPY][round]);
	(void)unlink(to);
	if (r == 0)
		r = bench_run((const char *[]){"zstd", "-q", "-f", "-1", "-T2",
					       b->image, "-o", to, NULL},
			      &b->seconds[ZSTD][round]);
	if (r == 0 && stat(to, &st) == 0)
		b->zstd_bytes = (uint64_t)st.st_size;
	(void)unlink(to);
	return r;
}

static void report_times(struct publish_bench *b, unsigned int rounds,
			 struct report *report)
{
	double median[CONTENDERS];

	for (int c = 0; c < CONTENDERS; c++)
		median[c] = bench_median(b->seconds[c], rounds);
	for (int c = 0; c < CONTENDERS; c++)
		report_row(report, "time (median of the rounds)",
			   json_pack("{s:s, s:f, s:f}", "what",
				     contender_names[c], "seconds", median[c],
				     "of zstd", median[c] / median[ZSTD]));
	report_aim(report, "new content, of zstd's time",
		   median[FRESH] / median[ZSTD], 1.0, true);
	report_aim(report, "the same again, of zstd's time",
		   median[AGAIN] / median[ZSTD], 0.5, true);
}

/* How well an image that we made compresses is our own choice: no aim then. */
static int report_bytes(const struct publish_bench *b, bool made,
			struct report *report)
{
	struct image_content content;
	double unique;
	int r = image_survey(b->image, &content);

	if (r < 0)
		return r;
	unique = (double)((content.unique_pages ?: 1) * PAGER_PAGE_SIZE);
	report_fact(report, "pages", json_integer((json_int_t)content.pages));
	report_fact(report, "zero pages",
		    json_integer((json_int_t)content.zero_pages));
	report_fact(report, "unique pages",
		    json_integer((json_int_t)content.unique_pages));
	report_fact(report, "stored bytes",
		    json_integer((json_int_t)b->fresh.stored_bytes));
	report_fact(report, "stored bytes of the second",
		    json_integer((json_int_t)b->again.stored_bytes));
	report_fact(report, "zstd -1 bytes",
		    json_integer((json_int_t)b->zstd_bytes));
	if (made)
		report_fact(report, "stored bytes, of the unique non-zero",
			    json_real((double)b->fresh.stored_bytes / unique));
	else
		report_aim(report, "stored bytes, of the unique non-zero bytes",
			   (double)b->fresh.stored_bytes / unique, 0.30, true);
	return 0;
}

static int take_input(struct publish_bench *b,
		      const struct bench_options *options)
{
	struct image_recipe recipe = {
		.seed = 1,
		.bytes = options->size ?: DEFAULT_SIZE,
		.zero_percent = 71,
	};

	if (options->input) {
		b->image = strdup(options->input);
		return b->image ? 0 : -ENOMEM;
	}
	if (asprintf(&b->image, "%s/image", b->folder) < 0)
		return -ENOMEM;
	return image_make(b->image, &recipe);
}

int bench_publish(const struct bench_options *options, struct report *report)
{
	unsigned int rounds = options->rounds ?: DEFAULT_ROUNDS;
	struct publish_bench b = {0};
	int r;

	if (rounds > ROUNDS_MAX)
		return err_set(-EINVAL, "--rounds: at most %u", ROUNDS_MAX);
	r = bench_make_folder(options, &b.folder);
	if (r < 0)
		return r;
	r = take_input(&b, options);
	for (unsigned int i = 0; r == 0 && i < rounds; i++) {
		r = baseline_round(&b, i);
		if (r == 0)
			r = publish_round(&b, i);
	}
	if (r == 0) {
		report_times(&b, rounds, report);
		r = report_bytes(&b, !options->input, report);
	}
	bench_remove_folder(b.folder);
	free(b.folder);
	free(b.image);
	return r;
}
