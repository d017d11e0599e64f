/*
 * pagerbench restore: what a working set is worth. It has 25,000 pages of an
 * image, in a random order, and is written as a recording would be.
 *
 * Two things are measured, with the daemon's cache cold (nothing in it, the
 * packs out of the page cache) and warm:
 *
 * How fast it is installed while nobody asks for anything, beside one thread
 * that copies as many pages from memory, 64 KiB a call, in the same run.
 *
 * How long a guest takes from its first touch to its last, when it touches the
 * set in its order, page by page: installed ahead, and on demand.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/io/page.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/workingset/wsfile.h"
#include "tests/bench/bench.h"
#include "tests/bench/fault/touch.h"
#include "tests/bench/image.h"
#include "tests/bench/served.h"

#define DEFAULT_ROUNDS 5u
#define ROUNDS_MAX     32u
#define SET_PAGES      25000u
#define IMAGE_PAGES    32768u
#define PIECE	       (UINT64_C(64) << 10)

enum heat { COLD, WARM, HEATS };
enum way { ON_DEMAND, AHEAD, WAYS };

struct restore_bench {
	const struct bench_options *options;
	char *folder, *image;
	uint8_t *bytes; /* of the image */
	struct touch set;
	double bare[ROUNDS_MAX];		 /* pages/s */
	double installed[HEATS][ROUNDS_MAX];	 /* likewise */
	double touched[HEATS][WAYS][ROUNDS_MAX]; /* seconds */
	double resident;
};

static int open_uffd(uint8_t *data, uint64_t size, int *ret_uffd)
{
	_cleanup_close_ int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)data, .len = size},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0 ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg) < 0)
		return err_set(-errno, "userfaultfd: %s", strerror(errno));
	*ret_uffd = steal_fd(uffd);
	return 0;
}

static int copy_pieces(const struct restore_bench *b, int uffd, uint8_t *to,
		       uint64_t size)
{
	for (uint64_t at = 0; at < size; at += PIECE) {
		struct uffdio_copy copy = {
			.dst = (uintptr_t)to + at,
			.src = (uintptr_t)b->bytes + at,
			.len = size - at < PIECE ? size - at : PIECE,
		};

		if (ioctl(uffd, UFFDIO_COPY, &copy) < 0)
			return err_set(-errno, "UFFDIO_COPY: %s",
				       strerror(errno));
	}
	return 0;
}

/* One thread that does nothing but copy. */
static int bare_round(struct restore_bench *b, unsigned int round)
{
	const uint64_t size = (uint64_t)SET_PAGES * PAGER_PAGE_SIZE;
	_cleanup_close_ int uffd = -1;
	uint8_t *to = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t begin;
	int r;

	if (to == MAP_FAILED)
		return -ENOMEM;
	r = open_uffd(to, size, &uffd);
	begin = bench_now();
	if (r == 0)
		r = copy_pieces(b, uffd, to, size);
	b->bare[round] = SET_PAGES / ((double)(bench_now() - begin) / 1e9);
	(void)munmap(to, size);
	return r;
}

static int check_bytes(const struct restore_bench *b, const uint8_t *data)
{
	for (uint64_t i = 0; i < b->set.count; i++) {
		uint64_t at = (uint64_t)b->set.order[i] * PAGER_PAGE_SIZE;

		if (memcmp(b->bytes + at, data + at, PAGER_PAGE_SIZE) != 0)
			return err_set(-EBADMSG, "page %u is not the image's",
				       b->set.order[i]);
	}
	return 0;
}

static int map(struct served *s, enum served_how how,
	       struct served_memory **ret_memory)
{
	return served_map(s, "image", (uint64_t)IMAGE_PAGES * PAGER_PAGE_SIZE,
			  how, ret_memory);
}

static int install(struct restore_bench *b, struct served *s, enum heat heat,
		   unsigned int round)
{
	struct served_memory *m;
	double seconds;
	int r = map(s, SERVED_AHEAD, &m);

	if (r < 0)
		return r;
	r = served_await(m, &seconds);
	if (r == 0) {
		b->installed[heat][round] = SET_PAGES / seconds;
		r = check_bytes(b, served_data(m));
	}
	served_unmap(m);
	return r;
}

static int touch_set(struct restore_bench *b, struct served *s, enum heat heat,
		     enum way way, unsigned int round)
{
	struct touch_figures figures;
	struct served_memory *m;
	int r = map(s, way == AHEAD ? SERVED_AHEAD : SERVED_ON_DEMAND, &m);

	if (r < 0)
		return r;
	touch_all(&b->set, served_data(m), &figures);
	b->touched[heat][way][round] =
		(double)(figures.end - figures.begin) / 1e9;
	r = check_bytes(b, served_data(m));
	served_unmap(m);
	return r;
}

static int start_cold(struct restore_bench *b, struct served **ret_served)
{
	double resident;
	int r = served_chill(b->folder, &resident);

	if (r < 0)
		return r;
	if (resident > b->resident)
		b->resident = resident;
	return served_start(b->options, b->folder,
			    2 * (uint64_t)IMAGE_PAGES * PAGER_PAGE_SIZE,
			    ret_served);
}

/* Each with a daemon of its own; the last one is warm then. */
static int run_round(struct restore_bench *b, unsigned int round)
{
	struct served *s;
	int r = bare_round(b, round);

	if (r == 0)
		r = start_cold(b, &s);
	if (r < 0)
		return r;
	r = touch_set(b, s, COLD, ON_DEMAND, round);
	served_stop(s);
	if (r == 0)
		r = start_cold(b, &s);
	if (r < 0)
		return r;
	r = touch_set(b, s, COLD, AHEAD, round);
	served_stop(s);
	if (r == 0)
		r = start_cold(b, &s);
	if (r < 0)
		return r;
	r = install(b, s, COLD, round);
	if (r == 0)
		r = install(b, s, WARM, round);
	if (r == 0)
		r = touch_set(b, s, WARM, ON_DEMAND, round);
	if (r == 0)
		r = touch_set(b, s, WARM, AHEAD, round);
	served_stop(s);
	return r;
}

static void report_install(double bare, const double installed[HEATS],
			   struct report *report)
{
	static const char *const names[HEATS] = {"pagerd, cold",
						 "pagerd, warm"};

	report_row(report, "installing the working set",
		   json_pack("{s:s, s:f, s:f}", "who",
			     "bare copies of 64 KiB, one thread", "pages/s",
			     bare, "us a page", 1e6 / bare));
	for (int heat = 0; heat < HEATS; heat++)
		report_row(report, "installing the working set",
			   json_pack("{s:s, s:f, s:f}", "who", names[heat],
				     "pages/s", installed[heat], "us a page",
				     1e6 / installed[heat]));
	report_aim(report, "warm: installed, of the bare copies' rate",
		   installed[WARM] / bare, 0.7, false);
	report_aim(report, "cold: installed, of the bare copies' rate",
		   installed[COLD] / bare, 0.7, false);
}

static void report_touches(double touched[HEATS][WAYS], struct report *report)
{
	static const char *const names[HEATS] = {"cold", "warm"};

	for (int heat = 0; heat < HEATS; heat++) {
		const double *of = touched[heat];

		report_row(report, "from a guest's first touch to its last, ms",
			   json_pack("{s:s, s:f, s:f, s:f}", "cache",
				     names[heat], "on demand",
				     of[ON_DEMAND] * 1e3, "ahead",
				     of[AHEAD] * 1e3, "ratio",
				     of[ON_DEMAND] / of[AHEAD]));
	}
	report_aim(report, "cold: on demand, in times of ahead",
		   touched[COLD][ON_DEMAND] / touched[COLD][AHEAD], 5, false);
	report_aim(report, "warm: on demand, in times of ahead",
		   touched[WARM][ON_DEMAND] / touched[WARM][AHEAD], 5, false);
}

static void report_all(struct restore_bench *b, unsigned int rounds,
		       struct report *report)
{
	double installed[HEATS], touched[HEATS][WAYS], bare;

	report_fact(report, "pages of the image", json_integer(IMAGE_PAGES));
	report_fact(report, "pages of the working set",
		    json_integer((json_int_t)b->set.count));
	report_fact(report, "cold: percent of the packs in the page cache",
		    json_real(b->resident));
	for (int heat = 0; heat < HEATS; heat++) {
		installed[heat] = bench_median(b->installed[heat], rounds);
		for (int way = 0; way < WAYS; way++)
			touched[heat][way] =
				bench_median(b->touched[heat][way], rounds);
	}
	bare = bench_median(b->bare, rounds);
	report_fact(report, "bare copies of the set take, ms: no way is faster",
		    json_real(SET_PAGES / bare * 1e3));
	report_install(bare, installed, report);
	report_touches(touched, report);
}

/* Keeps 25,000 pages that are not zero, in the order that they have. */
static int choose_set(struct restore_bench *b)
{
	uint64_t kept = 0;
	int r = touch_init(&b->set, IMAGE_PAGES, 1);

	if (r < 0)
		return r;
	for (uint64_t i = 0; i < IMAGE_PAGES && kept < SET_PAGES; i++) {
		uint32_t page = b->set.order[i];

		if (!page_is_zero(b->bytes + (uint64_t)page * PAGER_PAGE_SIZE))
			b->set.order[kept++] = page;
	}
	b->set.count = kept;
	return kept == SET_PAGES
		       ? 0
		       : err_set(-ERANGE, "too many pages of it are zero");
}

static int write_set(const struct restore_bench *b, struct store *store)
{
	struct workingset set cleanup(workingset_release) = {0};
	struct snapshot *snapshot cleanup(cleanup_snapshot) = NULL;
	_cleanup_free_ uint64_t *pages = calloc(b->set.count, sizeof(*pages));
	struct workingset none = {0};
	int r = snapshot_open(store, "image", &snapshot);

	if (r < 0)
		return r;
	if (!pages)
		return -ENOMEM;
	for (uint64_t i = 0; i < b->set.count; i++)
		pages[i] = b->set.order[i];
	none.image = snapshot_manifest(snapshot)->image.digest;
	none.pages = snapshot_manifest(snapshot)->image.pages;
	r = workingset_merge(&none, pages, b->set.count, b->set.count, &set);
	return r < 0 ? r : wsfile_save(store, &set);
}

static int record(const struct restore_bench *b)
{
	_cleanup_free_ char *path = NULL;
	struct store *store;
	int r;

	if (asprintf(&path, "%s/store", b->folder) < 0)
		return -ENOMEM;
	r = store_open(path, STORE_WRITE, &store);
	if (r < 0)
		return r;
	r = write_set(b, store);
	store_unref(store);
	return r;
}

static int read_image(struct restore_bench *b, uint64_t size)
{
	_cleanup_close_ int fd = open(b->image, O_RDONLY | O_CLOEXEC);

	b->bytes = malloc(size);
	if (!b->bytes)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	return file_pread(fd, b->bytes, size, 0, INJECT_POINT_COUNT);
}

static int prepare(struct restore_bench *b, const struct bench_options *options)
{
	struct image_recipe recipe = {
		.seed = 3,
		.bytes = (uint64_t)IMAGE_PAGES * PAGER_PAGE_SIZE,
		.zero_percent = 15,
	};
	int r;

	b->options = options;
	if (options->input || options->size)
		return err_set(-EINVAL, "restore makes its own image: leave "
					"--input and --size out");
	if (asprintf(&b->image, "%s/image", b->folder) < 0)
		return -ENOMEM;
	r = image_make(b->image, &recipe);
	if (r == 0)
		r = read_image(b, recipe.bytes);
	if (r == 0)
		r = choose_set(b);
	if (r == 0)
		r = served_publish(b->folder, "image", b->image);
	return r < 0 ? r : record(b);
}

int bench_restore(const struct bench_options *options, struct report *report)
{
	unsigned int rounds = options->rounds ?: DEFAULT_ROUNDS;
	struct restore_bench b = {0};
	int r = bench_make_folder(options, &b.folder);

	if (r < 0)
		return r;
	r = prepare(&b, options);
	for (unsigned int i = 0; r == 0 && i < rounds; i++)
		r = run_round(&b, i);
	if (r == 0)
		report_all(&b, rounds, report);
	bench_remove_folder(b.folder);
	free(b.folder);
	free(b.image);
	free(b.bytes);
	touch_release(&b.set);
	return r;
}
