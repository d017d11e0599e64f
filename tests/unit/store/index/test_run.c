#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/index/run.h"
#include "fs/store/pack/digests.h"
#include "tests/unit/store/scratch.h"

#define ENTRIES 20000u

static char folder[SCRATCH_PATH_MAX];
static struct store *store;
static struct pager_digest_entry entries[ENTRIES];
static char name[RUN_NAME_MAX];
static const uint64_t packs[] = {3, 7, 9};

struct source {
	uint64_t at, count;
	int error; /* in place of the end */
};

static int next_entry(void *arg, struct pager_digest_entry *ret_entry)
{
	struct source *s = arg;

	if (s->at == s->count)
		return s->error;
	*ret_entry = entries[s->at++];
	return 1;
}

static int write_some(struct source *s, char *ret_name)
{
	struct run_recipe recipe = {
		.packs = packs,
		.pack_count = 3,
		.next = next_entry,
		.arg = s,
	};

	return run_write(store, &recipe, ret_name);
}

static void fill_entries(void)
{
	uint64_t x = 1;

	for (uint64_t i = 0; i < ENTRIES; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		memcpy(entries[i].digest.bytes, &x, 8);
		memcpy(entries[i].digest.bytes + 8, &i, 8);
		entries[i].block = pager_block_id(7, (uint32_t)i);
	}
	/* One digest five times, and the ends of the range. */
	for (int i = 1; i < 5; i++)
		entries[i].digest = entries[0].digest;
	memset(&entries[10].digest, 0, sizeof(entries[10].digest));
	memset(&entries[11].digest, 0xff, sizeof(entries[11].digest));
	digests_sort(entries, ENTRIES);
}

static int make_run(void **state)
{
	struct source s = {.count = ENTRIES};

	(void)state;
	scratch_make(folder);
	assert_int_equal(store_init(folder, NULL), 0);
	assert_int_equal(store_open(folder, STORE_WRITE, &store), 0);
	fill_entries();
	assert_int_equal(write_some(&s, name), 0);
	return 0;
}

static int remove_run(void **state)
{
	(void)state;
#ifdef PAGER_INJECT
	assert_int_equal(inject_configure(NULL), 0);
#endif
	store_unref(store);
	scratch_remove(folder);
	return 0;
}

static const char *run_path(void)
{
	char below[RUN_NAME_MAX + 8];

	(void)snprintf(below, sizeof(below), "index/%s", name);
	return scratch_file(folder, below);
}

static int open_run(struct run **ret_run)
{
	return run_open(store_folder_fd(store, STORE_INDEX), name,
			store_id(store), ret_run);
}

static void sorting_puts_digests_in_order(void **state)
{
	(void)state;
	for (uint64_t i = 1; i < ENTRIES; i++)
		assert_true(digests_compare(&entries[i - 1], &entries[i]) < 0);
	/* All alike: the block decides. */
	for (uint64_t i = 0; i < ENTRIES; i++) {
		memset(&entries[i].digest, 9, sizeof(entries[i].digest));
		entries[i].block = (i * 7919) % ENTRIES;
	}
	digests_sort(entries, ENTRIES);
	for (uint64_t i = 0; i < ENTRIES; i++)
		assert_int_equal(entries[i].block, i);
}

static void every_entry_is_found(void **state)
{
	const uint64_t *of_run;
	uint64_t blocks[8];
	struct run *run;

	(void)state;
	assert_int_equal(open_run(&run), 0);
	assert_string_equal(run_name(run), "0000000000000001.run");
	assert_int_equal(run_number(run), 1);
	assert_int_equal(run_entries(run), ENTRIES);
	assert_int_equal(run_packs(run, &of_run), 3);
	assert_memory_equal(of_run, packs, sizeof(packs));
	for (uint64_t i = 0; i < ENTRIES; i++) {
		unsigned int n = run_find(run, &entries[i].digest, 8, blocks);
		bool found = false;

		for (unsigned int k = 0; k < n; k++)
			found |= blocks[k] == entries[i].block;
		assert_true(found);
		assert_memory_equal(run_entry(run, i), &entries[i],
				    sizeof(entries[i]));
	}
	run_unref(run);
}

static void duplicates_come_in_order_and_bounded(void **state)
{
	struct pager_digest digest;
	uint64_t blocks[8], first = 0;
	struct run *run;

	(void)state;
	assert_int_equal(open_run(&run), 0);
	while (pager_block_slot(entries[first].block) != 0)
		first++;
	digest = entries[first].digest;
	assert_int_equal(run_find(run, &digest, 8, blocks), 5);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(blocks[i], pager_block_id(7, i));
	assert_int_equal(run_find(run, &digest, 3, blocks), 3);
	assert_int_equal(run_find(run, &digest, 0, blocks), 0);
	for (unsigned int bit = 0; bit < 128; bit++) {
		digest.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(run_find(run, &digest, 8, blocks), 0);
		digest.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	run_unref(run);
}

static void an_empty_run_is_a_run(void **state)
{
	struct source s = {.count = 0};
	uint64_t blocks[1];
	struct run *run;

	(void)state;
	assert_int_equal(write_some(&s, name), 0);
	assert_string_equal(name, "0000000000000002.run");
	assert_int_equal(open_run(&run), 0);
	assert_int_equal(run_entries(run), 0);
	assert_int_equal(run_find(run, &entries[0].digest, 1, blocks), 0);
	run_unref(run);
}

static void what_breaks_the_order_is_not_written(void **state)
{
	struct source s = {.count = ENTRIES};
	struct pager_digest_entry swap = entries[500];

	(void)state;
	entries[500] = entries[501];
	entries[501] = swap;
	assert_int_equal(write_some(&s, name), -EBADMSG);
	entries[501] = entries[500];
	s.at = 0;
	assert_int_equal(write_some(&s, name), -EBADMSG);
	s = (struct source){.count = 100, .error = -EIO};
	assert_int_equal(write_some(&s, name), -EIO);
	assert_int_equal(scratch_count(scratch_file(folder, "tmp")), 0);
	assert_int_equal(scratch_count(scratch_file(folder, "index")), 1);
}

/* -- what a reader refuses ------------------------------------------------ */

struct image {
	uint8_t *bytes;
	size_t len;
};

static struct pager_run_header header_of(const struct image *f)
{
	struct pager_run_header h;

	memcpy(&h, f->bytes, sizeof(h));
	return h;
}

static void seal(struct image *f, struct pager_run_header h, bool tables)
{
	struct run_layout at = run_layout(3, ENTRIES);

	if (tables)
		h.tables_checksum =
			XXH3_64bits(f->bytes + at.packs, at.entries - at.packs);
	h.checksum =
		XXH3_64bits(&h, offsetof(struct pager_run_header, checksum));
	memcpy(f->bytes, &h, sizeof(h));
}

static void set_u64(struct image *f, uint64_t at, uint64_t value)
{
	memcpy(f->bytes + at, &value, sizeof(value));
}

static void magic(struct image *f)
{
	f->bytes[0] ^= 1;
}
static void header_flip(struct image *f)
{
	f->bytes[40] ^= 1;
}
static void version(struct image *f)
{
	struct pager_run_header h = header_of(f);

	h.version = 2;
	seal(f, h, false);
}
static void reserved(struct image *f)
{
	struct pager_run_header h = header_of(f);

	h.reserved0 = 2;
	seal(f, h, false);
}
static void foreign(struct image *f)
{
	struct pager_run_header h = header_of(f);

	h.store[0] ^= 2;
	seal(f, h, false);
}
static void many_packs(struct image *f)
{
	struct pager_run_header h = header_of(f);

	h.packs = UINT64_MAX;
	seal(f, h, false);
}
static void many_entries(struct image *f)
{
	struct pager_run_header h = header_of(f);

	h.entries = UINT64_MAX / 24 + 2;
	seal(f, h, false);
}
static void other_entries(struct image *f)
{
	struct pager_run_header h = header_of(f);

	h.entries--;
	seal(f, h, false);
}
static void tables_flip(struct image *f)
{
	f->bytes[4096 * 3] ^= 1;
}
static void packs_equal(struct image *f)
{
	set_u64(f, 4096 + 8, 3);
	seal(f, header_of(f), true);
}
static void packs_zero(struct image *f)
{
	set_u64(f, 4096, 0);
	seal(f, header_of(f), true);
}
static void packs_huge(struct image *f)
{
	set_u64(f, 4096 + 16, PAGER_PACK_NUMBER_MAX + 1);
	seal(f, header_of(f), true);
}
static void fan_first(struct image *f)
{
	set_u64(f, 8192, 1);
	seal(f, header_of(f), true);
}
static void fan_back(struct image *f)
{
	set_u64(f, 8192 + 8 * 300, UINT64_MAX);
	seal(f, header_of(f), true);
}
static void fan_last(struct image *f)
{
	set_u64(f, 8192 + 8 * 65536, ENTRIES + 1);
	seal(f, header_of(f), true);
}
static void cut(struct image *f)
{
	f->len--;
}
static void cut_to_header(struct image *f)
{
	f->len = 64;
}
static void cut_to_nothing(struct image *f)
{
	f->len = 0;
}

static const struct {
	void (*damage)(struct image *f);
	const char *words;
} refusals[] = {
	{magic, "begin"},
	{header_flip, "header's checksum"},
	{version, "unknown version"},
	{reserved, "no program writes"},
	{foreign, "another store"},
	{many_packs, "counts"},
	{many_entries, "counts"},
	{other_entries, "add up"},
	{tables_flip, "tables' checksum"},
	{packs_equal, "packs are out of order"},
	{packs_zero, "packs are out of order"},
	{packs_huge, "packs are out of order"},
	{fan_first, "fan-out"},
	{fan_back, "fan-out is out of order"},
	{fan_last, "fan-out does not cover"},
	{cut, "add up"},
	{cut_to_header, "counts"},
	{cut_to_nothing, "cut short"},
};

static void damaged_runs_are_refused(void **state)
{
	struct image f;
	uint8_t *good;
	size_t len;

	(void)state;
	good = scratch_read(run_path(), &len);
	f.bytes = malloc(len);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct run *run = NULL;

		memcpy(f.bytes, good, len);
		f.len = len;
		refusals[i].damage(&f);
		scratch_write(run_path(), f.bytes, f.len);
		assert_int_equal(open_run(&run), -EBADMSG);
		assert_null(run);
		if (!strstr(err_text(-EBADMSG), refusals[i].words))
			fail_msg("'%s' does not say '%s'", err_text(-EBADMSG),
				 refusals[i].words);
	}
	free(f.bytes);
	free(good);
}

/* Entries are hints: whatever they say, a lookup stays in its bounds. */
static void hostile_entries_are_searched_safely(void **state)
{
	const struct run_layout at = run_layout(3, ENTRIES);
	uint64_t x = 5;
	uint8_t *bytes;
	size_t len;

	(void)state;
	bytes = scratch_read(run_path(), &len);
	for (int fill = 0; fill < 3; fill++) {
		struct run *run;

		for (size_t i = at.entries; i < len; i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			bytes[i] = fill == 2 ? (uint8_t)(x >> 40)
					     : (uint8_t)(fill * 0xff);
		}
		scratch_write(run_path(), bytes, len);
		assert_int_equal(open_run(&run), 0);
		for (uint64_t i = 0; i < ENTRIES; i++) {
			uint64_t blocks[8];

			assert_in_range(
				run_find(run, &entries[i].digest, 8, blocks), 0,
				8);
		}
		run_unref(run);
	}
	free(bytes);
}

#ifdef PAGER_INJECT
static void a_run_that_cannot_be_written_leaves_nothing(void **state)
{
	static const struct {
		const char *spec;
		int code;
	} cases[] = {
		{"run-write:ENOSPC", -ENOSPC},
		{"run-write:EIO@2", -EIO},
		{"run-write:EDQUOT@4", -EDQUOT},
		{"run-rename:EIO", -EIO},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct source s = {.count = ENTRIES};

		assert_int_equal(inject_configure(cases[i].spec), 0);
		assert_int_equal(write_some(&s, name), cases[i].code);
		assert_int_equal(scratch_count(scratch_file(folder, "tmp")), 0);
		assert_int_equal(scratch_count(scratch_file(folder, "index")),
				 1);
	}
}
#endif

#define WITH_RUN(f) cmocka_unit_test_setup_teardown(f, make_run, remove_run)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RUN(sorting_puts_digests_in_order),
		WITH_RUN(every_entry_is_found),
		WITH_RUN(duplicates_come_in_order_and_bounded),
		WITH_RUN(an_empty_run_is_a_run),
		WITH_RUN(what_breaks_the_order_is_not_written),
		WITH_RUN(damaged_runs_are_refused),
		WITH_RUN(hostile_entries_are_searched_safely),
#ifdef PAGER_INJECT
		WITH_RUN(a_run_that_cannot_be_written_leaves_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
