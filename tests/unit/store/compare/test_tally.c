#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/compare/idset.h"
#include "fs/store/compare/tally.h"

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + 1;
	return *state >> 33;
}

static uint64_t count_of(const uint64_t *blocks, size_t count, uint64_t block)
{
	uint64_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += blocks[i] == block;
	return n;
}

static void an_empty_tally_has_nothing(void **state)
{
	struct tally t;
	uint64_t hint = 0;

	(void)state;
	assert_int_equal(tally_init(&t, 0), 0);
	tally_sort(&t);
	assert_int_equal(tally_count(&t, 7), 0);
	assert_true(tally_find(&t, 7, &hint) == UINT64_MAX);
	tally_release(&t);
}

/* Whatever the hint says: it is only where to begin. */
static void counts_are_those_of_a_plain_search(void **state)
{
	uint64_t blocks[300], seed = 1;
	struct tally t;

	(void)state;
	for (size_t count = 1; count <= 300; count += 13) {
		assert_int_equal(tally_init(&t, count), 0);
		for (size_t i = 0; i < count; i++) {
			blocks[i] = 1 + next_random(&seed) % 200;
			tally_add(&t, blocks[i]);
		}
		tally_sort(&t);
		for (uint64_t block = 0; block < 203; block++) {
			uint64_t hint = next_random(&seed) % (count + 2);
			uint64_t n = count_of(blocks, count, block);
			uint64_t at = tally_find(&t, block, &hint);

			assert_int_equal(tally_count(&t, block), n);
			assert_int_equal(at != UINT64_MAX, n != 0);
			if (n) {
				assert_int_equal(t.blocks[at], block);
				assert_true(at == 0 ||
					    t.blocks[at - 1] < block);
			}
		}
		tally_release(&t);
	}
}

static void a_set_has_each_id_once(void **state)
{
	struct idset set = {0};

	(void)state;
	for (int round = 0; round < 2; round++)
		for (uint64_t id = 1; id < 5000; id++)
			assert_int_equal(idset_add(&set, id << 20 | 1),
					 round == 0);
	assert_int_equal(set.count, 4999);
	idset_release(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_tally_has_nothing),
		cmocka_unit_test(counts_are_those_of_a_plain_search),
		cmocka_unit_test(a_set_has_each_id_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
