#include <errno.h>
#include <fcntl.h>
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

#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "fs/store/pack/pack.h"
#include "tests/unit/store/packfile.h"
#include "tests/unit/store/scratch.h"

#define SLOTS 20u

static char folder[SCRATCH_PATH_MAX];
static struct store *store;
static uint64_t number;
static struct packfile good;

static int make_pack(void **state)
{
	(void)state;
	scratch_make(folder);
	assert_int_equal(store_init(folder, NULL), 0);
	assert_int_equal(store_open(folder, STORE_WRITE, &store), 0);
	number = packfile_make(store, 100, SLOTS);
	packfile_read(packfile_path(store, number), &good);
	return 0;
}

static int remove_pack(void **state)
{
	(void)state;
#ifdef PAGER_INJECT
	assert_int_equal(inject_configure(NULL), 0);
#endif
	packfile_release(&good);
	store_unref(store);
	scratch_remove(folder);
	return 0;
}

static int open_pack(struct pack **ret_pack)
{
	return pack_open(store_folder_fd(store, STORE_PACKS), number,
			 store_id(store), ret_pack);
}

static void names_and_numbers_agree(void **state)
{
	static const char *const bad[] = {
		"",
		"pack",
		"000000000000002A.pack",
		"00000000000002a.pack",
		"0000000000000002a.pack",
		"000000000000002a.run",
		"000000000000002a.pack~",
		"0000000000000000.pack",
		"0000008000000000.pack",
		"-00000000000002a.pack",
		".000000000000002a.pack",
	};
	char name[PACK_NAME_MAX];
	uint64_t n = 0;

	(void)state;
	pack_name(42, name);
	assert_string_equal(name, "000000000000002a.pack");
	assert_int_equal(pack_number_of(name, &n), 0);
	assert_int_equal(n, 42);
	pack_name(PAGER_PACK_NUMBER_MAX, name);
	assert_int_equal(pack_number_of(name, &n), 0);
	assert_int_equal(n, PAGER_PACK_NUMBER_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(pack_number_of(bad[i], &n), -EINVAL);
}

static void a_pack_tells_what_it_holds(void **state)
{
	struct pager_digest_entry entries[SLOTS];
	struct block_place place;
	struct stat st;
	struct pack *p;

	(void)state;
	assert_int_equal(stat(packfile_path(store, number), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(open_pack(&p), 0);
	assert_int_equal(pack_number(p), number);
	assert_int_equal(pack_slots(p), SLOTS);
	assert_int_equal(pack_digests(p), SLOTS);
	assert_int_equal(pack_stored_bytes(p), st.st_size);
	assert_int_equal(pack_locate(p, 0, &place), -EAGAIN);
	assert_int_equal(pack_load(p), 0);
	assert_int_equal(pack_load(p), 0);
	assert_int_equal(pack_locate(p, SLOTS - 1, &place), 0);
	assert_int_equal(place.block, pager_block_id(number, SLOTS - 1));
	assert_int_equal(pack_locate(p, SLOTS, &place), -ENOENT);
	assert_int_equal(pack_locate(p, PAGER_SLOT_MASK, &place), -ENOENT);
	assert_int_equal(pack_check_digests(p), 0);
	assert_int_equal(pack_read_digests(p, 5, SLOTS - 5, entries), 0);
	assert_memory_equal(entries, good.digests + 5,
			    (SLOTS - 5) * sizeof(entries[0]));
	pack_unref(p);
}

/* -- what a reader refuses ------------------------------------------------ */

static void header_magic(struct packfile *f)
{
	f->header.magic[0] ^= 1;
}
static void header_old(struct packfile *f)
{
	f->header.version = 0;
}
static void header_new(struct packfile *f)
{
	f->header.version = 2;
}
static void header_reserved0(struct packfile *f)
{
	f->header.reserved0 = 1;
}
static void header_reserved(struct packfile *f)
{
	f->header.reserved[1] = 1;
}
static void header_store(struct packfile *f)
{
	f->header.store[3] ^= 1;
}
static void header_number(struct packfile *f)
{
	f->header.pack++;
}
static void trailer_magic(struct packfile *f)
{
	f->trailer.magic[7] ^= 1;
}
static void trailer_old(struct packfile *f)
{
	f->trailer.version = 0;
}
static void trailer_new(struct packfile *f)
{
	f->trailer.version = 3;
}
static void trailer_number(struct packfile *f)
{
	f->trailer.pack++;
}
static void trailer_reserved(struct packfile *f)
{
	f->trailer.reserved = 1;
}
static void no_slots(struct packfile *f)
{
	f->trailer.slots = 0;
}
static void too_many_slots(struct packfile *f)
{
	f->trailer.slots = PAGER_PACK_SLOTS_MAX + 1;
}
static void other_slots(struct packfile *f)
{
	f->trailer.slots--;
	f->trailer.digests--;
}
static void too_many_digests(struct packfile *f)
{
	f->trailer.digests = f->trailer.slots + 1;
}
static void huge_digests(struct packfile *f)
{
	f->trailer.digests = UINT64_MAX;
}
static void fewer_digests(struct packfile *f)
{
	f->trailer.digests--;
}
static void table_in_header(struct packfile *f)
{
	f->trailer.slot_table = 63;
}
static void table_far_off(struct packfile *f)
{
	f->trailer.slot_table = UINT64_MAX - 8;
}
static void table_shifted(struct packfile *f)
{
	f->trailer.slot_table += 16;
}
static void digests_shifted(struct packfile *f)
{
	f->trailer.digest_table += 16;
}
static void digests_overflow(struct packfile *f)
{
	f->trailer.digest_table = UINT64_MAX - 100;
}
static void slot_offset_low(struct packfile *f)
{
	f->slots[3].offset = 63;
}
static void slot_offset_high(struct packfile *f)
{
	f->slots[3].offset = UINT32_MAX;
}
static void slot_past_end(struct packfile *f)
{
	f->slots[SLOTS - 1].length++;
}
static void slot_empty(struct packfile *f)
{
	f->slots[0].length = 0;
}
static void slot_long(struct packfile *f)
{
	f->slots[0].length = 4097;
}
static void slot_codec(struct packfile *f)
{
	f->slots[4].codec = 3;
}
static void slot_codec_below_gone(struct packfile *f)
{
	f->slots[4].codec = 254;
}
static void slot_kind(struct packfile *f)
{
	f->slots[5].kind = PAGER_KIND_NODE_MAX + 1;
}
static void slot_raw_short(struct packfile *f)
{
	f->slots[6].codec = PAGER_CODEC_RAW;
}
static void slot_gone_long(struct packfile *f)
{
	f->slots[7].codec = PAGER_CODEC_GONE;
}
static void digests_swapped(struct packfile *f)
{
	struct pager_digest_entry e = f->digests[2];

	f->digests[2] = f->digests[3];
	f->digests[3] = e;
}
static void digest_twice(struct packfile *f)
{
	f->digests[4] = f->digests[5];
}
static void digest_of_other_pack(struct packfile *f)
{
	f->digests[4].block = pager_block_id(number + 1, 0);
}
static void digest_of_no_slot(struct packfile *f)
{
	f->digests[4].block = pager_block_id(number, SLOTS);
}

enum stage { AT_OPEN, AT_LOAD, AT_DIGESTS };

static const struct refusal {
	void (*damage)(struct packfile *f);
	bool sealed; /* with checksums that match */
	enum stage stage;
	int code;
	const char *words;
} refusals[] = {
	{header_magic, true, AT_OPEN, -EBADMSG, "begin"},
	{header_old, true, AT_OPEN, -EBADMSG, "no program writes"},
	{header_new, true, AT_OPEN, -ENOTSUP, "use a newer pagerd"},
	{header_new, false, AT_OPEN, -ENOTSUP, "use a newer pagerd"},
	{header_reserved0, true, AT_OPEN, -EBADMSG, "no program writes"},
	{header_reserved, true, AT_OPEN, -EBADMSG, "no program writes"},
	{header_store, true, AT_OPEN, -EBADMSG, "another store"},
	{header_store, false, AT_OPEN, -EBADMSG, "header's checksum"},
	{header_number, true, AT_OPEN, -EBADMSG, "another pack's number"},
	{trailer_magic, true, AT_OPEN, -EBADMSG, "cut short"},
	{trailer_old, true, AT_OPEN, -EBADMSG, "no program writes"},
	{trailer_new, true, AT_OPEN, -ENOTSUP, "use a newer pagerd"},
	{trailer_number, true, AT_OPEN, -EBADMSG, "another pack's number"},
	{trailer_number, false, AT_OPEN, -EBADMSG, "trailer's checksum"},
	{trailer_reserved, true, AT_OPEN, -EBADMSG, "no program writes"},
	{no_slots, true, AT_OPEN, -EBADMSG, "number of slots"},
	{too_many_slots, true, AT_OPEN, -EBADMSG, "number of slots"},
	{other_slots, true, AT_OPEN, -EBADMSG, "digest table is not"},
	{too_many_digests, true, AT_OPEN, -EBADMSG, "more digests"},
	{huge_digests, true, AT_OPEN, -EBADMSG, "more digests"},
	{fewer_digests, true, AT_OPEN, -EBADMSG, "add up"},
	{table_in_header, true, AT_OPEN, -EBADMSG, "slot table's place"},
	{table_far_off, true, AT_OPEN, -EBADMSG, "slot table's place"},
	{table_shifted, true, AT_OPEN, -EBADMSG, "digest table is not"},
	{digests_shifted, true, AT_OPEN, -EBADMSG, "digest table is not"},
	{digests_overflow, true, AT_OPEN, -EBADMSG, "digest table is not"},
	{slot_offset_low, true, AT_LOAD, -EBADMSG, "slot 3 is outside"},
	{slot_offset_low, false, AT_LOAD, -EBADMSG, "slot table's checksum"},
	{slot_offset_high, true, AT_LOAD, -EBADMSG, "slot 3 is outside"},
	{slot_past_end, true, AT_LOAD, -EBADMSG, "slot 19 is outside"},
	{slot_empty, true, AT_LOAD, -EBADMSG, "slot 0 has an impossible"},
	{slot_long, true, AT_LOAD, -EBADMSG, "slot 0 has an impossible"},
	{slot_codec, true, AT_LOAD, -EBADMSG, "slot 4 has an unknown codec"},
	{slot_codec_below_gone, true, AT_LOAD, -EBADMSG, "unknown codec"},
	{slot_kind, true, AT_LOAD, -EBADMSG, "slot 5 has an unknown kind"},
	{slot_raw_short, true, AT_LOAD, -EBADMSG, "slot 6 has an impossible"},
	{slot_gone_long, true, AT_LOAD, -EBADMSG, "slot 7 is gone"},
	{digests_swapped, true, AT_DIGESTS, -EBADMSG, "out of order"},
	{digest_twice, true, AT_DIGESTS, -EBADMSG, "out of order"},
	{digest_of_other_pack, true, AT_DIGESTS, -EBADMSG, "it has not"},
	{digest_of_no_slot, true, AT_DIGESTS, -EBADMSG, "it has not"},
};

static void assert_refused_at(const struct refusal *c)
{
	struct pack *p = NULL;
	int r = open_pack(&p);

	if (c->stage == AT_OPEN) {
		assert_null(p);
	} else {
		assert_int_equal(r, 0);
		r = c->stage == AT_LOAD ? pack_load(p) : pack_check_digests(p);
	}
	assert_int_equal(r, c->code);
	if (!strstr(err_text(r), c->words))
		fail_msg("'%s' does not say '%s'", err_text(r), c->words);
	assert_non_null(strstr(err_text(r), "pack 0000000000000001"));
	pack_unref(p);
}

static void damaged_packs_are_refused_by_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *c = &refusals[i];
		struct packfile f;

		packfile_write(packfile_path(store, number), &good);
		packfile_read(packfile_path(store, number), &f);
		c->damage(&f);
		if (c->sealed)
			packfile_seal(&f);
		packfile_write(packfile_path(store, number), &f);
		assert_refused_at(c);
		packfile_release(&f);
	}
}

static void every_torn_length_is_refused(void **state)
{
	const char *path = packfile_path(store, number);
	char copy[SCRATCH_PATH_MAX * 2];
	struct pack *p = NULL;
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	(void)snprintf(copy, sizeof(copy), "%s", path);
	for (off_t len = st.st_size - 1; len >= 0;
	     len -= len > 5000 || len < 200 ? 1 : 37) {
		assert_int_equal(truncate(copy, len), 0);
		assert_int_equal(open_pack(&p), -EBADMSG);
		assert_non_null(strstr(err_text(-EBADMSG), "pack 0000"));
	}
	assert_null(p);
}

static void every_flipped_bit_of_the_tables_is_noticed(void **state)
{
	char copy[SCRATCH_PATH_MAX * 2];
	uint8_t *bytes;
	size_t len;

	(void)state;
	(void)snprintf(copy, sizeof(copy), "%s", packfile_path(store, number));
	bytes = scratch_read(copy, &len);
	for (size_t at = 0; at < len; at++) {
		struct pack *p = NULL;
		int r;

		if (at == 64)
			at = good.trailer.slot_table;
		bytes[at] ^= 0x04;
		scratch_write(copy, bytes, len);
		r = open_pack(&p);
		if (r == 0)
			r = pack_load(p);
		if (r == 0)
			r = pack_check_digests(p);
		if (r != -EBADMSG && r != -ENOTSUP)
			fail_msg("a flip at %zu gave %d", at, r);
		bytes[at] ^= 0x04;
		pack_unref(p);
	}
	free(bytes);
}

static void what_is_no_file_is_refused(void **state)
{
	struct pack *p = NULL;

	(void)state;
	assert_int_equal(unlink(packfile_path(store, number)), 0);
	assert_int_equal(open_pack(&p), -ENOENT);
	assert_non_null(strstr(err_text(-ENOENT), "is missing"));
	assert_int_equal(mkfifo(packfile_path(store, number), 0600), 0);
	assert_int_equal(open_pack(&p), -EBADMSG);
	assert_int_equal(unlink(packfile_path(store, number)), 0);
	assert_int_equal(symlink("/dev/zero", packfile_path(store, number)), 0);
	assert_int_equal(open_pack(&p), -ELOOP);
	assert_null(p);
}

static void gone_slots_are_not_found(void **state)
{
	struct block_place place;
	struct pack *p;

	(void)state;
	good.slots[2].codec = PAGER_CODEC_GONE;
	good.slots[2].length = 0;
	packfile_seal(&good);
	packfile_write(packfile_path(store, number), &good);
	assert_int_equal(open_pack(&p), 0);
	assert_int_equal(pack_load(p), 0);
	assert_int_equal(pack_locate(p, 2, &place), -ENOENT);
	assert_int_equal(pack_locate(p, 3, &place), 0);
	pack_unref(p);
}

#ifdef PAGER_INJECT
static void failing_reads_are_told(void **state)
{
	struct pack *p = NULL;

	(void)state;
	assert_int_equal(inject_configure("table-read:EIO"), 0);
	assert_int_equal(open_pack(&p), -EIO);
	assert_int_equal(inject_configure("table-read:EIO@2"), 0);
	assert_int_equal(open_pack(&p), -EIO);
	assert_int_equal(inject_configure("table-read:EIO@3"), 0);
	assert_int_equal(open_pack(&p), 0);
	assert_int_equal(pack_load(p), -EIO);
	assert_non_null(strstr(err_text(-EIO), "pack 0000000000000001"));
	assert_int_equal(pack_load(p), 0);
	pack_unref(p);
	assert_int_equal(inject_configure("table-read:flip@3"), 0);
	assert_int_equal(open_pack(&p), 0);
	assert_int_equal(pack_load(p), -EBADMSG);
	pack_unref(p);
	assert_int_equal(inject_configure("table-read:short+"), 0);
	assert_int_equal(open_pack(&p), 0);
	assert_int_equal(pack_load(p), 0);
	pack_unref(p);
}
#endif

#define WITH_PACK(f) cmocka_unit_test_setup_teardown(f, make_pack, remove_pack)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_numbers_agree),
		WITH_PACK(a_pack_tells_what_it_holds),
		WITH_PACK(damaged_packs_are_refused_by_name),
		WITH_PACK(every_torn_length_is_refused),
		WITH_PACK(every_flipped_bit_of_the_tables_is_noticed),
		WITH_PACK(what_is_no_file_is_refused),
		WITH_PACK(gone_slots_are_not_found),
#ifdef PAGER_INJECT
		WITH_PACK(failing_reads_are_told),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
