#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/io/page.h"
#include "fs/store/pack/pack.h"
#include "fs/store/snapshot/snapshot.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/store/publish/publishing.h"
#include "tests/unit/store/scratch.h"

/* -- what goes in comes out ------------------------------------------------ */

static void check_counts(const uint8_t *image, size_t size)
{
	uint64_t zero = 0;

	for (size_t at = 0; at < size; at += PAGE)
		zero += page_is_zero(image + at);
	assert_int_equal(t.result.pages, page_count(size));
	assert_int_equal(t.result.zero_pages, zero);
}

static void every_size_comes_back(void **state)
{
	static const size_t sizes[] = {
		1,	  4095,	   4096,	 4097,	      8191,
		UNIT - 1, UNIT,	   UNIT + 1,	 UNIT + PAGE, 3 * UNIT - 1,
		3 * UNIT, 5000001, 9 * UNIT + 7, 20 * UNIT,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		_cleanup_free_ uint8_t *image = image_make(i, sizes[i]);
		struct publish_options o;
		char name[32];

		(void)snprintf(name, sizeof(name), "size-%zu", sizes[i]);
		image[0] |= 1;
		image_write(t.file, image, sizes[i]);
		o = publishing_options(name);
		publishing_good(&o);
		check_counts(image, sizes[i]);
		image_check(t.store, name, "memory", image, sizes[i]);
	}
}

/* Codec and threads change neither the content nor its digest. */
static void every_codec_and_thread_count_agrees(void **state)
{
	static const enum pager_codec codecs[] = {
		PAGER_CODEC_ZSTD, PAGER_CODEC_LZ4, PAGER_CODEC_RAW};
	static const unsigned int threads[] = {1, 2, 4, 0, 99};
	const size_t size = 12 * UNIT + 5555;
	_cleanup_free_ uint8_t *image = image_make(42, size);
	uint8_t secret[PAGER_SECRET_SIZE] = "any secret will do";
	struct pager_digest digest = {0};

	(void)state;
	image_write(t.file, image, size);
	for (size_t i = 0; i < 15; i++) {
		struct publish_options o = publishing_options("one");
		char name[32];

		(void)snprintf(name, sizeof(name), "store-%zu", i);
		publishing_store(name, secret);
		o.codec = codecs[i / 5];
		o.threads = threads[i % 5];
		publishing_good(&o);
		check_counts(image, size);
		if (i == 0)
			digest = t.result.image_digest;
		assert_memory_equal(&digest, &t.result.image_digest,
				    sizeof(digest));
		image_check(t.store, "one", "memory", image, size);
	}
}

/* Apart from the header, which names the store, packs are the same bytes. */
static void packs_do_not_depend_on_threads(void **state)
{
	const size_t size = 14 * UNIT + 1,
		     head = sizeof(struct pager_pack_header);
	_cleanup_free_ uint8_t *image = image_make(11, size), *first = NULL;
	uint8_t secret[PAGER_SECRET_SIZE] = "any secret will do";
	size_t first_len = 0, len;
	char number[PACK_NAME_MAX], name[64];

	(void)state;
	image_write(t.file, image, size);
	pack_name(1, number);
	(void)snprintf(name, sizeof(name), "packs/%s", number);
	for (unsigned int threads = 1; threads <= 4; threads++) {
		struct publish_options o = publishing_options("one");
		_cleanup_free_ uint8_t *pack = NULL;
		char store[32];

		(void)snprintf(store, sizeof(store), "store-%u", threads);
		publishing_store(store, secret);
		o.threads = threads;
		publishing_good(&o);
		assert_int_equal(publishing_packs(), 1);
		pack = scratch_read(scratch_file(t.path, name), &len);
		if (threads == 1) {
			first = steal_ptr(pack);
			first_len = len;
			continue;
		}
		assert_int_equal(len, first_len);
		assert_true(memcmp(pack + head, first + head, len - head) == 0);
	}
}

static void the_same_image_again_stores_nothing(void **state)
{
	const size_t size = 8 * UNIT + 99;
	_cleanup_free_ uint8_t *image = image_make(5, size);
	struct publish_options o = publishing_options("one");
	struct pager_digest digest;
	uint64_t nonzero;

	(void)state;
	image_write(t.file, image, size);
	publishing_good(&o);
	nonzero = t.result.pages - t.result.zero_pages;
	digest = t.result.image_digest;
	assert_true(t.result.new_blocks > 0 && t.result.shared_blocks > 0);
	assert_true(t.result.stored_bytes > 0);
	/* All but the nodes: leaves of 8 units and 1 page, and a root. */
	assert_in_range(t.result.new_blocks + t.result.shared_blocks - nonzero,
			2, 10);
	o.name = "two";
	publishing_good(&o);
	assert_int_equal(t.result.new_blocks, 0);
	assert_int_equal(t.result.stored_bytes, 0);
	assert_int_equal(t.result.shared_blocks, nonzero);
	assert_memory_equal(&digest, &t.result.image_digest, sizeof(digest));
	assert_int_equal(publishing_packs(), 1);
	/* Nor through a store that was opened anew. */
	store_unref(t.store);
	assert_int_equal(store_open(t.path, STORE_WRITE, &t.store), 0);
	o.name = "three";
	publishing_good(&o);
	assert_int_equal(t.result.new_blocks, 0);
	image_check(t.store, "three", "memory", image, size);
}

/* One byte changed: its page and its path are new, all else is shared. */
static void one_byte_costs_a_page_and_its_path(void **state)
{
	const size_t size = 600 * UNIT, at = 599 * UNIT + 77 * PAGE;
	struct publish_options o = publishing_options("one");
	struct pager_digest digest;
	int fd;

	(void)state;
	fd = open(t.file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, "page", 4, (off_t)at), 4);
	assert_int_equal(pwrite(fd, "page", 4, (off_t)PAGE), 4);
	publishing_good(&o);
	digest = t.result.image_digest;
	/* A page, two leaves, two nodes of level 2 and the root. */
	assert_int_equal(t.result.new_blocks, 6);
	assert_int_equal(t.result.shared_blocks, 1);
	assert_int_equal(pwrite(fd, "last", 4, (off_t)(at + PAGE - 4)), 4);
	o.name = "two";
	publishing_good(&o);
	assert_int_equal(t.result.new_blocks, 4);
	assert_int_equal(t.result.shared_blocks, 1);
	assert_memory_not_equal(&digest, &t.result.image_digest,
				sizeof(digest));
	(void)close(fd);
}

/* Of the same pages another size is another image. */
static void the_digest_tells_sizes_apart(void **state)
{
	struct pager_digest seen[4];
	uint8_t image[2 * PAGE] = {1};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		static const size_t sizes[] = {4095, 4096, 4097, 8192};
		char name[8] = {(char)('a' + i)};
		struct publish_options o = publishing_options(name);

		image_write(t.file, image, sizes[i]);
		publishing_good(&o);
		seen[i] = t.result.image_digest;
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(&seen[i], &seen[k],
						sizeof(seen[i]));
	}
}

static void an_image_over_4_gib_with_data_at_its_edges(void **state)
{
	static const uint64_t marks[] = {
		0,
		UINT64_C(1) << 30,
		(UINT64_C(1) << 32) - 1,
		UINT64_C(1) << 32,
		(UINT64_C(5) << 40) + 122,
	};
	struct publish_options o = publishing_options("huge");
	struct snapshot *snap = NULL;
	int fd = open(t.file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(pwrite(fd, "x", 1, (off_t)marks[i]), 1);
	(void)close(fd);
	publishing_good(&o);
	assert_int_equal(t.result.pages, (UINT64_C(5) << 28) + 1);
	assert_int_equal(t.result.pages - t.result.zero_pages, 5);
	assert_int_equal(snapshot_open(t.store, "huge", &snap), 0);
	assert_int_equal(snapshot_manifest(snap)->image.levels, 4);
	assert_int_equal(snapshot_manifest(snap)->image.size, marks[4] + 1);
	snapshot_unref(snap);
}

/* -- pipes ----------------------------------------------------------------- */

static void a_pipe_gives_the_same_as_a_file(void **state)
{
	static const size_t sizes[] = {1, 4097, UNIT, 11 * UNIT + 4001};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		_cleanup_free_ uint8_t *image = image_make(i + 70, sizes[i]);
		char name[32], path[64];
		struct publish_options o = publishing_options(name);
		struct pager_digest digest;
		int ends[2], pid;

		image[sizes[i] / 2] |= 1;
		image_write(t.file, image, sizes[i]);
		(void)snprintf(name, sizeof(name), "file-%zu", i);
		publishing_good(&o);
		digest = t.result.image_digest;
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		pid = image_feed(ends[1], image, sizes[i]);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
		(void)snprintf(name, sizeof(name), "pipe-%zu", i);
		o.memory.path = path;
		publishing_good(&o);
		image_wait(pid);
		(void)close(ends[0]);
		assert_memory_equal(&digest, &t.result.image_digest,
				    sizeof(digest));
		assert_int_equal(t.result.new_blocks, 0);
		check_counts(image, sizes[i]);
		image_check(t.store, name, "memory", image, sizes[i]);
	}
}

static void standard_input_is_read_from_where_it_stands(void **state)
{
	const size_t size = 3 * UNIT + 17;
	_cleanup_free_ uint8_t *image = image_make(3, size);
	struct publish_options o = publishing_options("stdin");
	int saved = dup(STDIN_FILENO), fd;

	(void)state;
	image_write(t.file, image, size);
	fd = open(t.file, O_RDONLY | O_CLOEXEC);
	assert_int_equal(lseek(fd, PAGE, SEEK_SET), PAGE);
	assert_int_equal(dup2(fd, STDIN_FILENO), STDIN_FILENO);
	o.memory.path = "-";
	publishing_good(&o);
	assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
	(void)close(saved);
	(void)close(fd);
	image_check(t.store, "stdin", "memory", image + PAGE, size - PAGE);
}

/* -- attached files, labels, parents --------------------------------------- */

static void files_and_labels_are_kept(void **state)
{
	const size_t size = UNIT + 1;
	_cleanup_free_ uint8_t *image = image_make(1, size),
			       *vmstate = image_make(2, 300001);
	char paths[3][3 * SCRATCH_PATH_MAX];
	const struct publish_file files[] = {
		{"vmstate", paths[0]}, {"empty", paths[1]}, {"a b", paths[2]}};
	const struct publish_label labels[] = {{"os", "linux"}, {"app", ""}};
	struct publish_options o = publishing_options("base");
	struct snapshot *snap = NULL;
	const struct manifest *m;

	(void)state;
	image_write(t.file, image, size);
	for (int i = 0; i < 3; i++)
		(void)snprintf(paths[i], sizeof(paths[i]), "%s/f%d", t.folder,
			       i);
	image_write(paths[0], vmstate, 300001);
	image_write(paths[1], image, 0);
	image_write(paths[2], image, size);
	publishing_good(&o);
	o.name = "child";
	o.parent = "base";
	o.files = files;
	o.file_count = 3;
	o.labels = labels;
	o.label_count = 2;
	publishing_good(&o);
	image_check(t.store, "child", "memory", image, size);
	image_check(t.store, "child", "vmstate", vmstate, 300001);
	image_check(t.store, "child", "empty", image, 0);
	image_check(t.store, "child", "a b", image, size);
	assert_int_equal(snapshot_open(t.store, "child", &snap), 0);
	m = snapshot_manifest(snap);
	assert_string_equal(m->parent, "base");
	assert_int_equal(m->file_count, 3);
	assert_string_equal(m->files[0].key, "a b");
	assert_memory_equal(&m->files[0].digest, &m->image.digest, 16);
	assert_int_equal(m->label_count, 2);
	assert_string_equal(m->labels[0].key, "app");
	assert_string_equal(m->labels[1].value, "linux");
	assert_int_equal(m->region_count, 1);
	assert_int_equal(m->regions[0].size, size);
	snapshot_unref(snap);
}

#define CASE(name)                                              \
	cmocka_unit_test_setup_teardown(name, publishing_setup, \
					publishing_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(every_size_comes_back),
		CASE(every_codec_and_thread_count_agrees),
		CASE(packs_do_not_depend_on_threads),
		CASE(the_same_image_again_stores_nothing),
		CASE(one_byte_costs_a_page_and_its_path),
		CASE(the_digest_tells_sizes_apart),
		CASE(an_image_over_4_gib_with_data_at_its_edges),
		CASE(a_pipe_gives_the_same_as_a_file),
		CASE(standard_input_is_read_from_where_it_stands),
		CASE(files_and_labels_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
