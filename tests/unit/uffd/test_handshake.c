#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pagerd/uffd/connect/handshake.h"

static const char good[] =
	"[{\"base_host_virt_addr\":4096,\"size\":8192,\"offset\":0}]";

struct test {
	struct handshake h;
	int ours, theirs, file;
};

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));
	int pair[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	t->ours = pair[0];
	t->theirs = pair[1];
	t->file = memfd_create("fd", MFD_CLOEXEC);
	handshake_init(&t->h);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	handshake_release(&t->h);
	close_quietly(t->ours);
	close_quietly(t->theirs);
	close_quietly(t->file);
	free(t);
	return 0;
}

static void say(struct test *t, const char *text, size_t len, unsigned int fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(32 * sizeof(int))];
	} control = {0};
	struct iovec from = {(void *)(uintptr_t)text, len};
	struct msghdr m = {.msg_iov = &from, .msg_iovlen = 1};

	if (fds) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(fds * sizeof(int));
		for (unsigned int i = 0; i < fds; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int),
			       &t->file, sizeof(int));
	}
	assert_int_equal(sendmsg(t->theirs, &m, MSG_NOSIGNAL), len);
}

static void say_text(struct test *t, const char *text, unsigned int fds)
{
	say(t, text, strlen(text), fds);
}

static int hear(struct test *t)
{
	return handshake_receive(&t->h, t->ours);
}

static void expect_refused(struct test *t, const char *why)
{
	assert_int_equal(hear(t), -EPROTO);
	if (!strstr(err_text(-EPROTO), why))
		fail_msg("'%s' does not say '%s'", err_text(-EPROTO), why);
}

static void one_message_is_a_handshake(void **state)
{
	struct test *t = *state;
	int fd;

	assert_int_equal(hear(t), -EAGAIN);
	say_text(t, good, 1);
	assert_int_equal(hear(t), 0);
	assert_int_equal(t->h.len, strlen(good));
	fd = handshake_take_fd(&t->h);
	assert_true(fd >= 0 && t->h.fd == -1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close_quietly(fd);
}

/* PITFALLS 1. */
static void a_body_may_come_byte_by_byte(void **state)
{
	struct test *t = *state;

	for (size_t i = 0; i < strlen(good); i++) {
		assert_int_equal(hear(t), -EAGAIN);
		say(t, good + i, 1, i == 7);
	}
	assert_int_equal(hear(t), 0);
	assert_memory_equal(t->h.body, good, strlen(good));
}

/* Until it is taken out, whoever has the socket hears it from the start. */
/*
 * In any number of pieces, each read by a call of its own as from a slow
 * peer: where it is asked to come again, there is something to come for.
 */
static void the_last_piece_is_never_waited_behind(void **state)
{
	struct test *t = *state;
	int pair[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	close_quietly(t->ours);
	close_quietly(t->theirs);
	t->ours = pair[0];
	t->theirs = pair[1];
	for (size_t pieces = 2; pieces < strlen(good); pieces++) {
		struct pollfd more = {.fd = t->ours, .events = POLLIN};
		int r;

		for (size_t i = 0; i < pieces - 1; i++)
			say(t, good + i, 1, i == 0);
		say_text(t, good + pieces - 1, 0);
		while ((r = hear(t)) == -EAGAIN)
			assert_int_equal(poll(&more, 1, 0), 1);
		assert_int_equal(r, 0);
		handshake_release(&t->h);
	}
}

static void what_is_left_in_is_heard_again(void **state)
{
	struct test *t = *state;
	size_t half = strlen(good) / 2;
	char byte;

	say(t, good, half, 1);
	assert_int_equal(handshake_leave_in(&t->h, t->ours), 0);
	assert_int_equal(hear(t), -EAGAIN);
	assert_int_equal(t->h.len, half);
	for (int i = 0; i < 3; i++) {
		handshake_release(&t->h);
		assert_int_equal(handshake_leave_in(&t->h, t->ours), 0);
		assert_int_equal(hear(t), i ? 0 : -EAGAIN);
		assert_true(t->h.fd >= 0);
		if (i == 0)
			say_text(t, good + half, 0);
		if (i == 0)
			assert_int_equal(hear(t), 0);
	}
	assert_memory_equal(t->h.body, good, strlen(good));
	handshake_take_out(&t->h, t->ours);
	assert_int_equal(recv(t->ours, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void a_text_in_many_pieces_is_told_of(void **state)
{
	struct test *t = *state;
	int heard = 0;

	assert_int_equal(handshake_leave_in(&t->h, t->ours), 0);
	while (!handshake_is_piecemeal(&t->h)) {
		say(t, good + heard, 1, heard == 0);
		assert_int_equal(hear(t), -EAGAIN);
		heard++;
	}
	assert_int_equal(heard, 16);
	handshake_release(&t->h);
	say_text(t, good + heard, 0);
	assert_int_equal(hear(t), 0);
	assert_memory_equal(t->h.body, good, strlen(good));
}

static void brackets_in_strings_do_not_end_it(void **state)
{
	static const char tricky[] =
		" [{\"a\":\"]}\\\\\\\"]\",\"base_host_virt_addr\":4096,"
		"\"size\":8192,\"offset\":0}]";
	struct test *t = *state;

	for (size_t i = 0; i < strlen(tricky); i++) {
		assert_int_equal(hear(t), -EAGAIN);
		say(t, tricky + i, 1, i == 0);
	}
	assert_int_equal(hear(t), 0);
}

/* PITFALLS 1. */
static void the_fd_may_come_last_on_any_byte(void **state)
{
	static const char carriers[] = {'x', ' ', '\0', '\n', '['};

	for (size_t i = 0; i < sizeof(carriers); i++) {
		struct test *t = *state;

		say_text(t, good, 0);
		assert_int_equal(hear(t), -EAGAIN);
		assert_string_equal(handshake_lacks(&t->h), "no fd came");
		say(t, &carriers[i], 1, 1);
		assert_int_equal(hear(t), 0);
		assert_int_equal(t->h.len, strlen(good));
		handshake_release(&t->h);
		/* Unread, the two are glued together. */
		say_text(t, good, 0);
		say(t, &carriers[i], 1, 1);
		assert_int_equal(hear(t), 0);
		assert_int_equal(t->h.len, strlen(good));
		handshake_release(&t->h);
	}
}

static void filler_behind_the_text_is_no_harm(void **state)
{
	struct test *t = *state;

	say_text(t, good, 1);
	say(t, "\n\0 ", 3, 0);
	assert_int_equal(hear(t), 0);
	assert_int_equal(t->h.len, strlen(good));
}

static void more_bytes_behind_the_text_carry_nothing(void **state)
{
	struct test *t = *state;
	char text[sizeof(good) + 2];

	(void)snprintf(text, sizeof(text), "%sxy", good);
	say_text(t, text, 1);
	expect_refused(t, "bytes behind the text");
}

/* PITFALLS 1: 2 and 3 fds, a truncated control message. */
static void too_many_fds_are_refused(void **state)
{
	struct test *t = *state;

	for (unsigned int fds = 2; fds <= PAGER_HANDSHAKE_FDS_MAX; fds++) {
		say_text(t, good, fds);
		expect_refused(t, "fds where one is expected");
		handshake_release(&t->h);
	}
	say_text(t, good, PAGER_HANDSHAKE_FDS_MAX + 8);
	expect_refused(t, "truncated");
}

static void a_second_fd_later_is_refused(void **state)
{
	struct test *t = *state;

	say_text(t, good, 1);
	say(t, " ", 1, 1);
	expect_refused(t, "2 fds");
}

/* PITFALLS 1: garbage. */
static void other_texts_are_refused_at_once(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"x", "no JSON array"},	       {"\"a\"", "no JSON array"},
		{"1", "no JSON array"},	       {"[]x", "behind"},
		{"]", "no JSON array"},	       {"[][]", "behind"},
		{"[[[[[[[[[[[[[[[[[", "deep"},
	};
	struct test *t = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		say_text(t, cases[i].text, 0);
		expect_refused(t, cases[i].why);
		handshake_release(&t->h);
		/* Whatever is left is the next one's otherwise. */
		(void)recv(t->ours, (char[64]){0}, 64, MSG_DONTWAIT);
	}
}

static void hanging_up_too_early_is_refused(void **state)
{
	struct test *t = *state;

	say(t, good, 10, 1);
	close_quietly(steal_fd(t->theirs));
	expect_refused(t, "the text is not complete");
}

/* PITFALLS 3. */
static void hanging_up_without_a_word_is_refused(void **state)
{
	struct test *t = *state;

	close_quietly(steal_fd(t->theirs));
	expect_refused(t, "it said nothing");
}

static void hanging_up_after_all_is_fine(void **state)
{
	struct test *t = *state;

	say_text(t, good, 1);
	close_quietly(steal_fd(t->theirs));
	assert_int_equal(hear(t), 0);
}

static void a_text_without_end_is_refused(void **state)
{
	struct test *t = *state;
	char chunk[4096];
	int r = -EAGAIN;
	unsigned int sent = 0;

	memset(chunk, ' ', sizeof(chunk));
	chunk[0] = '[';
	for (; r == -EAGAIN; sent += sizeof(chunk)) {
		say(t, chunk, sizeof(chunk), 0);
		chunk[0] = ' ';
		r = hear(t);
	}
	assert_int_equal(r, -EPROTO);
	assert_non_null(strstr(err_text(r), "over 262144 bytes"));
	assert_int_equal(sent, PAGER_HANDSHAKE_BODY_MAX + sizeof(chunk));
}

/* PITFALLS 1. */
static void fds_do_not_leak(void **state)
{
	struct test *t = *state;
	int before = dup(t->file), after;

	close_quietly(before);
	say_text(t, good, 3);
	assert_int_equal(hear(t), -EPROTO);
	handshake_release(&t->h);
	after = dup(t->file);
	assert_int_equal(after, before);
	close_quietly(after);
}

static void an_excerpt_is_one_short_line(void **state)
{
	struct test *t = *state;
	char buf[HANDSHAKE_EXCERPT_MAX];

	assert_string_equal(handshake_excerpt(&t->h, buf), "");
	say_text(t, "[\n\033\"\xff", 0);
	assert_int_equal(hear(t), -EAGAIN);
	assert_string_equal(handshake_excerpt(&t->h, buf), "[..\".");
	for (int i = 0; i < 100; i++)
		say_text(t, "    ", 0);
	while (t->h.len < 300)
		assert_int_equal(hear(t), -EAGAIN);
	assert_int_equal(strlen(handshake_excerpt(&t->h, buf)),
			 HANDSHAKE_EXCERPT_MAX - 1);
}

static int parse(const char *text, struct region **ret, size_t *ret_count)
{
	return handshake_parse(text, strlen(text), ret, ret_count);
}

/* PITFALLS 1: page_size_kib is bytes. */
static void page_sizes_are_read_as_they_are_meant(void **state)
{
	static const struct {
		const char *keys;
		uint64_t size;
	} cases[] = {
		{"", 4096},
		{",\"page_size_kib\":4096", 4096},
		{",\"page_size_kib\":2097152", 2097152},
		{",\"page_size\":2097152", 2097152},
		{",\"page_size_kib\":4096,\"page_size\":2097152", 2097152},
		{",\"page_size\":2097152,\"page_size_kib\":4096", 2097152},
		{",\"page_size_kib\":4", 4},
		{",\"other\":{\"a\":[null,1.5]}", 4096},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[256];
		struct region *regions;
		size_t count;

		(void)snprintf(text, sizeof(text),
			       "{\"mappings\":[{\"base_host_virt_addr\":4096,"
			       "\"size\":8192,\"offset\":12288%s}]}",
			       cases[i].keys);
		assert_int_equal(parse(text, &regions, &count), 0);
		assert_int_equal(count, 1);
		assert_int_equal(regions[0].base, 4096);
		assert_int_equal(regions[0].size, 8192);
		assert_int_equal(regions[0].offset, 12288);
		assert_int_equal(regions[0].page_size, cases[i].size);
		free(regions);
	}
}

static void what_is_no_list_of_regions_is_refused(void **state)
{
	static const char *const bad[] = {
		"[]",
		"{}",
		"{\"mappings\":{}}",
		"{\"mappings\":[]}",
		"[1]",
		"[{}]",
		"[{\"base_host_virt_addr\":1,\"size\":1}]",
		"[{\"base_host_virt_addr\":-1,\"size\":1,\"offset\":0}]",
		"[{\"base_host_virt_addr\":1.0,\"size\":1,\"offset\":0}]",
		"[{\"base_host_virt_addr\":\"1\",\"size\":1,\"offset\":0}]",
		("[{\"base_host_virt_addr\":18446744073709551615,\"size\":1,"
		 "\"offset\":0}]"),
		("[{\"base_host_virt_addr\":1,\"size\":1,\"size\":2,"
		 "\"offset\":0}]"),
		"[{\"base_host_virt_addr\":1,\"size\":1,\"offset\":0}}",
		"[{\"base_host_virt_addr\":1,\"size\":1,\"offset\":0]]",
		"[{\"base_host_virt_addr\":1,\"size\":1,\"offset\":0},]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct region *regions = NULL;
		size_t count;

		if (parse(bad[i], &regions, &count) != -EPROTO)
			fail_msg("%s was not refused", bad[i]);
		assert_null(regions);
	}
}

static void regions_are_limited_in_number(void **state)
{
	static const char one[] =
		"{\"base_host_virt_addr\":1,\"size\":1,\"offset\":0}";
	const size_t most = PAGER_HANDSHAKE_REGIONS_MAX;
	char *text = malloc((most + 1) * sizeof(one) + 2), *end = text;
	struct region *regions = NULL;
	size_t count;

	(void)state;
	*end++ = '[';
	for (size_t i = 0; i < most; i++) {
		memcpy(end, one, sizeof(one) - 1);
		end += sizeof(one) - 1;
		*end++ = i + 1 < most ? ',' : ']';
	}
	assert_int_equal(
		handshake_parse(text, (size_t)(end - text), &regions, &count),
		0);
	assert_int_equal(count, most);
	free(regions);
	regions = NULL;
	end[-1] = ',';
	memcpy(end, one, sizeof(one) - 1);
	end += sizeof(one) - 1;
	*end++ = ']';
	assert_int_equal(
		handshake_parse(text, (size_t)(end - text), &regions, &count),
		-EPROTO);
	assert_null(regions);
	free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_message_is_a_handshake),
		TEST(a_body_may_come_byte_by_byte),
		TEST(the_last_piece_is_never_waited_behind),
		TEST(what_is_left_in_is_heard_again),
		TEST(a_text_in_many_pieces_is_told_of),
		TEST(brackets_in_strings_do_not_end_it),
		TEST(the_fd_may_come_last_on_any_byte),
		TEST(filler_behind_the_text_is_no_harm),
		TEST(more_bytes_behind_the_text_carry_nothing),
		TEST(too_many_fds_are_refused),
		TEST(a_second_fd_later_is_refused),
		TEST(other_texts_are_refused_at_once),
		TEST(hanging_up_too_early_is_refused),
		TEST(hanging_up_without_a_word_is_refused),
		TEST(hanging_up_after_all_is_fine),
		TEST(a_text_without_end_is_refused),
		TEST(fds_do_not_leak),
		TEST(an_excerpt_is_one_short_line),
		cmocka_unit_test(page_sizes_are_read_as_they_are_meant),
		cmocka_unit_test(what_is_no_list_of_regions_is_refused),
		cmocka_unit_test(regions_are_limited_in_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
