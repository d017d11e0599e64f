#include "tests/bench/mount/load.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pager/block.h"

#define CHUNK	    ((size_t)1 << 20)
#define READS_MAX   12000u /* of random pages, by all threads together */
#define THREADS_MAX 8u

const struct load loads[LOAD_KINDS] = {
	[LOAD_SEQUENTIAL] = {"sequential", "GiB/s", "MiB"},
	[LOAD_RANDOM_1] = {"random 4 KiB, 1 thread", "k/s", "4 KiB"},
	[LOAD_RANDOM_8] = {"random 4 KiB, 8 threads", "k/s", "4 KiB"},
	[LOAD_FAULTS] = {"mmap faults", "k/s", "4 KiB"},
};

struct file {
	int fd;
	uint64_t pages, size;
	uint64_t reads; /* of random pages */
	uint64_t seed;
};

/*
 * The pages in an order that nobody foresees, each once: multiples of a prime
 * that is no divisor of their number, scrambled within blocks of 1,024.
 */
static uint64_t page_number(const struct file *f, uint64_t i)
{
	static const uint64_t prime = 1000003;
	uint64_t z = (i + f->seed) * prime % (f->pages ?: 1);

	return f->pages % 1024 ? z : z ^ (z >> 10) % 1024;
}

static int read_through(const struct file *f)
{
	_cleanup_free_ uint8_t *chunk = malloc(CHUNK);
	ssize_t n;

	if (!chunk)
		return -ENOMEM;
	do {
		n = read(f->fd, chunk, CHUNK);
	} while (n > 0);
	return n < 0 ? -errno : 0;
}

struct reader {
	const struct file *file;
	uint64_t first, count;
	pthread_t thread;
	int result;
};

static void *read_pages(void *arg)
{
	struct reader *r = arg;
	uint8_t page[PAGER_PAGE_SIZE];

	for (uint64_t i = r->first; i < r->first + r->count; i++) {
		uint64_t at = page_number(r->file, i) * sizeof(page);
		ssize_t n = pread(r->file->fd, page, sizeof(page), (off_t)at);

		if (n <= 0) {
			r->result = n < 0 ? -errno : -ENODATA;
			break;
		}
	}
	return NULL;
}

static int read_random(const struct file *f, unsigned int threads)
{
	struct reader readers[THREADS_MAX] = {0};
	unsigned int started = 0;
	int r = 0;

	for (; r == 0 && started < threads; started++) {
		struct reader *one = &readers[started];

		one->file = f;
		one->count = f->reads / threads;
		one->first = started * one->count;
		r = -pthread_create(&one->thread, NULL, read_pages, one);
		if (r < 0)
			break;
	}
	for (unsigned int i = 0; i < started; i++) {
		(void)pthread_join(readers[i].thread, NULL);
		if (readers[i].result < 0)
			r = readers[i].result;
	}
	return r;
}

static int touch_pages(const struct file *f)
{
	volatile const uint8_t *data =
		mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, f->fd, 0);

	if (data == MAP_FAILED)
		return -errno;
	(void)madvise((void *)data, f->size, MADV_RANDOM);
	for (uint64_t i = 0; i < f->reads; i++)
		(void)data[page_number(f, i) * PAGER_PAGE_SIZE];
	(void)munmap((void *)data, f->size);
	return 0;
}

static int open_file(const char *path, struct file *ret_file)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		close_quietly(fd);
		return err_set(-errno, "%s: %m", path);
	}
	ret_file->fd = fd;
	ret_file->size = (uint64_t)st.st_size;
	ret_file->pages = ret_file->size / PAGER_PAGE_SIZE;
	ret_file->reads = ret_file->pages < READS_MAX ? ret_file->pages
						      : READS_MAX;
	return 0;
}

static int run(enum load_kind kind, const struct file *f)
{
	switch (kind) {
	case LOAD_SEQUENTIAL:
		return read_through(f);
	case LOAD_RANDOM_1:
		return read_random(f, 1);
	case LOAD_RANDOM_8:
		return read_random(f, THREADS_MAX);
	default:
		return touch_pages(f);
	}
}

int load_run(enum load_kind kind, const char *path, uint64_t seed,
	     struct load_result *ret_result)
{
	struct file f = {.seed = seed};
	double seconds;
	uint64_t begin;
	int r = open_file(path, &f);

	if (r < 0)
		return r;
	if (f.pages < THREADS_MAX) {
		close_quietly(f.fd);
		return err_set(-EINVAL, "%s: too small to be measured", path);
	}
	if (kind != LOAD_SEQUENTIAL)
		(void)posix_fadvise(f.fd, 0, 0, POSIX_FADV_RANDOM);
	begin = bench_now();
	r = run(kind, &f);
	seconds = (double)(bench_now() - begin) / 1e9;
	close_quietly(f.fd);
	if (r < 0)
		return err_set(r, "%s: %s", path, strerror(-r));
	if (kind == LOAD_SEQUENTIAL)
		*ret_result = (struct load_result){(double)f.size / seconds /
							   (1u << 30),
						   (double)f.size / (1u << 20)};
	else
		*ret_result = (struct load_result){
			(double)f.reads / seconds / 1000, (double)f.reads};
	return 0;
}

static int compare(const struct file *a, const struct file *b)
{
	_cleanup_free_ uint8_t *chunks = malloc(2 * CHUNK);

	if (!chunks)
		return -ENOMEM;
	for (uint64_t at = 0; at < a->size; at += CHUNK) {
		ssize_t n = pread(a->fd, chunks, CHUNK, (off_t)at);
		ssize_t m = pread(b->fd, chunks + CHUNK, CHUNK, (off_t)at);

		if (n < 0 || m < 0)
			return -errno;
		if (n != m || memcmp(chunks, chunks + CHUNK, (size_t)n) != 0)
			return -EILSEQ;
	}
	return 0;
}

int load_compare(const char *path, const char *other)
{
	struct file a = {.fd = -1}, b = {.fd = -1};
	int r = open_file(path, &a);

	if (r == 0)
		r = open_file(other, &b);
	if (r == 0)
		r = a.size == b.size ? compare(&a, &b) : -EILSEQ;
	close_quietly(a.fd);
	close_quietly(b.fd);
	return r < 0 ? err_set(r, "%s against %s: %s", path, other,
			       strerror(-r))
		     : 0;
}
