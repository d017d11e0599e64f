#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pagerd/uffd/memory/pagestate.h"

#define PAGES 2048

static const struct pager_digest digest = {{1, 2, 3}};

struct test {
	int fd;
	struct pagestate *s;
};

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	t->fd = memfd_create("pages", MFD_CLOEXEC);
	assert_int_equal(pagestate_create(t->fd, PAGES, &digest, &t->s), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	pagestate_free(t->s);
	(void)close(t->fd);
	free(t);
	return 0;
}

static void the_file_says_what_it_is(void **state)
{
	struct test *t = *state;
	struct pager_pagestate_header h;
	struct stat st;

	assert_int_equal(fstat(t->fd, &st), 0);
	assert_int_equal(st.st_size, PAGER_PAGESTATE_HEADER + PAGES / 4);
	assert_int_equal(pread(t->fd, &h, sizeof(h), 0), sizeof(h));
	assert_memory_equal(h.magic, PAGER_PAGESTATE_MAGIC, 8);
	assert_int_equal(le32toh(h.version), PAGER_PAGESTATE_VERSION);
	assert_int_equal(le64toh(h.pages), PAGES);
	assert_memory_equal(h.image_digest, digest.bytes, 16);
}

static void states_stand_where_the_format_says(void **state)
{
	struct test *t = *state;
	uint8_t byte;

	pagestate_set(t->s, 5, 1, PAGER_PAGE_REMOVED);
	pagestate_set(t->s, 7, 1, PAGER_PAGE_POISONED);
	assert_int_equal(pread(t->fd, &byte, 1, PAGER_PAGESTATE_HEADER + 1), 1);
	assert_int_equal(byte, 2 << 2 | 3 << 6);
}

static void check_against(const struct test *t, const uint8_t *model)
{
	uint64_t counts[4] = {0};

	for (unsigned int i = 0; i < PAGES; i++) {
		counts[model[i]]++;
		assert_int_equal(pagestate_get(t->s, i), model[i]);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(
			pagestate_count(t->s, (enum pager_page_state)i),
			counts[i]);
}

static void ranges_and_counts_agree_with_a_model(void **state)
{
	struct test *t = *state;
	uint8_t model[PAGES] = {0};
	uint32_t x = 1;

	for (int round = 0; round < 400; round++) {
		uint32_t first, count, to;

		x = x * 1664525 + 1013904223;
		first = x >> 8 & (PAGES - 1);
		x = x * 1664525 + 1013904223;
		count = (x >> 8) % (round % 2 ? 300 : 5);
		if (count > PAGES - first)
			count = PAGES - first;
		to = x >> 30;
		memset(model + first, (int)to, count);
		pagestate_set(t->s, first, count, (enum pager_page_state)to);
		check_against(t, model);
	}
}

static void runs_end_where_states_change(void **state)
{
	struct test *t = *state;

	pagestate_set(t->s, 100, 50, PAGER_PAGE_PRESENT);
	assert_int_equal(pagestate_run(t->s, 0, PAGES, PAGER_PAGE_ABSENT), 100);
	assert_int_equal(pagestate_run(t->s, 100, 20, PAGER_PAGE_PRESENT), 20);
	assert_int_equal(pagestate_run(t->s, 149, 20, PAGER_PAGE_PRESENT), 1);
	assert_int_equal(
		pagestate_run(t->s, 150, UINT64_MAX, PAGER_PAGE_ABSENT),
		PAGES - 150);
	assert_int_equal(pagestate_run(t->s, 0, 5, PAGER_PAGE_REMOVED), 0);
}

static void pages_are_rounded_up_to_2_mib(void **state)
{
	struct test *t = *state;
	struct pagestate *s = NULL;

	assert_int_equal(pagestate_create(t->fd, 1, &digest, &s), 0);
	assert_int_equal(s->pages, 512);
	pagestate_free(s);
	assert_int_equal(pagestate_create(t->fd, UINT64_MAX, &digest, &s),
			 -EFBIG);
}

/* A full file system is an error now, and no SIGBUS later. */
static void its_space_is_taken_at_once(void **state)
{
	struct test *t = *state;
	struct rlimit limit = {8192, RLIM_INFINITY}, before;
	struct pagestate *s = NULL;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_true(pagestate_create(t->fd, 1 << 20, &digest, &s) < 0);
	assert_null(s);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
}

static void a_successor_finds_states_and_counts(void **state)
{
	struct test *t = *state;
	struct pagestate *s = NULL;

	pagestate_set(t->s, 3, 700, PAGER_PAGE_PRESENT);
	pagestate_set(t->s, 600, 9, PAGER_PAGE_REMOVED);
	memset(t->s->inbox, 0x5a, PAGER_INBOX_MESSAGES * 32);
	pagestate_free(t->s);
	t->s = NULL;
	assert_int_equal(pagestate_open(t->fd, PAGES, &digest, &t->s), 0);
	assert_int_equal(pagestate_count(t->s, PAGER_PAGE_PRESENT), 691);
	assert_int_equal(pagestate_count(t->s, PAGER_PAGE_REMOVED), 9);
	assert_int_equal(pagestate_count(t->s, PAGER_PAGE_ABSENT), PAGES - 700);
	assert_int_equal(pagestate_get(t->s, 608), PAGER_PAGE_REMOVED);
	assert_int_equal(pagestate_get(t->s, 609), PAGER_PAGE_PRESENT);
	assert_int_equal(*((uint8_t *)t->s->inbox), 0x5a);
	assert_int_equal(t->s->map[PAGER_PAGESTATE_HEADER - 1], 0x5a);
	assert_int_equal(pagestate_open(t->fd, PAGES * 2, &digest, &s),
			 -EBADMSG);
	assert_int_equal(
		pagestate_open(t->fd, PAGES, &(struct pager_digest){{9}}, &s),
		-EBADMSG);
	t->s->map[8] = 2;
	assert_int_equal(pagestate_open(t->fd, PAGES, &digest, &s), -ENOTSUP);
	t->s->map[0] = 0;
	assert_int_equal(pagestate_open(t->fd, PAGES, &digest, &s), -EBADMSG);
	assert_int_equal(ftruncate(t->fd, 4096), 0);
	assert_int_equal(pagestate_open(t->fd, PAGES, &digest, &s), -EBADMSG);
	assert_null(s);
}

static void a_torn_2_mib_page_is_levelled(void **state)
{
	struct test *t = *state;

	pagestate_set(t->s, 512, 40, PAGER_PAGE_PRESENT);
	pagestate_level(t->s, 512);
	assert_int_equal(pagestate_count(t->s, PAGER_PAGE_PRESENT), 512);
	pagestate_set(t->s, 512, 1, PAGER_PAGE_POISONED);
	pagestate_level(t->s, 512);
	assert_int_equal(pagestate_count(t->s, PAGER_PAGE_POISONED), 512);
	pagestate_set(t->s, 1023, 1, PAGER_PAGE_REMOVED);
	pagestate_level(t->s, 512);
	assert_int_equal(pagestate_count(t->s, PAGER_PAGE_REMOVED), 512);
	pagestate_level(t->s, 1024);
	assert_int_equal(pagestate_count(t->s, PAGER_PAGE_ABSENT), PAGES - 512);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_file_says_what_it_is),
		TEST(states_stand_where_the_format_says),
		TEST(ranges_and_counts_agree_with_a_model),
		TEST(runs_end_where_states_change),
		TEST(pages_are_rounded_up_to_2_mib),
		TEST(its_space_is_taken_at_once),
		TEST(a_successor_finds_states_and_counts),
		TEST(a_torn_2_mib_page_is_levelled),
	};

	(void)signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
