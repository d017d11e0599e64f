#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/base/hist.h"
#include "fs/io/page.h"
#include "fs/io/text.h"

static void error_text_belongs_to_its_code(void **state)
{
	(void)state;
	assert_int_equal(err_set(-EBADMSG, "pack %d: torn", 7), -EBADMSG);
	assert_string_equal(err_text(-EBADMSG), "pack 7: torn");
	assert_string_equal(err_text(-ENOENT), "No such file or directory");
	assert_int_equal(err_wrap(-EBADMSG, "snapshot a"), -EBADMSG);
	assert_string_equal(err_text(-EBADMSG), "snapshot a: pack 7: torn");
	err_clear();
	assert_string_equal(err_text(-EBADMSG), "Bad message");
}

static void sizes_parse(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t bytes;
	} cases[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"64K", 0, 65536},
		{"1.5g", 0, 1610612736},
		{"2MiB", 0, 2097152},
		{"3TB", 0, 3298534883328},
		{"7B", 0, 7},
		{"", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"1x", -EINVAL, 0},
		{"1KK", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1e3", -EINVAL, 0},
		{"9223372036854775808", -ERANGE, 0},
		{"99999999T", -ERANGE, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bytes = 0;

		assert_int_equal(text_parse_size(cases[i].text, &bytes),
				 cases[i].result);
		assert_int_equal(bytes, cases[i].bytes);
	}
}

static void sizes_print(void **state)
{
	char buf[TEXT_SIZE_MAX];

	(void)state;
	assert_string_equal(text_size(1023, buf), "1023 B");
	assert_string_equal(text_size(1536, buf), "1.5 KiB");
	assert_string_equal(text_size(UINT64_C(5) << 50, buf), "5120.0 TiB");
}

static void hex_round_trip(void **state)
{
	const uint8_t bytes[3] = {0x00, 0xaf, 0x9c};
	uint8_t back[3];
	char hex[7];

	(void)state;
	text_to_hex(bytes, 3, hex);
	assert_string_equal(hex, "00af9c");
	assert_int_equal(text_from_hex("00AF9c", 3, back), 0);
	assert_memory_equal(bytes, back, 3);
	assert_int_equal(text_from_hex("00af9", 3, back), -EINVAL);
	assert_int_equal(text_from_hex("00af9g", 3, back), -EINVAL);
	assert_int_equal(text_from_hex("00af9c0", 3, back), -EINVAL);
}

static void utf8_is_strict(void **state)
{
	static const struct {
		const char *s;
		bool good;
	} cases[] = {
		{"plain", true},	 {"gr\xc3\xbc\xc3\x9f", true},
		{"\xe2\x82\xac", true},	 {"\xf0\x9f\x98\x80", true},
		{"\xc0\x80", false},	 {"\xe0\x80\x80", false},
		{"\xed\xa0\x80", false}, {"\xf4\x90\x80\x80", false},
		{"\xc3", false},	 {"\x80", false},
		{"\xff", false},	 {"a\xe2\x82", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(text_is_utf8(cases[i].s, strlen(cases[i].s)),
				 cases[i].good);
}

static void zero_page_is_found_wherever_a_byte_differs(void **state)
{
	uint8_t page[PAGER_PAGE_SIZE + 1] = {0};

	(void)state;
	assert_true(page_is_zero(page + 1));
	for (size_t i = 0; i < PAGER_PAGE_SIZE; i++) {
		page[1 + i] = 1;
		assert_false(page_is_zero(page + 1));
		page[1 + i] = 0;
	}
}

static void percentiles_stay_within_an_eighth(void **state)
{
	struct hist h;

	(void)state;
	hist_init(&h);
	assert_int_equal(hist_percentile(&h, 0.5), 0);
	for (uint64_t v = 1; v <= 1000; v++)
		hist_record(&h, v * 1000);
	assert_in_range(hist_percentile(&h, 0.5), 500000, 562500);
	assert_in_range(hist_percentile(&h, 0.99), 990000, 1000000);
	assert_int_equal(hist_percentile(&h, 1.0), 1000000);
	hist_record(&h, UINT64_MAX);
	assert_int_equal(hist_percentile(&h, 0), hist_percentile(&h, 0.0001));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_text_belongs_to_its_code),
		cmocka_unit_test(sizes_parse),
		cmocka_unit_test(sizes_print),
		cmocka_unit_test(hex_round_trip),
		cmocka_unit_test(utf8_is_strict),
		cmocka_unit_test(zero_page_is_found_wherever_a_byte_differs),
		cmocka_unit_test(percentiles_stay_within_an_eighth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
