/* The calls on a userfaultfd of our own. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/inject.h"
#include "pagerd/uffd/memory/uffd.h"

#define PAGE  4096u
#define PAGES 16u

struct test {
	int fd;
	uint8_t *memory, *content;
};

static int fresh_uffd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int setup(void **state)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_REMOVE,
	};
	struct test *t = calloc(1, sizeof(*t));
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	t->fd = fresh_uffd();
	assert_int_equal(ioctl(t->fd, UFFDIO_API, &api), 0);
	t->memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t->content = malloc(PAGES * PAGE);
	memset(t->content, 0x77, PAGES * PAGE);
	r.range.start = (uintptr_t)t->memory;
	r.range.len = PAGES * PAGE;
	assert_int_equal(ioctl(t->fd, UFFDIO_REGISTER, &r), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	close_quietly(t->fd);
	(void)munmap(t->memory, PAGES * PAGE);
	free(t->content);
	free(t);
	return 0;
}

static uint64_t at(const struct test *t, unsigned int page)
{
	return (uintptr_t)t->memory + page * PAGE;
}

static void expect(struct uffd_outcome o, enum uffd_result result, int error,
		   uint64_t done)
{
	assert_int_equal(o.result, result);
	assert_int_equal(o.error, error);
	assert_int_equal(o.done, done);
}

static void results_mean_what_they_say(void **state)
{
	struct test *t = *state;

	expect(uffd_copy(t->fd, at(t, 0), t->content, PAGE), UFFD_DONE, 0,
	       PAGE);
	assert_int_equal(t->memory[PAGE - 1], 0x77);
	expect(uffd_copy(t->fd, at(t, 0), t->content, PAGE), UFFD_EXISTS,
	       -EEXIST, 0);
	expect(uffd_zero(t->fd, at(t, 0), PAGE), UFFD_EXISTS, -EEXIST, 0);
	expect(uffd_zero(t->fd, at(t, 1), 2 * PAGE), UFFD_DONE, 0, 2 * PAGE);
	assert_int_equal(t->memory[2 * PAGE], 0);
	expect(uffd_zero(t->fd, at(t, 15), 2 * PAGE), UFFD_UNMAPPED, -ENOENT,
	       0);
	expect(uffd_copy(t->fd, at(t, 4) + 1, t->content, PAGE), UFFD_FAILED,
	       -EINVAL, 0);
	expect(uffd_copy(t->fd, UINT64_MAX - PAGE + 1, t->content, PAGE),
	       UFFD_FAILED, -EINVAL, 0);
}

static void a_run_that_meets_a_page_is_done_in_part(void **state)
{
	struct test *t = *state;

	expect(uffd_copy(t->fd, at(t, 2), t->content, PAGE), UFFD_DONE, 0,
	       PAGE);
	expect(uffd_zero(t->fd, at(t, 0), 4 * PAGE), UFFD_RETRY, -EAGAIN,
	       2 * PAGE);
	assert_int_equal(t->memory[2 * PAGE], 0x77);
}

static void probing_changes_nothing(void **state)
{
	struct test *t = *state;

	assert_int_equal(uffd_probe(t->fd, at(t, 0)), UFFD_DONE);
	expect(uffd_copy(t->fd, at(t, 0), t->content, PAGE), UFFD_DONE, 0,
	       PAGE);
	assert_int_equal(uffd_probe(t->fd, at(t, 0)), UFFD_DONE);
	assert_int_equal(uffd_probe(t->fd, at(t, 16)), UFFD_UNMAPPED);
	assert_int_equal(munmap(t->memory, PAGE), 0);
	assert_int_equal(uffd_probe(t->fd, at(t, 0)), UFFD_UNMAPPED);
}

static void reading_never_blocks(void **state)
{
	struct test *t = *state;
	struct uffd_msg messages[4];

	/* It is in blocking mode. */
	assert_false(fcntl(t->fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(uffd_read(t->fd, messages, 4), 0);
}

static void only_a_ready_userfaultfd_passes(void **state)
{
	struct test *t = *state;
	uint64_t features = 0;
	int fresh = fresh_uffd(), other = memfd_create("x", MFD_CLOEXEC);

	assert_int_equal(uffd_check(t->fd, &features), 0);
	assert_int_equal(features, UFFD_FEATURE_EVENT_REMOVE);
	assert_true(fcntl(t->fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(uffd_check(fresh, &features), -EPROTO);
	assert_non_null(strstr(err_text(-EPROTO), "UFFDIO_API"));
	assert_int_equal(uffd_check(other, &features), -EPROTO);
	assert_non_null(strstr(err_text(-EPROTO), "no userfaultfd"));
	close_quietly(fresh);
	close_quietly(other);
}

static void poison_is_in_the_place_of_a_page(void **state)
{
	struct test *t = *state;

	expect(uffd_poison(t->fd, at(t, 0), 2 * PAGE), UFFD_DONE, 0, 2 * PAGE);
	expect(uffd_poison(t->fd, at(t, 0), PAGE), UFFD_EXISTS, -EEXIST, 0);
}

#ifdef PAGER_INJECT

static void injected_results_are_classified_alike(void **state)
{
	struct test *t = *state;

	assert_int_equal(inject_configure("uffd-copy:ESRCH@1,"
					  "uffd-copy:ENOMEM@2,"
					  "uffd-copy:short@3,"
					  "uffd-zero:ENOENT@1"),
			 0);
	expect(uffd_copy(t->fd, at(t, 0), t->content, PAGE), UFFD_GONE, -ESRCH,
	       0);
	expect(uffd_copy(t->fd, at(t, 0), t->content, PAGE), UFFD_RETRY,
	       -ENOMEM, 0);
	expect(uffd_copy(t->fd, at(t, 0), t->content, 4 * PAGE), UFFD_RETRY,
	       -EAGAIN, 2 * PAGE);
	expect(uffd_zero(t->fd, at(t, 4), PAGE), UFFD_UNMAPPED, -ENOENT, 0);
	assert_int_equal(inject_configure(NULL), 0);
}

#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(results_mean_what_they_say),
		TEST(a_run_that_meets_a_page_is_done_in_part),
		TEST(probing_changes_nothing),
		TEST(reading_never_blocks),
		TEST(only_a_ready_userfaultfd_passes),
		TEST(poison_is_in_the_place_of_a_page),
#ifdef PAGER_INJECT
		TEST(injected_results_are_classified_alike),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
