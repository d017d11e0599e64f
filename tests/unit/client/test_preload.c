#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/client/stub_daemon.h"

#define FILE_SIZE (16u * 4096)

struct fixture {
	char runtime[SCRATCH_PATH_MAX];
	char file[SCRATCH_PATH_MAX];
	struct stub_daemon *daemon;
	char said[4096]; /* by the last program, on stderr */
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint8_t *wrong = calloc(1, FILE_SIZE);

	scratch_make(f->runtime);
	(void)snprintf(f->file, sizeof(f->file), "%s",
		       scratch_file(f->runtime, "mem=1"));
	/* Its bytes are not the image's: whoever sees them is wrong. */
	scratch_write(f->file, wrong, FILE_SIZE);
	free(wrong);
	f->daemon = stub_start(f->runtime);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	stub_stop(f->daemon);
	scratch_remove(f->runtime);
	free(f);
	return 0;
}

static void become_user(struct fixture *f, const char *map, const char *mode,
			int error_fd)
{
	const char *options = getenv("ASAN_OPTIONS");
	char asan[512];

	/* The shim comes before the sanitizer's library, and may. */
	(void)snprintf(asan, sizeof(asan),
		       "%s:verify_asan_link_order=0:detect_leaks=0",
		       options ? options : "");
	(void)setenv("ASAN_OPTIONS", asan, 1);
	(void)setenv("LD_PRELOAD", PRELOAD, 1);
	(void)setenv("PAGERD_RUNTIME", f->runtime, 1);
	if (map)
		(void)setenv("PAGER_MAP", map, 1);
	(void)dup2(error_fd, STDERR_FILENO);
	(void)execl(PRELOAD_USER, PRELOAD_USER, f->file, mode, NULL);
	_exit(126);
}

/* The exit status; what it said is kept. */
static int run_with(struct fixture *f, const char *map, const char *mode)
{
	size_t length = 0;
	int fds[2], status;
	pid_t child;
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		become_user(f, map, mode, fds[1]);
	(void)close(fds[1]);
	while ((n = read(fds[0], f->said + length,
			 sizeof(f->said) - length - 1)) > 0)
		length += (size_t)n;
	f->said[length] = '\0';
	(void)close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int run(struct fixture *f, const char *mode)
{
	char map[SCRATCH_PATH_MAX + 16];

	(void)snprintf(map, sizeof(map), "%s=web-1", f->file);
	return run_with(f, map, mode);
}

static void assert_one_line(const struct fixture *f, const char *text)
{
	const char *end = strchr(f->said, '\n');

	assert_memory_equal(f->said, "libpager-preload: ", 18);
	assert_non_null(strstr(f->said, text));
	assert_ptr_equal(end, f->said + strlen(f->said) - 1);
}

static void mappings_have_the_images_bytes(void **state)
{
	static const struct {
		const char *mode;
		unsigned int installed;
	} cases[] = {
		{"whole", 16},	 {"fixed", 16},	 {"partial", 2},
		{"renamed", 16}, {"threads", 8},
	};
	struct fixture *f = *state;
	unsigned int installed = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(run(f, cases[i].mode), 0);
		installed += cases[i].installed;
		assert_int_equal(stub_installed(f->daemon), installed);
		assert_true(stub_got_uffd(f->daemon));
	}
}

static void what_is_asked_for(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "partial"), 0);
	assert_string_equal(f->said, "");
	assert_non_null(strstr(stub_handshake(f->daemon),
			       "\"size\":8192,\"offset\":4096"));
	/* Split at the last '=': the file's name has one. */
	stub_answer(f->daemon, "");
	assert_int_not_equal(run(f, "partial"), 0);
	assert_non_null(
		strstr(stub_request(f->daemon), "{\"snapshot\":\"web-1\"}"));
}

static void other_mappings_are_left_alone(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "untouched"), 0);
	assert_string_equal(f->said, "");
	assert_int_equal(stub_requests(f->daemon), 0);
}

static void nothing_falls_back_on_the_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "shared"), 0);
	assert_one_line(f, "mapped shared");
	assert_int_equal(run(f, "moving"), 0);
	assert_one_line(f, "mremap");

	stub_refuse(f->daemon, true);
	assert_int_equal(run(f, "refused"), 0);
	assert_one_line(f, "refused the memory");

	stub_answer(f->daemon,
		    "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"
		    "{\"error\": {\"code\": \"not_found\", \"message\": "
		    "\"no snapshot\\n'web-1'\"}}");
	assert_int_equal(run(f, "failing"), 0);
	assert_one_line(f, "no snapshot 'web-1'");
}

static void a_wrong_variable_stops_the_program(void **state)
{
	static const char *const wrong[] = {"", "=", "x", "=x", "x="};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(run_with(f, wrong[i], "whole"), 127);
		assert_one_line(f, "PAGER_MAP: is not FILE=NAME");
	}
	assert_int_equal(run_with(f, NULL, "untouched"), 0);
	assert_string_equal(f->said, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(mappings_have_the_images_bytes),
		TEST(what_is_asked_for),
		TEST(other_mappings_are_left_alone),
		TEST(nothing_falls_back_on_the_file),
		TEST(a_wrong_variable_stops_the_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
