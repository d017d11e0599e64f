/* Workers that look on before they sleep: only where it may gain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/uffd/uffd_bench.h"

#define PAGE	 4096u
#define SIZE	 (4u << 20)
#define SNAPSHOT "guest"

/* Touches page after page; the counters stand in `ret_status`. */
static void serve(uint64_t spin_ns, unsigned int processors,
		  struct session_status *ret_status)
{
	const struct bench_options options = {
		.workers = 1,
		.spin_ns = spin_ns,
		.processors = processors,
	};
	struct bench *b = bench_new(&options);
	struct session_options o = bench_session_options(b, "one");
	struct session *s;
	struct vmm v;

	bench_publish(b, SNAPSHOT, SIZE);
	o.record = SESSION_RECORD_NEVER;
	s = bench_session(b, SNAPSHOT, o);
	vmm_restore(&v, s, SIZE, PAGE);
	for (uint64_t page = 0; page < SIZE / PAGE; page++)
		assert_int_equal(VMM_DO(&v, CLIENT_TOUCH, 0, page * PAGE),
				 bench_image(b)[page * PAGE]);
	session_status(s, ret_status);
	vmm_compare(&v, 0, bench_image(b));
	vmm_exit(&v);
	bench_expect_end(b, s, SESSION_END_VMM_GONE);
	bench_free(b);
}

/*
 * So long a spin that the next touch comes within it. Where the machine is busy
 * the worker may see that and have a rest: then it is tried again.
 */
static void a_hot_restore_is_met_by_spins(void **state)
{
	struct session_status st;

	(void)state;
	do
		serve(UINT64_C(200000000), 64, &st);
	while (st.counters[SESSION_COUNT_SPIN_HITS] == 0);
	assert_true(st.counters[SESSION_COUNT_SPIN_HITS] <=
		    st.counters[SESSION_COUNT_SPINS]);
}

static void nobody_spins_who_is_not_to(void **state)
{
	struct session_status st;

	(void)state;
	serve(0, 64, &st);
	assert_int_equal(st.counters[SESSION_COUNT_SPINS], 0);
}

/* One processor is for the guest. */
static void nobody_spins_where_processors_are_short(void **state)
{
	struct session_status st;

	(void)state;
	serve(UINT64_C(200000000), 1, &st);
	assert_int_equal(st.counters[SESSION_COUNT_SPINS], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hot_restore_is_met_by_spins),
		cmocka_unit_test(nobody_spins_who_is_not_to),
		cmocka_unit_test(nobody_spins_where_processors_are_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
