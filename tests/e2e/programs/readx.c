/*
 * readx MOUNTED ORIGINAL OPERATIONS SEED
 *
 * Reads a file in every way that there is, at random places, and compares all
 * of it with the original. Prints how often it did what; exit status 1 with a
 * line that says what differed. Zero pages are to be holes, all others data.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE	      4096u
#define SIZE_MAX_READ (3u << 20)

static struct {
	int fd;	       /* the mounted file */
	int direct_fd; /* the same, O_DIRECT */
	int pipe[2];
	const uint8_t *original;
	uint64_t size;
	uint8_t *buffer; /* page-aligned, SIZE_MAX_READ and two pages */
	uint64_t random;
	const char *what; /* the operation that runs */
} x;

static void die(const char *why, uint64_t offset, uint64_t size)
{
	(void)printf("%s of %" PRIu64 " bytes at %" PRIu64 ": %s (%m)\n",
		     x.what, size, offset, why);
	exit(1);
}

static uint64_t next_random(void)
{
	x.random ^= x.random << 13;
	x.random ^= x.random >> 7;
	x.random ^= x.random << 17;
	return x.random;
}

/* Mostly small, at times a byte, at times large. */
static size_t random_size(void)
{
	uint64_t r = next_random();

	if (r % 1024 == 0)
		return (r >> 16) % SIZE_MAX_READ;
	if (r % 128 == 1)
		return (r >> 16) % (256u << 10);
	return r % 16 == 2 ? 1 : (r >> 16) % (3 * PAGE);
}

/* Within the file, at times about its end, at times past it. */
static uint64_t random_offset(void)
{
	uint64_t r = next_random();

	if (r % 32 == 0)
		return x.size - (r >> 8) % (x.size < 9000 ? x.size : 9000);
	if (r % 32 == 1)
		return x.size + (r >> 8) % 9000;
	return (r >> 8) % x.size;
}

static size_t expected(uint64_t offset, size_t size)
{
	uint64_t left = offset < x.size ? x.size - offset : 0;

	return size < left ? size : (size_t)left;
}

static void compare(const uint8_t *got, uint64_t offset, size_t len)
{
	if (len && memcmp(got, x.original + offset, len) != 0)
		die("differs", offset, len);
}

/* read(2) may return less than there is; what it returns is compared. */
static void read_whole(int fd, uint64_t offset, size_t size)
{
	size_t want = expected(offset, size), got = 0;

	while (got < size) {
		ssize_t n = pread(fd, x.buffer + got, size - got,
				  (off_t)(offset + got));

		if (n < 0)
			die("fails", offset, size);
		if (n == 0)
			break;
		got += (size_t)n;
	}
	if (got != want)
		die("is short", offset, size);
	compare(x.buffer, offset, got);
}

static void do_pread(void)
{
	read_whole(x.fd, random_offset(), random_size());
}

static void do_direct(void)
{
	uint64_t offset = random_offset() & ~(uint64_t)(PAGE - 1);

	read_whole(x.direct_fd, offset,
		   (random_size() + PAGE - 1) / PAGE * PAGE);
}

static void do_readv(void)
{
	uint64_t offset = random_offset();
	size_t a = random_size() % 5000, b = random_size() % 5000;
	struct iovec iov[2] = {{x.buffer, a}, {x.buffer + a, b}};
	ssize_t n = preadv(x.fd, iov, 2, (off_t)offset);

	if (n < 0 || (size_t)n != expected(offset, a + b))
		die("is short", offset, a + b);
	compare(x.buffer, offset, (size_t)n);
}

static void do_mmap(void)
{
	uint64_t offset = next_random() % x.size & ~(uint64_t)(PAGE - 1);
	size_t len = expected(offset, random_size() % (16 * PAGE) + 1);
	int kind = next_random() % 2 ? MAP_PRIVATE : MAP_SHARED;
	uint8_t *map = mmap(NULL, len, PROT_READ, kind, x.fd, (off_t)offset);

	if (map == MAP_FAILED)
		die("fails", offset, len);
	compare(map, offset, len);
	/* The rest of the last page is zero. */
	for (size_t i = len; offset + len == x.size && i % PAGE; i++)
		if (map[i])
			die("has bytes past the end", offset, len);
	(void)munmap(map, len);
}

static void do_sendfile(void)
{
	uint64_t offset = random_offset();
	off_t at = (off_t)offset;
	size_t size = random_size() % (32u << 10);
	ssize_t n = sendfile(x.pipe[1], x.fd, &at, size);
	size_t got = 0;

	if (n < 0 || (size_t)n > expected(offset, size) ||
	    (n == 0 && expected(offset, size)))
		die("fails", offset, size);
	while (got < (size_t)n) {
		ssize_t one = read(x.pipe[0], x.buffer + got, (size_t)n - got);

		if (one <= 0)
			die("lost its pipe", offset, size);
		got += (size_t)one;
	}
	compare(x.buffer, offset, got);
}

static bool page_is_zero(uint64_t page)
{
	static const uint8_t zeros[PAGE];
	uint64_t at = page * PAGE;
	size_t len = expected(at, PAGE);

	return memcmp(x.original + at, zeros, len) == 0;
}

static void do_seek(void)
{
	uint64_t offset = random_offset(), page = offset / PAGE;
	bool data = next_random() % 2;
	off_t got = lseek(x.fd, (off_t)offset, data ? SEEK_DATA : SEEK_HOLE);
	uint64_t pages = (x.size + PAGE - 1) / PAGE, want;

	if (offset >= x.size) {
		if (got != -1 || errno != ENXIO)
			die("past the end is not ENXIO", offset, 0);
		return;
	}
	while (page < pages && page_is_zero(page) == data)
		page++;
	if (page >= pages && data) {
		if (got != -1 || errno != ENXIO)
			die("finds data where is none", offset, 0);
		return;
	}
	want = page == offset / PAGE ? offset : page * PAGE;
	if (page >= pages)
		want = x.size;
	if (got < 0 || (uint64_t)got != want)
		die(data ? "SEEK_DATA is wrong" : "SEEK_HOLE is wrong", offset,
		    (uint64_t)got);
}

/* So that the next reads come to the file system again. */
static void do_forget(void)
{
	uint64_t offset = random_offset();

	if (posix_fadvise(x.fd, (off_t)offset, 8 << 20, POSIX_FADV_DONTNEED))
		die("fails", offset, 0);
}

static const struct {
	const char *name;
	void (*run)(void);
	unsigned int share; /* of 1000 */
} operations[] = {
	{"pread", do_pread, 497},	{"readv", do_readv, 100},
	{"O_DIRECT", do_direct, 80},	{"mmap", do_mmap, 120},
	{"sendfile", do_sendfile, 100}, {"seek", do_seek, 100},
	{"fadvise", do_forget, 3},
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static size_t pick(void)
{
	uint64_t r = next_random() % 1000;
	size_t i = 0;

	while (i + 1 < OPERATIONS && r >= operations[i].share)
		r -= operations[i++].share;
	return i;
}

static void open_files(const char *mounted, const char *original)
{
	int fd = open(original, O_RDONLY | O_CLOEXEC);
	struct stat st, mine;

	x.what = "opening";
	x.fd = open(mounted, O_RDONLY | O_CLOEXEC);
	x.direct_fd = open(mounted, O_RDONLY | O_CLOEXEC | O_DIRECT);
	if (fd < 0 || x.fd < 0 || x.direct_fd < 0 || pipe(x.pipe) < 0 ||
	    fstat(fd, &st) < 0 || fstat(x.fd, &mine) < 0)
		die("fails", 0, 0);
	if (st.st_size != mine.st_size || st.st_size == 0)
		die("the sizes differ", 0, (uint64_t)mine.st_size);
	x.size = (uint64_t)st.st_size;
	x.original = mmap(NULL, x.size, PROT_READ, MAP_PRIVATE, fd, 0);
	x.buffer = aligned_alloc(PAGE, SIZE_MAX_READ + 2 * PAGE);
	if (x.original == MAP_FAILED || !x.buffer)
		die("fails", 0, 0);
	(void)close(fd);
}

int main(int argc, char **argv)
{
	uint64_t counts[OPERATIONS] = {0};
	unsigned long times;

	if (argc != 5) {
		(void)fprintf(stderr,
			      "readx MOUNTED ORIGINAL OPERATIONS SEED\n");
		return 2;
	}
	open_files(argv[1], argv[2]);
	times = strtoul(argv[3], NULL, 10);
	x.random = strtoul(argv[4], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
	for (unsigned long i = 0; i < times; i++) {
		size_t which = pick();

		x.what = operations[which].name;
		operations[which].run();
		counts[which]++;
	}
	for (size_t i = 0; i < OPERATIONS; i++)
		(void)printf("%s %" PRIu64 "\n", operations[i].name, counts[i]);
	return 0;
}
