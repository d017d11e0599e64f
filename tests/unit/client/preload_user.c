/*
 * preload_user FILE MODE: a program that maps FILE as a VMM does, and knows
 * nothing of the shim that it runs under. Exit status 0 when all was as MODE
 * expects it; else the line that was not.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/client/stub_daemon.h"

#define FILE_SIZE (16u * 4096)

#define EXPECT(what)                                                         \
	do {                                                                 \
		if (!(what)) {                                               \
			(void)fprintf(stderr, "%s: %s\n", mode_name, #what); \
			_exit(__LINE__ % 255 + 1);                           \
		}                                                            \
	} while (0)

static const char *mode_name;

static void expect_image(const uint8_t *data, uint64_t size, uint64_t offset)
{
	for (uint64_t i = 0; i < size; i++)
		EXPECT(data[i] == stub_byte(offset + i));
}

static uint8_t *map(void *addr, size_t size, int flags, int fd, off_t offset)
{
	return mmap(addr, size, PROT_READ | PROT_WRITE, flags, fd, offset);
}

static void whole(int fd)
{
	uint8_t *data = map(NULL, FILE_SIZE, MAP_PRIVATE, fd, 0);

	EXPECT(data != MAP_FAILED);
	expect_image(data, FILE_SIZE, 0);
	memset(data, 0, 4096);
	EXPECT(data[4095] == 0 && data[4096] == stub_byte(4096));
}

/* As QEMU does it: a reservation first, then the file over a part of it. */
static void fixed(int fd)
{
	uint8_t *place = mmap(NULL, 3 * FILE_SIZE, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			      0);
	uint8_t *low = place + FILE_SIZE, *high = low + 8192;

	EXPECT(place != MAP_FAILED);
	EXPECT(map(high, FILE_SIZE - 8192, MAP_PRIVATE | MAP_FIXED, fd, 8192) ==
	       high);
	EXPECT(map(low, 8192, MAP_PRIVATE | MAP_FIXED, fd, 0) == low);
	expect_image(low, FILE_SIZE, 0);
	EXPECT(map(low, 4096, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0) ==
	       MAP_FAILED);
	EXPECT(errno == EEXIST);
}

/* A length that ends within a page maps the whole page. */
static void partial(int fd)
{
	uint8_t *data = map(NULL, 5000, MAP_PRIVATE, fd, 4096);

	EXPECT(data != MAP_FAILED);
	expect_image(data, 8192, 4096);
}

/* Another descriptor, opened by another name, of the same file. */
static void renamed(int fd)
{
	char path[64];
	int again;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	EXPECT(again >= 0);
	whole(again);
}

static void untouched(int fd)
{
	uint8_t *other = map(NULL, 4096, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint8_t *elf = map(NULL, 4096, MAP_PRIVATE, self, 0);

	EXPECT(other != MAP_FAILED && other[0] == 0);
	EXPECT(elf != MAP_FAILED && memcmp(elf, "\177ELF", 4) == 0);
	EXPECT(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	EXPECT(mremap(other, 4096, 8192, MREMAP_MAYMOVE) != MAP_FAILED);
	errno = 0;
	EXPECT(map(NULL, 4096, MAP_PRIVATE, 9999, 0) == MAP_FAILED);
	EXPECT(errno == EBADF);
}

static void shared(int fd)
{
	EXPECT(map(NULL, 4096, MAP_SHARED, fd, 0) == MAP_FAILED);
	EXPECT(errno == EINVAL);
}

static void failing(int fd)
{
	EXPECT(map(NULL, 4096, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	EXPECT(errno == ENOENT);
}

static void refused(int fd)
{
	EXPECT(map(NULL, 4096, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	EXPECT(errno == EINVAL);
}

static void moving(int fd)
{
	uint8_t *data = map(NULL, 8192, MAP_PRIVATE, fd, 0);

	EXPECT(data != MAP_FAILED);
	EXPECT(mremap(data, 8192, 16384, MREMAP_MAYMOVE) == MAP_FAILED);
	EXPECT(errno == EINVAL);
	expect_image(data, 8192, 0);
}

static void *map_one(void *arg)
{
	uint8_t *data = map(NULL, 8192, MAP_PRIVATE, *(int *)arg, 8192);

	EXPECT(data != MAP_FAILED);
	expect_image(data, 8192, 8192);
	return NULL;
}

static void threads(int fd)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		EXPECT(pthread_create(&t[i], NULL, map_one, &fd) == 0);
	for (int i = 0; i < 4; i++)
		EXPECT(pthread_join(t[i], NULL) == 0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(int fd);
	} modes[] = {
		{"whole", whole},	  {"fixed", fixed},
		{"partial", partial},	  {"renamed", renamed},
		{"untouched", untouched}, {"shared", shared},
		{"failing", failing},	  {"refused", refused},
		{"moving", moving},	  {"threads", threads},
	};
	int fd = argc == 3 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;

	mode_name = argc == 3 ? argv[2] : "usage";
	EXPECT(fd >= 0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(modes[i].name, mode_name) == 0) {
			modes[i].run(fd);
			return 0;
		}
	EXPECT(!"a known mode");
}
