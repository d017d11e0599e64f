#include "tests/bench/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/io/page.h"

#define CHUNK_PAGES 512u
#define RUN_PAGES   24u /* mean length of a run of one kind */

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void fill_text(uint8_t *page, uint64_t *state)
{
	static const char *const words[] = {
		"static ",  "const ",	  "struct ", "page ",	 "return ",
		"uint64_t", " = ",	  ";\n\t",   "kernel.",	 "module/",
		"0x00ff",   "error: ",	  "(NULL)",  "/usr/lib", "systemd",
		".so.6",    "\0\0\0\0\0", "import ", "def ",	 "self.",
	};
	size_t at = 0;

	while (at < PAGER_PAGE_SIZE) {
		const char *word = words[next_random(state) %
					 (sizeof(words) / sizeof(words[0]))];
		size_t len = strlen(word) ?: 5;

		if (len > PAGER_PAGE_SIZE - at)
			len = PAGER_PAGE_SIZE - at;
		memcpy(page + at, word, len);
		at += len;
	}
}

static void fill_pointers(uint8_t *page, uint64_t *state)
{
	uint64_t base = UINT64_C(0xffff888000000000) +
			(next_random(state) & 0x3fffffff000);

	for (size_t at = 0; at < PAGER_PAGE_SIZE; at += 16) {
		uint64_t value = base + (next_random(state) & 0xffc0);
		uint64_t flags = next_random(state) & 7;

		memcpy(page + at, &value, 8);
		memcpy(page + at + 8, &flags, 8);
	}
}

static void fill_code(uint8_t *page, uint64_t *state)
{
	static const uint8_t opcodes[16] = {0x48, 0x89, 0xe5, 0x8b, 0x45, 0xe8,
					    0x83, 0xc4, 0x0f, 0x1f, 0x00, 0xc3,
					    0x74, 0x85, 0xc0, 0x55};

	for (size_t at = 0; at < PAGER_PAGE_SIZE; at++) {
		uint64_t value = next_random(state);

		page[at] = value % 4 ? opcodes[value >> 8 & 15]
				     : (uint8_t)(value >> 16 & 0x3f);
	}
}

static void fill_noise(uint8_t *page, uint64_t *state)
{
	for (size_t at = 0; at < PAGER_PAGE_SIZE; at += 8) {
		uint64_t value = next_random(state);

		memcpy(page + at, &value, 8);
	}
}

/* One of 64 pages that stand in the image again and again. */
static void fill_repeated(uint8_t *page, uint64_t *state)
{
	uint64_t which = next_random(state) & 63;

	fill_code(page, &which);
}

static void fill_zero(uint8_t *page, uint64_t *state)
{
	(void)state;
	memset(page, 0, PAGER_PAGE_SIZE);
}

typedef void fill_fn(uint8_t *page, uint64_t *state);

static fill_fn *pick(const struct image_recipe *recipe, uint64_t *state)
{
	/* Shares of 16 of what is not zero. */
	static fill_fn *const kinds[16] = {
		fill_text,     fill_text,     fill_text,     fill_text,
		fill_text,     fill_text,     fill_pointers, fill_pointers,
		fill_pointers, fill_pointers, fill_code,     fill_code,
		fill_code,     fill_repeated, fill_repeated, fill_noise,
	};

	if (next_random(state) % 100 < recipe->zero_percent)
		return fill_zero;
	return kinds[next_random(state) & 15];
}

int image_make(const char *path, const struct image_recipe *recipe)
{
	_cleanup_close_ int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	_cleanup_free_ uint8_t *chunk =
		malloc((size_t)CHUNK_PAGES * PAGER_PAGE_SIZE);
	uint64_t state = recipe->seed, run = 0, done = 0;
	fill_fn *fill = fill_zero;

	if (fd < 0)
		return err_set(-errno, "%s: %s", path, strerror(errno));
	if (!chunk)
		return -ENOMEM;
	while (done < recipe->bytes) {
		size_t len = (size_t)CHUNK_PAGES * PAGER_PAGE_SIZE;
		int r;

		if (len > recipe->bytes - done)
			len = recipe->bytes - done;
		for (size_t at = 0; at < len; at += PAGER_PAGE_SIZE) {
			if (run-- == 0) {
				run = next_random(&state) % (2 * RUN_PAGES);
				fill = pick(recipe, &state);
			}
			fill(chunk + at, &state);
		}
		r = file_pwrite(fd, chunk, len, done, INJECT_POINT_COUNT);
		if (r < 0)
			return err_set(r, "%s: %s", path, strerror(-r));
		done += len;
	}
	return 0;
}

static int compare_digests(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(XXH128_hash_t));
}

static int digest_pages(int fd, struct image_content *content,
			XXH128_hash_t *digests, uint64_t *ret_count)
{
	uint8_t page[PAGER_PAGE_SIZE];
	uint64_t count = 0;

	for (uint64_t i = 0; i < content->pages; i++) {
		int r = file_pread(fd, page, sizeof(page), i * sizeof(page),
				   INJECT_POINT_COUNT);

		if (r < 0)
			return r;
		if (page_is_zero(page))
			content->zero_pages++;
		else
			digests[count++] = XXH3_128bits(page, sizeof(page));
	}
	*ret_count = count;
	return 0;
}

int image_survey(const char *path, struct image_content *ret_content)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ XXH128_hash_t *digests = NULL;
	struct image_content content = {0};
	uint64_t count;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(-errno, "%s: %s", path, strerror(errno));
	content.pages = (uint64_t)st.st_size / PAGER_PAGE_SIZE;
	digests = calloc(content.pages ?: 1, sizeof(*digests));
	if (!digests)
		return -ENOMEM;
	r = digest_pages(fd, &content, digests, &count);
	if (r < 0)
		return err_set(r, "%s: %s", path, strerror(-r));
	qsort(digests, count, sizeof(*digests), compare_digests);
	for (uint64_t i = 0; i < count; i++)
		if (i == 0 || compare_digests(&digests[i - 1], &digests[i]))
			content.unique_pages++;
	*ret_content = content;
	return 0;
}
