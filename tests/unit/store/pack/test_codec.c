#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lz4.h>
#include <zstd.h>

#include "fs/base/err.h"
#include "fs/store/pack/codec.h"
#include "tests/unit/store/scratch.h"

static struct coder *coder;

static int make_coder(void **state)
{
	(void)state;
	coder = coder_new();
	return coder ? 0 : -1;
}

static int free_coder(void **state)
{
	(void)state;
	coder_free(coder);
	return 0;
}

static const enum pager_codec codecs[] = {
	PAGER_CODEC_RAW,
	PAGER_CODEC_ZSTD,
	PAGER_CODEC_LZ4,
};

static void fill_random(uint8_t *to, size_t len, uint64_t seed)
{
	uint64_t x = seed * 2654435761u + 88172645463325252u;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		to[i] = (uint8_t)(x >> 32);
	}
}

static void assert_round_trip(enum pager_codec codec, const uint8_t *page,
			      enum pager_codec want, uint32_t max)
{
	uint8_t stored[PAGER_PAGE_SIZE], back[PAGER_PAGE_SIZE];
	uint32_t len = coder_encode(coder, &codec, page, stored);

	assert_int_equal(codec, want);
	assert_in_range(len, 1, max);
	memset(back, 0xee, sizeof(back));
	assert_int_equal(coder_decode(coder, codec, stored, len, back), 0);
	assert_memory_equal(back, page, sizeof(back));
}

static void pages_come_back(void **state)
{
	uint8_t page[PAGER_PAGE_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
		enum pager_codec c = codecs[i];
		bool raw = c == PAGER_CODEC_RAW;

		for (uint64_t seed = 0; seed < 50; seed++) {
			scratch_page(seed, page);
			assert_round_trip(c, page, c, raw ? 4096 : 3000);
		}
		memset(page, 0xff, sizeof(page));
		assert_round_trip(c, page, c, raw ? 4096 : 64);
	}
}

static void what_does_not_shrink_is_kept_raw(void **state)
{
	uint8_t page[PAGER_PAGE_SIZE];

	(void)state;
	for (uint64_t seed = 1; seed < 50; seed++) {
		fill_random(page, sizeof(page), seed);
		for (size_t i = 0; i < 3; i++)
			assert_round_trip(codecs[i], page, PAGER_CODEC_RAW,
					  PAGER_PAGE_SIZE);
	}
}

static void assert_damaged(enum pager_codec codec, const uint8_t *in,
			   uint32_t len)
{
	uint8_t page[PAGER_PAGE_SIZE];

	assert_int_equal(coder_decode(coder, codec, in, len, page), -EBADMSG);
}

static void another_size_than_a_page_is_damage(void **state)
{
	static const size_t sizes[] = {1, 4095, 4097, 8192, 1 << 20};
	static uint8_t plain[1 << 20], packed[1 << 16];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = ZSTD_compress(packed, sizeof(packed), plain,
					 sizes[i], 1);
		int m;

		assert_false(ZSTD_isError(n));
		assert_damaged(PAGER_CODEC_ZSTD, packed, (uint32_t)n);
		m = LZ4_compress_default((char *)plain, (char *)packed,
					 (int)sizes[i], sizeof(packed));
		assert_true(m > 0);
		assert_damaged(PAGER_CODEC_LZ4, packed, (uint32_t)m);
	}
}

static void lengths_and_codecs_out_of_range_are_damage(void **state)
{
	uint8_t bytes[PAGER_PAGE_SIZE + 1] = {0};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_damaged(codecs[i], bytes, 0);
		assert_damaged(codecs[i], bytes, sizeof(bytes));
		assert_damaged(codecs[i], bytes, UINT32_MAX);
	}
	assert_damaged(PAGER_CODEC_RAW, bytes, 4095);
	assert_damaged(PAGER_CODEC_GONE, bytes, 4096);
	assert_damaged((enum pager_codec)3, bytes, 4096);
}

/* Every cut and random changes: never a crash, never more than a page. */
static void hostile_bytes_are_decoded_or_refused(void **state)
{
	uint8_t page[PAGER_PAGE_SIZE], good[PAGER_PAGE_SIZE];
	uint8_t bad[PAGER_PAGE_SIZE + 1] = {0}, out[PAGER_PAGE_SIZE + 64];

	(void)state;
	scratch_page(3, page);
	memset(out, 0x5a, sizeof(out));
	for (size_t i = 1; i < 3; i++) {
		enum pager_codec c = codecs[i];
		uint32_t len = coder_encode(coder, &c, page, good);

		for (uint32_t cut = 0; cut < len; cut++)
			assert_int_equal(coder_decode(coder, c, good, cut, out),
					 -EBADMSG);
		for (uint64_t seed = 0; seed < 3000; seed++) {
			uint8_t noise[8];

			memcpy(bad, good, len);
			fill_random(noise, sizeof(noise), seed);
			bad[(noise[0] | noise[1] << 8) % (len + 1)] ^= noise[2];
			bad[(noise[3] | noise[4] << 8) % 32] ^= noise[5];
			(void)coder_decode(coder, c, bad, len, out);
		}
	}
	for (size_t i = PAGER_PAGE_SIZE; i < sizeof(out); i++)
		assert_int_equal(out[i], 0x5a);
}

static void names_are_known_both_ways(void **state)
{
	enum pager_codec codec = PAGER_CODEC_GONE;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(codec_from_name(codec_name(codecs[i]), &codec),
				 0);
		assert_int_equal(codec, codecs[i]);
	}
	assert_int_equal(codec_from_name("gzip", &codec), -EINVAL);
	assert_non_null(strstr(err_text(-EINVAL), "gzip"));
	assert_int_equal(codec_from_name("", &codec), -EINVAL);
	assert_int_equal(codec_from_name("ZSTD", &codec), -EINVAL);
}

static void *take_coder(void *arg)
{
	struct coder *first = coder_of_thread(), *again = coder_of_thread();

	(void)arg;
	return first == again ? first : NULL;
}

static void each_thread_has_a_coder_of_its_own(void **state)
{
	pthread_t thread;
	void *of_thread;

	(void)state;
	assert_non_null(coder_of_thread());
	assert_int_equal(pthread_create(&thread, NULL, take_coder, NULL), 0);
	assert_int_equal(pthread_join(thread, &of_thread), 0);
	assert_non_null(of_thread);
	assert_ptr_not_equal(of_thread, coder_of_thread());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_come_back),
		cmocka_unit_test(what_does_not_shrink_is_kept_raw),
		cmocka_unit_test(another_size_than_a_page_is_damage),
		cmocka_unit_test(lengths_and_codecs_out_of_range_are_damage),
		cmocka_unit_test(hostile_bytes_are_decoded_or_refused),
		cmocka_unit_test(names_are_known_both_ways),
		cmocka_unit_test(each_thread_has_a_coder_of_its_own),
	};

	return cmocka_run_group_tests(tests, make_coder, free_coder);
}
