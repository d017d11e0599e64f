#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/pack/codec.h"
#include "fs/store/pack/digests.h"
#include "fs/store/pack/pack.h"
#include "fs/store/pack/packset.h"
#include "fs/store/pack/packwriter.h"
#include "tests/unit/scratch.h"

static char folder[SCRATCH_PATH_MAX];
static struct store *store;

static int open_store(void **state)
{
	struct store_init_options options = {
		.secret = scratch_colliding_secret(),
	};

	(void)state;
	scratch_make(folder);
	assert_int_equal(store_init(folder, &options), 0);
	assert_int_equal(store_open(folder, STORE_WRITE, &store), 0);
	return 0;
}

static int close_store(void **state)
{
	(void)state;
	store_unref(store);
	scratch_remove(folder);
	return 0;
}

static const char *in_store(const char *name)
{
	return scratch_file(folder, name);
}

static int append_as(struct packwriter *w, const uint8_t *page,
		     enum pager_codec codec, uint64_t *ret_block)
{
	struct pager_digest digest;
	uint8_t stored[PAGER_PAGE_SIZE];
	struct packwriter_block b = {
		.digest = &digest,
		.plain = page,
		.stored = stored,
		.codec = codec,
		.kind = PAGER_KIND_PAGE,
	};

	store_digest(store, page, b.kind, &digest);
	b.length = coder_encode(coder_of_thread(), &b.codec, page, stored);
	return packwriter_append(w, &b, ret_block);
}

static int append(struct packwriter *w, uint64_t seed, uint64_t *ret_block)
{
	uint8_t page[PAGER_PAGE_SIZE];

	scratch_page(seed, page);
	return append_as(w, page, PAGER_CODEC_ZSTD, ret_block);
}

static void assert_stored(uint64_t block, uint64_t seed)
{
	uint8_t page[PAGER_PAGE_SIZE], want[PAGER_PAGE_SIZE], kind;

	scratch_page(seed, want);
	assert_int_equal(
		block_source_read(store_source(store), block, page, &kind), 0);
	assert_memory_equal(page, want, sizeof(page));
	assert_int_equal(kind, PAGER_KIND_PAGE);
}

static void blocks_come_back_from_buffer_file_and_pack(void **state)
{
	enum { COUNT = 1500 }; /* several buffers */
	static uint64_t blocks[COUNT];
	uint8_t page[PAGER_PAGE_SIZE], want[PAGER_PAGE_SIZE], kind;
	struct packwriter *w;

	(void)state;
	assert_int_equal(packwriter_new(store, NULL, NULL, &w), 0);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(append(w, i, &blocks[i]), 0);
	for (uint64_t i = 0; i < COUNT; i++) {
		scratch_page(i, want);
		assert_int_equal(packwriter_read(w, blocks[i], page, &kind), 0);
		assert_memory_equal(page, want, sizeof(page));
	}
	assert_int_equal(packwriter_finish(w), 0);
	assert_int_equal(packwriter_read(w, blocks[0], page, &kind), -ENOENT);
	assert_int_equal(scratch_count(in_store("packs")), 1);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_stored(blocks[i], i);
	packwriter_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			blocks_come_back_from_buffer_file_and_pack, open_store,
			close_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
