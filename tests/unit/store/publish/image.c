#include "tests/unit/store/publish/image.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/io/page.h"
#include "fs/store/publish/export.h"
#include "tests/unit/store/scratch.h"

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void make_page(uint64_t *x, uint8_t *image, size_t page)
{
	uint8_t *to = image + page * PAGER_PAGE_SIZE;
	const uint8_t *other =
		image + next_random(x) % (page + 1) * PAGER_PAGE_SIZE;

	switch (next_random(x) % 8) {
	case 0:
	case 1:
		break; /* zero */
	case 2:
		memset(to, 0xff, PAGER_PAGE_SIZE);
		break;
	case 3:
		memmove(to, other, PAGER_PAGE_SIZE);
		break;
	case 4:
		memmove(to, other, PAGER_PAGE_SIZE);
		to[PAGER_PAGE_SIZE - 1] ^= (uint8_t)next_random(x);
		break;
	case 5:
		for (size_t i = 0; i < PAGER_PAGE_SIZE; i += 8)
			memcpy(to + i, &(uint64_t){next_random(x)}, 8);
		break;
	default:
		scratch_page(next_random(x) % 1000, to);
	}
}

uint8_t *image_make(uint64_t seed, size_t size)
{
	size_t pages = page_count(size);
	uint8_t *image = calloc(pages + 1, PAGER_PAGE_SIZE);
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	assert_non_null(image);
	for (size_t i = 0; i < pages; i++)
		make_page(&x, image, i);
	/* Holes of whole units, too. */
	for (size_t at = 3; at + 1 < pages / 512; at += 4)
		memset(image + at * 512 * PAGER_PAGE_SIZE, 0,
		       512 * PAGER_PAGE_SIZE);
	return image;
}

void image_write(const char *path, const uint8_t *image, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	for (size_t at = 0; at < size; at += PAGER_PAGE_SIZE) {
		size_t len = size - at < PAGER_PAGE_SIZE ? size - at
							 : PAGER_PAGE_SIZE;

		if (memcmp(image + at, page_zero, len) == 0)
			continue;
		assert_int_equal(pwrite(fd, image + at, len, (off_t)at), len);
	}
	assert_int_equal(close(fd), 0);
}

int image_feed(int fd, const uint8_t *image, size_t size)
{
	int pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		while (size) {
			ssize_t n = write(fd, image, size);

			if (n < 0)
				_exit(1);
			image += n;
			size -= (size_t)n;
		}
		_exit(0);
	}
	(void)close(fd);
	return pid;
}

void image_wait(int pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int image_publish(struct store *s, const char *name, const char *path,
		  struct publish_result *ret_result)
{
	struct publish_options o = PUBLISH_OPTIONS_INIT;

	o.name = name;
	o.memory = (struct publish_file){.key = "memory", .path = path};
	return publish(s, &o, ret_result);
}

void image_check(struct store *s, const char *name, const char *key,
		 const uint8_t *image, size_t size)
{
	struct snapshot *snap cleanup(cleanup_snapshot) = NULL;
	char folder[SCRATCH_PATH_MAX];
	struct export_options o = {.key = key};
	uint8_t *back;
	size_t len;
	int r = snapshot_open(s, name, &snap);

	if (r < 0)
		fail_msg("%s: %s", name, err_text(r));
	scratch_make(folder);
	o.path = scratch_file(folder, "out");
	r = export_file(snap, &o);
	if (r < 0)
		fail_msg("%s: %s", name, err_text(r));
	back = scratch_read(scratch_file(folder, "out"), &len);
	assert_int_equal(len, size);
	assert_true(memcmp(back, image, size) == 0);
	free(back);
	scratch_remove(folder);
}

void image_check_at(const char *store, const char *name, const uint8_t *image,
		    size_t size)
{
	struct store *s = NULL;

	assert_int_equal(store_open(store, STORE_READ, &s), 0);
	image_check(s, name, "memory", image, size);
	store_unref(s);
}
