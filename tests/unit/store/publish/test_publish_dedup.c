#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/store/pack/pack.h"
#include "fs/store/publish/dedup.h"
#include "fs/store/snapshot/pagetable.h"
#include "fs/store/snapshot/snapshot.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/store/publish/publishing.h"
#include "tests/unit/store/scratch.h"

/* -- colliding digests ------------------------------------------------------
 */

static void colliding_pages_stay_two(void **state)
{
	uint8_t image[4 * PAGE];

	(void)state;
	for (int order = 0; order < 2; order++) {
		struct publish_options o = publishing_options("both");
		uint8_t *a = image + (order ? PAGE : 0);
		uint8_t *b = image + (order ? 0 : PAGE);
		struct pager_digest of_a, of_b;

		publishing_store(order ? "ba" : "ab",
				 scratch_colliding_secret());
		scratch_fixture("collide-a.bin", a);
		scratch_fixture("collide-b.bin", b);
		memcpy(image + 2 * PAGE, b, PAGE);
		memcpy(image + 3 * PAGE, a, PAGE);
		store_digest(t.store, a, PAGER_KIND_PAGE, &of_a);
		store_digest(t.store, b, PAGER_KIND_PAGE, &of_b);
		assert_memory_equal(&of_a, &of_b, sizeof(of_a));
		assert_memory_not_equal(a, b, PAGE);
		image_write(t.file, image, sizeof(image));
		publishing_good(&o);
		assert_int_equal(t.result.new_blocks, 3);
		image_check(t.store, "both", "memory", image, sizeof(image));
		/* One after the other, across publishes. */
		image_write(t.file, a, PAGE);
		o.name = "a";
		publishing_good(&o);
		assert_int_equal(t.result.shared_blocks, 1);
		image_check(t.store, "a", "memory", a, PAGE);
		image_write(t.file, b, PAGE);
		o.name = "b";
		publishing_good(&o);
		assert_int_equal(t.result.shared_blocks, 1);
		image_check(t.store, "b", "memory", b, PAGE);
	}
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* A sanitized build takes 30 times as long for the same. */
enum { COLLIDING = SANITIZED ? 10000 : 100000 };

/*
 * Page n of a family whose digests are all the same under the public secret.
 * The first lane of stripes 0 and 1 is chosen so that the low half of its
 * keyed value is 0: then its product is 0 whatever the high half is, and only
 * the sum of the two lanes counts, which is kept.
 */
static void colliding_page(uint32_t n, uint8_t page[PAGER_PAGE_SIZE])
{
	const uint64_t sum = UINT64_C(0x123456789abcdef0);
	const uint8_t *secret = scratch_colliding_secret();
	uint64_t key0, key1, lane0, lane1;

	memcpy(&key0, secret, 8);
	memcpy(&key1, secret + 8, 8);
	memset(page, 0, PAGER_PAGE_SIZE);
	lane0 = key0 ^ ((uint64_t)n << 32);
	lane1 = ((sum - (lane0 >> 32)) << 32) | (uint32_t)key1;
	memcpy(page, &lane0, 8);
	memcpy(page + 64, &lane1, 8);
}

static int feed_colliding(int fd)
{
	int pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		uint8_t page[PAGER_PAGE_SIZE];

		for (uint32_t n = 0; n < COLLIDING; n++) {
			colliding_page(n, page);
			if (write(fd, page, PAGE) != (ssize_t)PAGE)
				_exit(1);
		}
		_exit(0);
	}
	(void)close(fd);
	return pid;
}

static void check_colliding(const char *name)
{
	struct snapshot *snap = NULL;
	struct pagetable *table = NULL;
	const struct block_source *source = store_source(t.store);

	assert_int_equal(snapshot_open(t.store, name, &snap), 0);
	assert_int_equal(pagetable_open(&snapshot_manifest(snap)->image,
					pagetable_read_source,
					(void *)(uintptr_t)source, &table),
			 0);
	assert_int_equal(pagetable_pages(table), COLLIDING);
	for (uint32_t n = 0; n < COLLIDING; n++) {
		static uint8_t leaf[PAGER_PAGE_SIZE];
		uint8_t page[PAGER_PAGE_SIZE], want[PAGER_PAGE_SIZE];
		uint64_t block;

		if (n % 512 == 0)
			assert_int_equal(
				block_source_read(source,
						  pagetable_leaf(table, n),
						  leaf, NULL),
				0);
		assert_int_equal(pagetable_entry(leaf, 1, n, &block), 0);
		assert_int_equal(block_source_read(source, block, page, NULL),
				 0);
		colliding_page(n, want);
		assert_true(memcmp(page, want, PAGE) == 0);
	}
	pagetable_free(table);
	snapshot_unref(snap);
}

static void a_flood_of_colliding_pages_costs_linear_time(void **state)
{
	struct pager_digest first, other;
	uint8_t page[PAGER_PAGE_SIZE];

	(void)state;
	publishing_store("flood", scratch_colliding_secret());
	colliding_page(0, page);
	store_digest(t.store, page, PAGER_KIND_PAGE, &first);
	colliding_page(COLLIDING - 1, page);
	store_digest(t.store, page, PAGER_KIND_PAGE, &other);
	assert_memory_equal(&first, &other, sizeof(first));
	for (int round = 0; round < 2; round++) {
		struct publish_options o =
			publishing_options(round ? "second" : "first");
		char path[64];
		int ends[2], pid;

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		pid = feed_colliding(ends[1]);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
		o.memory.path = path;
		publishing_good(&o);
		image_wait(pid);
		(void)close(ends[0]);
		assert_int_equal(t.result.pages, COLLIDING);
		assert_true(t.result.compares <=
			    2 * DEDUP_CANDIDATES_MAX * (COLLIDING + 1000));
		assert_true(t.result.shared_blocks <= DEDUP_CANDIDATES_MAX);
	}
	check_colliding("first");
	check_colliding("second");
}

/* -- damage, and others at work ---------------------------------------------
 */

static void a_damaged_copy_is_stored_anew(void **state)
{
	const size_t size = 20 * PAGE;
	_cleanup_free_ uint8_t *image = malloc(size);
	char number[PACK_NAME_MAX], pack[64];
	struct publish_options o = publishing_options("one");

	(void)state;
	for (size_t i = 0; i < 20; i++)
		scratch_page(i, image + i * PAGE);
	image_write(t.file, image, size);
	publishing_good(&o);
	pack_name(1, number);
	(void)snprintf(pack, sizeof(pack), "packs/%s", number);
	/* In the middle of the first slot: pages start behind the header. */
	scratch_flip(scratch_file(t.path, pack), 64 + 500);
	o.name = "two";
	publishing_good(&o);
	/* The page, and the leaf that now points elsewhere. */
	assert_int_equal(t.result.new_blocks, 2);
	assert_int_equal(t.result.shared_blocks, 19);
	image_check(t.store, "two", "memory", image, size);
	o.name = "three";
	publishing_good(&o);
	assert_int_equal(t.result.new_blocks, 0);
	/* The good copy is found first: one compare a page, one the leaf. */
	assert_int_equal(t.result.compares, 21);
	image_check(t.store, "three", "memory", image, size);
}

/* A pack that is lost altogether costs its sharing. */
static void a_missing_pack_is_stored_anew(void **state)
{
	const size_t size = 3 * UNIT;
	_cleanup_free_ uint8_t *image = image_make(8, size);
	char number[PACK_NAME_MAX], pack[64];
	struct publish_options o = publishing_options("one");
	uint64_t new_blocks;

	(void)state;
	image_write(t.file, image, size);
	publishing_good(&o);
	new_blocks = t.result.new_blocks;
	pack_name(1, number);
	(void)snprintf(pack, sizeof(pack), "packs/%s", number);
	assert_int_equal(unlink(scratch_file(t.path, pack)), 0);
	store_unref(t.store);
	assert_int_equal(store_open(t.path, STORE_WRITE, &t.store), 0);
	o.name = "two";
	publishing_good(&o);
	assert_int_equal(t.result.new_blocks, new_blocks);
	image_check(t.store, "two", "memory", image, size);
}

/* In a process of its own; exits with the code, made positive. */
static int publish_elsewhere(const char *name, const int start[2])
{
	int pid = fork(), r;
	struct store *s;
	char byte;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	r = store_open(t.path, STORE_WRITE, &s);
	/* All begin together, when the last writing end is closed. */
	(void)close(start[1]);
	if (r == 0 && read(start[0], &byte, 1) == 0)
		r = image_publish(s, name, t.file, &t.result);
	_exit(-r);
}

/* Runs two publishers at once; how they ended. */
static void race(const char *one, const char *two, int codes[2])
{
	const char *const names[] = {one, two};
	int start[2], pids[2], status;

	assert_int_equal(pipe2(start, O_CLOEXEC), 0);
	for (int i = 0; i < 2; i++)
		pids[i] = publish_elsewhere(names[i], start);
	(void)close(start[1]);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFEXITED(status));
		codes[i] = -WEXITSTATUS(status);
	}
	(void)close(start[0]);
}

static void two_publishers_at_once(void **state)
{
	const size_t size = 10 * UNIT + 9;
	_cleanup_free_ uint8_t *image = image_make(6, size);
	int codes[2];

	(void)state;
	image_write(t.file, image, size);
	race("a", "b", codes);
	assert_int_equal(codes[0], 0);
	assert_int_equal(codes[1], 0);
	image_check_at(t.path, "a", image, size);
	image_check_at(t.path, "b", image, size);
	for (int i = 0; i < 4; i++) {
		char name[8] = {'s', (char)('0' + i)};

		race(name, name, codes);
		assert_int_equal(codes[0] + codes[1], -ENOTUNIQ);
		image_check_at(t.path, name, image, size);
	}
	assert_int_equal(scratch_count(scratch_file(t.path, "tmp")), 0);
	/* The index knows all their packs: nothing is new any more. */
	assert_int_equal(image_publish(t.store, "c", t.file, &t.result), 0);
	assert_int_equal(t.result.new_blocks, 0);
}

/* -- memory -----------------------------------------------------------------
 */

static uint64_t peak_kib(void)
{
	size_t len;
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[256];

	for (len = 0; f && fgets(line, sizeof(line), f); len++)
		if (sscanf(line, "VmHWM: %lu", &kib) == 1)
			break;
	if (f)
		(void)fclose(f);
	return kib;
}

static int feed_unlike_pages(int fd, uint64_t pages)
{
	int pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		uint8_t page[PAGER_PAGE_SIZE];

		for (uint64_t n = 0; n < pages; n++) {
			scratch_page(n, page);
			if (write(fd, page, PAGE) != (ssize_t)PAGE)
				_exit(1);
		}
		_exit(0);
	}
	(void)close(fd);
	return pid;
}

static void memory_is_bounded(void **state)
{
	const uint64_t pages = 160 << 10; /* 640 MiB, two packs */
	struct publish_options o = publishing_options("big");
	int ends[2], feeder, pid, status;
	char path[64];

	(void)state;
	if (SANITIZED)
		skip(); /* shadow memory counts, too */
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	feeder = feed_unlike_pages(ends[1], pages);
	pid = fork();
	if (pid == 0) {
		struct store *s;

		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
		o.memory.path = path;
		o.threads = 8;
		if (store_open(t.path, STORE_WRITE, &s) < 0 ||
		    publish(s, &o, &t.result) < 0)
			_exit(1);
		store_unref(s);
		_exit(peak_kib() && peak_kib() < 256 << 10 ? 0 : 2);
	}
	(void)close(ends[0]);
	image_wait(feeder);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(publishing_packs(), 2);
}

#define CASE(name)                                              \
	cmocka_unit_test_setup_teardown(name, publishing_setup, \
					publishing_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(colliding_pages_stay_two),
		CASE(a_flood_of_colliding_pages_costs_linear_time),
		CASE(a_damaged_copy_is_stored_anew),
		CASE(a_missing_pack_is_stored_anew),
		CASE(two_publishers_at_once),
		CASE(memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
