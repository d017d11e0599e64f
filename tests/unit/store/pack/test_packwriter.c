#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/folder.h"
#include "fs/store/pack/digests.h"
#include "fs/store/pack/pack.h"
#include "fs/store/pack/packset.h"
#include "tests/unit/store/packfile.h"
#include "tests/unit/store/scratch.h"

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
#ifdef PAGER_INJECT
	assert_int_equal(inject_configure(NULL), 0);
#endif
	store_unref(store);
	scratch_remove(folder);
	return 0;
}

static const char *in_store(const char *name)
{
	return scratch_file(folder, name);
}

static struct packwriter *new_writer(void)
{
	struct packwriter *w = NULL;

	assert_int_equal(packwriter_new(store, NULL, NULL, &w), 0);
	return w;
}

static int append(struct packwriter *w, uint64_t seed, uint64_t *ret_block)
{
	return packfile_append(w, store, seed, ret_block);
}

static void assert_reads_back(struct packwriter *w, uint64_t block,
			      uint64_t seed)
{
	uint8_t page[PAGER_PAGE_SIZE], want[PAGER_PAGE_SIZE], kind = 99;

	scratch_page(seed, want);
	assert_int_equal(packwriter_read(w, block, page, &kind), 0);
	assert_memory_equal(page, want, sizeof(page));
	assert_int_equal(kind, PAGER_KIND_PAGE);
}

static void blocks_come_back_from_buffer_file_and_pack(void **state)
{
	enum { COUNT = 1500 }; /* several buffers */
	static uint64_t blocks[COUNT];
	uint8_t page[PAGER_PAGE_SIZE], kind;
	struct packwriter *w = new_writer();

	(void)state;
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(append(w, i, &blocks[i]), 0);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_reads_back(w, blocks[i], i);
	assert_int_equal(packwriter_read(w, blocks[COUNT - 1] + 1, page, &kind),
			 -ENOENT);
	assert_int_equal(packwriter_stored_bytes(w), 0);
	assert_int_equal(packwriter_finish(w), 0);
	assert_true(packwriter_stored_bytes(w) > COUNT * (2048 + 40));
	assert_true(packwriter_stored_bytes(w) < COUNT * (2300 + 40));
	assert_int_equal(packwriter_read(w, blocks[0], page, &kind), -ENOENT);
	assert_int_equal(scratch_count(in_store("packs")), 1);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
	assert_true(
		packfile_holds(store, pager_block_pack(blocks[0]), 0, COUNT));
	packwriter_free(w);
}

static void no_block_makes_no_pack(void **state)
{
	struct packwriter *w = new_writer();
	uint64_t number;

	(void)state;
	assert_int_equal(packwriter_finish(w), 0);
	assert_int_equal(packwriter_finish(w), 0);
	packwriter_free(w);
	assert_int_equal(scratch_count(in_store("packs")), 0);
	assert_int_equal(store_next_pack(store, &number), 0);
	assert_int_equal(number, 1);
}

static void dropping_a_writer_leaves_nothing(void **state)
{
	struct packwriter *w = new_writer();
	uint64_t block;

	(void)state;
	assert_int_equal(append(w, 1, &block), 0);
	assert_int_equal(scratch_count(in_store("tmp")), 1);
	packwriter_free(w);
	assert_int_equal(scratch_count(in_store("tmp")), 0);
	assert_int_equal(scratch_count(in_store("packs")), 0);
}

/* Incompressible pages: 65535 of them and the header fill 256 MiB. */
static void a_full_pack_is_followed_by_the_next(void **state)
{
	const uint64_t fits = (PAGER_PACK_DATA_MAX - 64) / PAGER_PAGE_SIZE;
	struct packwriter *w = new_writer();
	uint8_t page[PAGER_PAGE_SIZE];
	uint64_t block = 0, last = 0;
	struct pack *p;

	(void)state;
	scratch_page(1, page);
	for (uint64_t i = 0; i <= fits; i++) {
		last = block;
		memcpy(page, &i, sizeof(i));
		assert_int_equal(packfile_append_page(w, store, page,
						      PAGER_CODEC_RAW, &block),
				 0);
	}
	assert_int_equal(last, pager_block_id(1, (uint32_t)fits - 1));
	assert_int_equal(block, pager_block_id(2, 0));
	assert_int_equal(scratch_count(in_store("packs")), 1);
	assert_int_equal(packwriter_finish(w), 0);
	assert_int_equal(packset_get(store_packs(store), 1, &p), 0);
	assert_int_equal(pack_slots(p), fits);
	assert_int_equal(pack_check_digests(p), 0);
	pack_unref(p);
	assert_int_equal(scratch_count(in_store("packs")), 2);
	packwriter_free(w);
}

/* -- finding ------------------------------------------------------------- */

static void the_colliding_pair_stays_apart(void **state)
{
	uint8_t pages[2][PAGER_PAGE_SIZE], page[PAGER_PAGE_SIZE], kind;
	uint64_t blocks[2], found[4];
	struct pager_digest digest;

	(void)state;
	scratch_fixture("collide-a.bin", pages[0]);
	scratch_fixture("collide-b.bin", pages[1]);
	for (int first = 0; first < 2; first++) {
		struct packwriter *w = new_writer();

		for (int i = 0; i < 2; i++)
			assert_int_equal(packfile_append_page(
						 w, store, pages[first ^ i],
						 PAGER_CODEC_ZSTD, &blocks[i]),
					 0);
		store_digest(store, pages[0], PAGER_KIND_PAGE, &digest);
		assert_int_equal(packwriter_find(w, &digest, 4, found), 2);
		assert_int_equal(found[0], blocks[0]);
		assert_int_equal(found[1], blocks[1]);
		assert_int_equal(packwriter_find(w, &digest, 1, found), 1);
		assert_int_equal(packwriter_finish(w), 0);
		assert_int_equal(packwriter_find(w, &digest, 4, found), 0);
		packwriter_free(w);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(block_source_read(store_source(store),
							   blocks[i], page,
							   &kind),
					 0);
			assert_memory_equal(page, pages[first ^ i],
					    sizeof(page));
		}
	}
}

/* As a guest would that knows the secret: one digest for all its pages. */
static void few_of_many_colliding_pages_are_remembered(void **state)
{
	enum { COUNT = 100000 };
	struct packwriter *w = new_writer();
	uint64_t block, found[64];
	uint8_t page[PAGER_PAGE_SIZE] = {0};
	struct pager_digest digest = {{7}};
	struct packwriter_block b = {
		.digest = &digest,
		.plain = page,
		.stored = page,
		.length = 100, /* what is stored does not matter here */
		.codec = PAGER_CODEC_ZSTD,
		.kind = PAGER_KIND_PAGE,
	};
	struct pack *p;

	(void)state;
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(packwriter_append(w, &b, &block), 0);
	assert_int_equal(packwriter_find(w, &digest, 64, found),
			 PACKWRITER_CHAIN_MAX);
	for (uint32_t i = 0; i < PACKWRITER_CHAIN_MAX; i++)
		assert_int_equal(found[i], pager_block_id(1, i));
	assert_int_equal(packwriter_finish(w), 0);
	packwriter_free(w);
	assert_int_equal(packset_get(store_packs(store), 1, &p), 0);
	assert_int_equal(pack_slots(p), COUNT);
	assert_int_equal(pack_digests(p), PACKWRITER_CHAIN_MAX);
	assert_int_equal(pack_check_digests(p), 0);
	pack_unref(p);
}

static void digests_are_found_while_the_tables_grow(void **state)
{
	enum { COUNT = 5000 };
	struct packwriter *w = new_writer();
	uint8_t page[PAGER_PAGE_SIZE];
	struct pager_digest digest;
	uint64_t block, found[8];

	(void)state;
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(append(w, i, &block), 0);
	for (uint32_t i = 0; i < COUNT; i++) {
		scratch_page(i, page);
		store_digest(store, page, PAGER_KIND_PAGE, &digest);
		assert_int_equal(packwriter_find(w, &digest, 8, found), 1);
		assert_int_equal(found[0], pager_block_id(1, i));
	}
	store_digest(store, page, PAGER_KIND_NODE_1, &digest);
	assert_int_equal(packwriter_find(w, &digest, 8, found), 0);
	packwriter_free(w);
}

/* -- sealing ------------------------------------------------------------- */

struct sealed {
	uint64_t packs, entries;
	int result;
	struct packwriter *writer;
	uint64_t block; /* to be found still while `sealed` runs */
};

static int note_sealed(void *arg, uint64_t pack,
		       const struct pager_digest_entry *entries, uint64_t count)
{
	struct sealed *s = arg;
	uint64_t found[1];

	s->packs++;
	s->entries += count;
	for (uint64_t i = 0; i < count; i++) {
		assert_int_equal(pager_block_pack(entries[i].block), pack);
		assert_true(i == 0 ||
			    digests_compare(&entries[i - 1], &entries[i]) < 0);
	}
	/* Known in the writer until it is known outside. */
	assert_int_equal(
		packwriter_find(s->writer, &entries[0].digest, 1, found), 1);
	assert_int_equal(found[0], entries[0].block);
	return s->result < 0 ? err_set(s->result, "no index today") : 0;
}

static void sealing_tells_sorted_digests(void **state)
{
	struct sealed sealed = {0};
	uint64_t block;

	(void)state;
	assert_int_equal(
		packwriter_new(store, note_sealed, &sealed, &sealed.writer), 0);
	for (uint64_t i = 0; i < 300; i++)
		assert_int_equal(append(sealed.writer, i, &block), 0);
	assert_int_equal(packwriter_finish(sealed.writer), 0);
	assert_int_equal(append(sealed.writer, 300, &block), 0);
	assert_int_equal(packwriter_finish(sealed.writer), 0);
	assert_int_equal(sealed.packs, 2);
	assert_int_equal(sealed.entries, 301);
	packwriter_free(sealed.writer);
}

static void what_sealed_says_is_final(void **state)
{
	struct sealed sealed = {.result = -ENOSPC};
	uint64_t block;

	(void)state;
	assert_int_equal(
		packwriter_new(store, note_sealed, &sealed, &sealed.writer), 0);
	assert_int_equal(append(sealed.writer, 1, &block), 0);
	assert_int_equal(packwriter_finish(sealed.writer), -ENOSPC);
	err_clear();
	assert_int_equal(append(sealed.writer, 2, &block), -ENOSPC);
	assert_string_equal(err_text(-ENOSPC), "no index today");
	packwriter_free(sealed.writer);
}

struct reading {
	struct packwriter *writer;
	_Atomic uint64_t appended;
	atomic_bool stop;
	uint64_t *blocks;
	_Atomic uint64_t read;
};

/* Reads what is appended, from the writer or, once sealed, from the pack. */
static void *read_all_the_time(void *arg)
{
	struct reading *r = arg;
	uint64_t x = 1;

	while (!r->stop) {
		uint8_t page[PAGER_PAGE_SIZE], want[PAGER_PAGE_SIZE], kind;
		uint64_t n = r->appended, i;
		int result;

		if (!n)
			continue;
		x = x * 6364136223846793005u + 1442695040888963407u;
		i = (x >> 33) % n;
		result = packwriter_read(r->writer, r->blocks[i], page, &kind);
		if (result == -ENOENT)
			result = block_source_read(store_source(store),
						   r->blocks[i], page, &kind);
		scratch_page(i, want);
		if (result < 0 || memcmp(page, want, sizeof(page)) != 0)
			return r; /* any pointer: wrong */
		r->read++;
	}
	return NULL;
}

static void reading_goes_on_while_packs_are_written(void **state)
{
	enum { COUNT = 6000, THREADS = 3 };
	struct reading r = {.writer = new_writer()};
	pthread_t threads[THREADS];

	(void)state;
	r.blocks = calloc(COUNT, sizeof(*r.blocks));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						read_all_the_time, &r),
				 0);
	for (uint64_t i = 0; i < COUNT; i++) {
		assert_int_equal(append(r.writer, i, &r.blocks[i]), 0);
		r.appended = i + 1;
		if (i % 1000 == 999)
			assert_int_equal(packwriter_finish(r.writer), 0);
	}
	while (r.read < 1000)
		(void)sched_yield();
	r.stop = true;
	for (int i = 0; i < THREADS; i++) {
		void *wrong;

		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
	assert_int_equal(scratch_count(in_store("packs")), COUNT / 1000);
	packwriter_free(r.writer);
	free(r.blocks);
}

/* -- faults -------------------------------------------------------------- */

#ifdef PAGER_INJECT
struct fault {
	const char *spec;
	int code;
	bool named; /* the pack has its name by then, and is whole */
};

static const struct fault faults[] = {
	{"sequence-write:ENOSPC", -ENOSPC, false},
	{"pack-create:EDQUOT", -EDQUOT, false},
	{"pack-write:ENOSPC", -ENOSPC, false},
	{"pack-write:EIO@2", -EIO, false},
	{"pack-write:ENOSPC@3", -ENOSPC, false},
	{"pack-write:EDQUOT@4", -EDQUOT, false},
	{"pack-write:EIO@5", -EIO, false},
	{"pack-sync:EIO", -EIO, false},
	{"pack-sync:ENOSPC", -ENOSPC, false},
	{"pack-rename:EIO", -EIO, false},
	{"pack-commit:EIO", -EIO, true},
	{"dir-sync:EIO", -EIO, true},
};

/* Enough for two flushes of the buffer: append and finish meet all points. */
static int write_pack(struct packwriter *w)
{
	uint64_t block;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < 700; i++)
		r = append(w, i, &block);
	return r < 0 ? r : packwriter_finish(w);
}

static void assert_sticky(struct packwriter *w, int code)
{
	char text[ERR_TEXT_MAX];
	uint64_t block;

	err_copy(code, text);
	assert_non_null(strstr(text, strerror(-code)));
	for (int i = 0; i < 2; i++) {
		err_clear();
		assert_int_equal(append(w, 9999, &block), code);
		assert_string_equal(err_text(code), text);
		assert_int_equal(packwriter_finish(w), code);
	}
}

static void a_failure_is_final_for_the_writer(void **state)
{
	unsigned int packs = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct packwriter *w = new_writer();

		assert_int_equal(inject_configure(faults[i].spec), 0);
		assert_int_equal(write_pack(w), faults[i].code);
		assert_sticky(w, faults[i].code);
		packwriter_free(w);
		packs += faults[i].named;
		assert_int_equal(scratch_count(in_store("packs")), packs);
		assert_int_equal(scratch_count(in_store("tmp")), 0);
		w = new_writer();
		assert_int_equal(write_pack(w), 0);
		packwriter_free(w);
		assert_int_equal(scratch_count(in_store("packs")), ++packs);
	}
}

static void interrupted_and_short_writes_are_finished(void **state)
{
	static const char *const specs[] = {
		"pack-write:short+",
		"pack-write:EINTR,pack-write:EINTR@3",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct packwriter *w = new_writer();

		assert_int_equal(inject_configure(specs[i]), 0);
		assert_int_equal(write_pack(w), 0);
		packwriter_free(w);
		assert_true(packfile_holds(store, i + 1, 0, 700));
	}
}

/* A folder_name_fn: every pack that has its name is whole. */
static int check_pack(void *arg, const char *name)
{
	unsigned int *count = arg;
	uint64_t number;
	struct pack *p;

	assert_int_equal(pack_number_of(name, &number), 0);
	assert_int_equal(packset_get(store_packs(store), number, &p), 0);
	assert_int_equal(pack_check_digests(p), 0);
	assert_true(packfile_holds(store, number, 0, pack_slots(p)));
	pack_unref(p);
	(*count)++;
	return 0;
}

static void die_at(const char *spec)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct packwriter *w;

		(void)inject_configure(spec);
		if (packwriter_new(store, NULL, NULL, &w) == 0)
			(void)write_pack(w);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFSIGNALED(status))
		fail_msg("%s was never passed", spec);
}

static void dying_at_any_step_leaves_whole_packs(void **state)
{
	static const char *const specs[] = {
		"sequence-write:crash", "pack-create:crash",
		"pack-write:crash",	"pack-write:crash@2",
		"pack-write:crash@3",	"pack-write:crash@4",
		"pack-write:crash@5",	"pack-write:short,pack-write:crash@2",
		"pack-sync:crash",	"pack-rename:crash",
		"pack-commit:crash",	"dir-sync:crash",
	};

	(void)state;
	assert_int_equal(packfile_make(store, 0, 50), 1);
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		unsigned int count = 0;

		die_at(specs[i]);
		store_unref(store);
		assert_int_equal(store_open(folder, STORE_WRITE, &store), 0);
		assert_int_equal(store_sweep_tmp(store), 0);
		assert_int_equal(scratch_count(in_store("tmp")), 0);
		assert_int_equal(folder_list(AT_FDCWD, in_store("packs"),
					     check_pack, &count),
				 0);
		assert_true(count >= 1);
	}
	assert_true(packfile_make(store, 0, 5) > 1);
}
#endif

#define WITH_STORE(f) \
	cmocka_unit_test_setup_teardown(f, open_store, close_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STORE(blocks_come_back_from_buffer_file_and_pack),
		WITH_STORE(no_block_makes_no_pack),
		WITH_STORE(dropping_a_writer_leaves_nothing),
		WITH_STORE(a_full_pack_is_followed_by_the_next),
		WITH_STORE(the_colliding_pair_stays_apart),
		WITH_STORE(few_of_many_colliding_pages_are_remembered),
		WITH_STORE(digests_are_found_while_the_tables_grow),
		WITH_STORE(sealing_tells_sorted_digests),
		WITH_STORE(what_sealed_says_is_final),
		WITH_STORE(reading_goes_on_while_packs_are_written),
#ifdef PAGER_INJECT
		WITH_STORE(a_failure_is_final_for_the_writer),
		WITH_STORE(interrupted_and_short_writes_are_finished),
		WITH_STORE(dying_at_any_step_leaves_whole_packs),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
