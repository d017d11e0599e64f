#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/base/list.h"
#include "pagerd/uffd/serve/timers.h"

#define COUNT 300

struct item {
	struct timer timer;
	unsigned int fired;
};

static uint64_t last_when;
static struct timers *heap;

static void note(struct timer *t)
{
	struct item *i = container_of(t, struct item, timer);

	assert_false(t->armed);
	assert_true(t->when >= last_when);
	last_when = t->when;
	i->fired++;
}

static void the_earliest_fires_first(void **state)
{
	struct item items[COUNT] = {0};
	struct timers h = {0};
	uint32_t x = 7;

	(void)state;
	last_when = 0;
	assert_int_equal(timers_next(&h), UINT64_MAX);
	for (int i = 0; i < COUNT; i++) {
		x = x * 1664525 + 1013904223;
		timer_arm(&h, &items[i].timer, 1 + (x >> 16), note);
	}
	/* Some leave, some move, from anywhere in the heap. */
	for (int i = 0; i < COUNT; i += 3)
		timer_disarm(&h, &items[i].timer);
	for (int i = 1; i < COUNT; i += 3)
		timer_arm(&h, &items[i].timer, 40000 - (uint64_t)i, note);
	timers_run(&h, 20000);
	assert_true(timers_next(&h) > 20000);
	timers_run(&h, 1 << 17);
	assert_int_equal(timers_next(&h), UINT64_MAX);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(items[i].fired, i % 3 != 0);
}

static void arm_again(struct timer *t)
{
	struct item *i = container_of(t, struct item, timer);

	if (++i->fired < 3)
		timer_arm(heap, t, t->when + 10, arm_again);
}

static void a_timer_may_arm_itself(void **state)
{
	struct item item = {0};
	struct timers h = {0};

	(void)state;
	heap = &h;
	timer_disarm(&h, &item.timer);
	timer_arm(&h, &item.timer, 10, arm_again);
	timers_run(&h, 9);
	assert_int_equal(item.fired, 0);
	timers_run(&h, 20);
	assert_int_equal(item.fired, 2);
	assert_int_equal(timers_next(&h), 30);
	timer_disarm(&h, &item.timer);
	timers_run(&h, 100);
	assert_int_equal(item.fired, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_earliest_fires_first),
		cmocka_unit_test(a_timer_may_arm_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
