#include "tests/unit/store/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "fs/store/folder.h"

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	abort();
}

void scratch_make(char path[SCRATCH_PATH_MAX])
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(path, SCRATCH_PATH_MAX, "%s/pager-test.XXXXXX",
		       tmp ? tmp : "/tmp");
	must(mkdtemp(path) != NULL, path);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void scratch_remove(const char *path)
{
	must(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, path);
}

const char *scratch_file(const char *folder, const char *name)
{
	static _Thread_local char path[SCRATCH_PATH_MAX * 2];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static int count_one(void *arg, const char *name)
{
	unsigned int *count = arg;

	(void)name;
	(*count)++;
	return 0;
}

unsigned int scratch_count(const char *folder)
{
	unsigned int count = 0;

	must(folder_list(AT_FDCWD, folder, count_one, &count) == 0, folder);
	return count;
}

uint8_t *scratch_read(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;
	long len;

	must(f != NULL, path);
	must(fseek(f, 0, SEEK_END) == 0, path);
	len = ftell(f);
	rewind(f);
	data = malloc((size_t)len + 1);
	must(data && fread(data, 1, (size_t)len, f) == (size_t)len, path);
	(void)fclose(f);
	*ret_len = (size_t)len;
	return data;
}

void scratch_write(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "wb");

	must(f && fwrite(data, 1, len, f) == len, path);
	must(fclose(f) == 0, path);
}

void scratch_flip(const char *path, long offset)
{
	size_t len;
	uint8_t *data = scratch_read(path, &len);

	data[offset < 0 ? (long)len + offset : offset] ^= 0x10;
	scratch_write(path, data, len);
	free(data);
}

void scratch_page(uint64_t seed, uint8_t page[4096])
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < 4096; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(page + i, i < 2048 ? &x : &seed, 8);
	}
}

const uint8_t *scratch_colliding_secret(void)
{
	return XXH3_kSecret;
}

void scratch_fixture(const char *name, uint8_t page[4096])
{
	const char *folder = getenv("PAGER_TEST_FIXTURES");
	size_t len;
	uint8_t *data;

	must(folder != NULL, "PAGER_TEST_FIXTURES is not set");
	data = scratch_read(scratch_file(folder, name), &len);
	must(len == 4096, name);
	memcpy(page, data, 4096);
	free(data);
}
