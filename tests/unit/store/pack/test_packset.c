#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/pack/pack.h"
#include "fs/store/pack/packset.h"
#include "tests/unit/store/packfile.h"
#include "tests/unit/store/scratch.h"

#define PACKS 6u
#define SLOTS 10u

static char folder[SCRATCH_PATH_MAX];
static struct store *store;
static struct packset *set;
static struct block_source source;

static int make_packs(void **state)
{
	(void)state;
	scratch_make(folder);
	assert_int_equal(store_init(folder, NULL), 0);
	assert_int_equal(store_open(folder, STORE_WRITE, &store), 0);
	for (uint64_t i = 1; i <= PACKS; i++)
		assert_int_equal(packfile_make(store, i * 100, SLOTS), i);
	return 0;
}

/* The set under test: its own, with bounds of its own. */
static void use_limits(size_t table_bytes, unsigned int files)
{
	struct packset_limits limits = {
		.table_bytes = table_bytes,
		.files = files,
	};

	packset_free(set);
	assert_int_equal(packset_new(store_folder_fd(store, STORE_PACKS),
				     store_id(store), &limits, &set),
			 0);
	source = (struct block_source){.ops = &packset_source_ops, .ctx = set};
}

static int remove_packs(void **state)
{
	(void)state;
#ifdef PAGER_INJECT
	assert_int_equal(inject_configure(NULL), 0);
#endif
	packset_free(set);
	set = NULL;
	store_unref(store);
	scratch_remove(folder);
	return 0;
}

static int locate(uint64_t pack, uint32_t slot)
{
	struct block_place place;
	uint64_t block = pager_block_id(pack, slot);
	int r = source.ops->locate(source.ctx, block, &place);

	if (r == 0) {
		assert_int_equal(place.block, block);
		source.ops->release(source.ctx, &place);
	}
	return r;
}

static int prepare(uint64_t pack)
{
	return source.ops->prepare(source.ctx, pager_block_id(pack, 0));
}

static int read_block(uint64_t pack, uint32_t slot)
{
	uint8_t page[PAGER_PAGE_SIZE], want[PAGER_PAGE_SIZE], kind;
	int r = block_source_read(&source, pager_block_id(pack, slot), page,
				  &kind);

	scratch_page(pack * 100 + slot, want);
	if (r == 0) {
		assert_memory_equal(page, want, sizeof(page));
		assert_int_equal(kind, PAGER_KIND_PAGE);
	}
	return r;
}

static void locate_waits_for_prepare(void **state)
{
	(void)state;
	use_limits(1 << 20, 10);
	assert_int_equal(locate(1, 0), -EAGAIN);
	assert_int_equal(prepare(1), 0);
	assert_int_equal(locate(1, 0), 0);
	assert_int_equal(locate(1, SLOTS - 1), 0);
	assert_int_equal(locate(1, SLOTS), -ENOENT);
	assert_int_equal(locate(2, 0), -EAGAIN);
}

static void what_no_pack_can_be_is_not_found(void **state)
{
	(void)state;
	use_limits(1 << 20, 10);
	assert_int_equal(locate(0, 5), -ENOENT);
	assert_int_equal(locate(PAGER_PACK_NUMBER_MAX + 1, 0), -ENOENT);
	assert_int_equal(locate(PAGER_PACK_NUMBER_MAX, 0), -EAGAIN);
	assert_int_equal(prepare(PAGER_PACK_NUMBER_MAX), -ENOENT);
	assert_int_equal(read_block(PACKS + 1, 0), -ENOENT);
	assert_string_equal(err_text(-ENOENT),
			    "pack 0000000000000007 slot 0: pack "
			    "0000000000000007 is missing");
	assert_int_equal(read_block(1, SLOTS), -ENOENT);
}

static unsigned int ready(void)
{
	unsigned int count = 0;

	for (uint64_t i = 1; i <= PACKS; i++)
		count += locate(i, 0) == 0;
	return count;
}

static void the_packs_used_longest_ago_go_first(void **state)
{
	(void)state;
	use_limits(1 << 20, 3);
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(prepare(i), 0);
	assert_int_equal(locate(1, 0), 0); /* now 2 is the oldest */
	assert_int_equal(prepare(4), 0);
	assert_int_equal(locate(2, 0), -EAGAIN);
	assert_int_equal(locate(1, 0), 0);
	assert_int_equal(locate(3, 0), 0);
	assert_int_equal(locate(4, 0), 0);
}

static void tables_are_bounded_by_bytes(void **state)
{
	(void)state;
	use_limits(2 * SLOTS * sizeof(struct pager_slot), 100);
	for (uint64_t i = 1; i <= PACKS; i++)
		assert_int_equal(prepare(i), 0);
	assert_int_equal(ready(), 2);
	/* One that is larger than the bound alone is kept all the same. */
	use_limits(1, 100);
	for (uint64_t i = 1; i <= PACKS; i++)
		assert_int_equal(read_block(i, 3), 0);
	assert_int_equal(ready(), 1);
}

static void a_place_outlives_its_pack_in_the_set(void **state)
{
	uint8_t stored[PAGER_PAGE_SIZE], page[PAGER_PAGE_SIZE];
	uint8_t want[PAGER_PAGE_SIZE];
	struct block_place place;

	(void)state;
	use_limits(1 << 20, 1);
	assert_int_equal(prepare(1), 0);
	assert_int_equal(
		source.ops->locate(source.ctx, pager_block_id(1, 4), &place),
		0);
	assert_int_equal(prepare(2), 0);
	assert_int_equal(locate(1, 4), -EAGAIN);
	assert_int_equal(
		pread(place.fd, stored, place.length, (off_t)place.offset),
		place.length);
	assert_int_equal(source.ops->decode(source.ctx, &place, stored, page),
			 0);
	source.ops->release(source.ctx, &place);
	scratch_page(104, want);
	assert_memory_equal(page, want, sizeof(page));
}

/* -- damage --------------------------------------------------------------- */

static void flip_slot(uint64_t pack, uint32_t slot)
{
	char path[SCRATCH_PATH_MAX * 2];
	struct packfile f;

	(void)snprintf(path, sizeof(path), "%s", packfile_path(store, pack));
	packfile_read(path, &f);
	f.data[f.slots[slot].offset + f.slots[slot].length / 2 -
	       sizeof(f.header)] ^= 1;
	packfile_write(path, &f);
	packfile_release(&f);
}

static void a_flipped_bit_is_one_slots_damage(void **state)
{
	(void)state;
	use_limits(1 << 20, 10);
	flip_slot(3, 4);
	assert_int_equal(read_block(3, 4), -EBADMSG);
	assert_non_null(
		strstr(err_text(-EBADMSG), "pack 0000000000000003 slot 4: "));
	for (uint32_t i = 0; i < SLOTS; i++)
		assert_int_equal(read_block(3, i), i == 4 ? -EBADMSG : 0);
}

/* Slots that say each other's places: the seed of the checksum tells. */
static void slots_that_changed_places_are_damage(void **state)
{
	char path[SCRATCH_PATH_MAX * 2];
	struct packfile f;
	struct pager_slot s;

	(void)state;
	use_limits(1 << 20, 10);
	(void)snprintf(path, sizeof(path), "%s", packfile_path(store, 2));
	packfile_read(path, &f);
	s = f.slots[0];
	f.slots[0] = f.slots[1];
	f.slots[1] = s;
	packfile_seal(&f);
	packfile_write(path, &f);
	packfile_release(&f);
	assert_int_equal(read_block(2, 0), -EBADMSG);
	assert_int_equal(read_block(2, 1), -EBADMSG);
	assert_int_equal(read_block(2, 2), 0);
}

static void a_pack_cut_short_under_us_is_damage(void **state)
{
	(void)state;
	use_limits(1 << 20, 10);
	assert_int_equal(read_block(1, 9), 0);
	assert_int_equal(truncate(packfile_path(store, 1), 100), 0);
	assert_int_equal(read_block(1, 9), -EBADMSG);
	assert_string_equal(err_text(-EBADMSG),
			    "pack 0000000000000001 slot 9: the file was cut "
			    "short");
}

static void a_damaged_pack_harms_no_other(void **state)
{
	(void)state;
	use_limits(1 << 20, 10);
	scratch_flip(packfile_path(store, 2), -1);
	scratch_write(packfile_path(store, 3), "", 0);
	assert_int_equal(prepare(2), -EBADMSG);
	assert_int_equal(read_block(2, 0), -EBADMSG);
	assert_int_equal(read_block(3, 0), -EBADMSG);
	assert_int_equal(read_block(1, 0), 0);
}

#ifdef PAGER_INJECT
static void what_may_pass_is_tried_again(void **state)
{
	static const struct {
		const char *spec;
		int result;
	} cases[] = {
		{"pack-read:EIO", 0},
		{"pack-read:EIO,pack-read:EIO@2", 0},
		{"pack-read:EIO+", -EIO},
		{"pack-read:flip", 0},
		{"pack-read:flip+", -EBADMSG},
		{"pack-read:short+", 0},
		{"pack-read:EINTR,pack-read:EINTR@2,pack-read:EINTR@3", 0},
		{"table-read:EIO", 0},
		{"table-read:EIO+", -EIO},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		use_limits(1 << 20, 10);
		assert_int_equal(inject_configure(cases[i].spec), 0);
		assert_int_equal(read_block(1, 1), cases[i].result);
	}
}
#endif

/* -- threads -------------------------------------------------------------- */

static _Atomic unsigned int wrong;

static void *read_everything(void *arg)
{
	uint64_t x = *(const uint64_t *)arg;

	for (int i = 0; i < 2000; i++) {
		uint8_t page[PAGER_PAGE_SIZE], want[PAGER_PAGE_SIZE];
		uint64_t pack;
		uint32_t slot;

		x = x * 6364136223846793005u + 1442695040888963407u;
		pack = 1 + (x >> 33) % PACKS;
		slot = (uint32_t)(x >> 50) % SLOTS;
		scratch_page(pack * 100 + slot, want);
		if (block_source_read(&source, pager_block_id(pack, slot), page,
				      NULL) < 0 ||
		    memcmp(page, want, sizeof(page)) != 0)
			wrong++;
	}
	return NULL;
}

static void threads_share_a_set_that_is_too_small(void **state)
{
	enum { THREADS = 4 };
	static const uint64_t seeds[THREADS] = {1, 2, 3, 4};
	pthread_t threads[THREADS];

	(void)state;
	use_limits(1 << 20, 4);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						read_everything,
						(void *)&seeds[i]),
				 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(wrong, 0);
	assert_in_range(ready(), 1, 4);
}

#define WITH_PACKS(f) \
	cmocka_unit_test_setup_teardown(f, make_packs, remove_packs)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PACKS(locate_waits_for_prepare),
		WITH_PACKS(what_no_pack_can_be_is_not_found),
		WITH_PACKS(the_packs_used_longest_ago_go_first),
		WITH_PACKS(tables_are_bounded_by_bytes),
		WITH_PACKS(a_place_outlives_its_pack_in_the_set),
		WITH_PACKS(a_flipped_bit_is_one_slots_damage),
		WITH_PACKS(slots_that_changed_places_are_damage),
		WITH_PACKS(a_pack_cut_short_under_us_is_damage),
		WITH_PACKS(a_damaged_pack_harms_no_other),
#ifdef PAGER_INJECT
		WITH_PACKS(what_may_pass_is_tried_again),
#endif
		WITH_PACKS(threads_share_a_set_that_is_too_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
