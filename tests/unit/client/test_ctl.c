#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
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

#include "fs/store/snapshot/snapshot.h"
#include "pagerd/ctl/cli/command.h"
#include "pagerd/ctl/cli/completion.h"
#include "pagerd/ctl/cli/man.h"
#include "pagerd/ctl/ctl.h"
#include "tests/unit/client/stub_daemon.h"

#define ARGS_MAX 16

struct fixture {
	char folder[SCRATCH_PATH_MAX];
	char store[SCRATCH_PATH_MAX];
	char memory[SCRATCH_PATH_MAX];
	char *out, *err; /* of the last command */
	int status;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint8_t memory[3 * 4096 + 100] = {0};

	scratch_make(f->folder);
	(void)snprintf(f->store, sizeof(f->store), "%s",
		       scratch_file(f->folder, "store"));
	(void)snprintf(f->memory, sizeof(f->memory), "%s",
		       scratch_file(f->folder, "memory"));
	scratch_page(1, memory);
	memory[sizeof(memory) - 1] = 1;
	scratch_write(f->memory, memory, sizeof(memory));
	(void)setenv("PAGERD_STORE", f->store, 1);
	(void)setenv("PAGERD_RUNTIME", f->folder, 1);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	scratch_remove(f->folder);
	free(f->out);
	free(f->err);
	free(f);
	return 0;
}

static void run_in_child(char **args, int count, const char *out,
			 const char *err)
{
	int out_fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int err_fd = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int status;

	(void)dup2(out_fd, STDOUT_FILENO);
	(void)dup2(err_fd, STDERR_FILENO);
	status = ctl_main(count, args);
	(void)fflush(stderr);
	_exit(status);
}

/* Runs "pagerctl ARGS" with ARGS split at '|', as spaces matter. */
static int run_to(struct fixture *f, const char *line, const char *out)
{
	_cleanup_free_ char *copy = strdup(line);
	char *args[ARGS_MAX] = {(char *)"pagerctl"};
	char err[SCRATCH_PATH_MAX], *rest = copy;
	int count = 1, status;
	size_t length;
	pid_t child;

	while (*line && rest && count < ARGS_MAX - 1)
		args[count++] = strsep(&rest, "|");
	(void)snprintf(err, sizeof(err), "%s", scratch_file(f->folder, "err"));
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		run_in_child(args, count, out, err);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	free(f->err);
	f->err = (char *)scratch_read(err, &length);
	f->err = realloc(f->err, length + 1);
	f->err[length] = '\0';
	return f->status = WEXITSTATUS(status);
}

static int run(struct fixture *f, const char *line)
{
	char out[SCRATCH_PATH_MAX];
	size_t length;

	(void)snprintf(out, sizeof(out), "%s", scratch_file(f->folder, "out"));
	(void)run_to(f, line, out);
	free(f->out);
	f->out = (char *)scratch_read(out, &length);
	f->out = realloc(f->out, length + 1);
	f->out[length] = '\0';
	return f->status;
}

/* With "%s" in the line for the memory file. */
static int run_memory(struct fixture *f, const char *fmt)
{
	const char *at = strstr(fmt, "%s");
	char line[2 * SCRATCH_PATH_MAX];

	assert_non_null(at);
	(void)snprintf(line, sizeof(line), "%.*s%s%s", (int)(at - fmt), fmt,
		       f->memory, at + 2);
	return run(f, line);
}

static void assert_one_line(const struct fixture *f)
{
	assert_memory_equal(f->err, "pagerctl: ", 10);
	assert_ptr_equal(strchr(f->err, '\n'), f->err + strlen(f->err) - 1);
	for (const char *c = f->err; c[1]; c++)
		assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
}

static void assert_fits(const char *text)
{
	while (*text) {
		size_t length = strcspn(text, "\n");

		if (length > 80 || (length && text[length - 1] == ' '))
			fail_msg("bad line: %.*s", (int)length, text);
		text += length + (text[length] == '\n');
	}
}

static void assert_help(struct fixture *f, const char *line)
{
	assert_int_equal(run(f, line), 0);
	assert_string_equal(f->err, "");
	assert_memory_equal(f->out, "Usage: pagerctl ", 16);
	assert_fits(f->out);
}

static void help_fits_and_is_whole(void **state)
{
	struct fixture *f = *state;
	char line[128], text[128];

	for (const struct command *c = commands; c->name; c++) {
		char *space;

		(void)snprintf(line, sizeof(line), "%s", c->name);
		space = strchr(line, ' ');
		if (space)
			*space = '|';
		assert_true(strlen(c->help) <= 52);
		(void)snprintf(text, sizeof(text), "  %s", c->name);
		assert_help(f, "--help");
		assert_non_null(strstr(f->out, text));
		(void)snprintf(text, sizeof(text), "%s|--help", line);
		assert_help(f, text);
		for (const struct command_option *o = c->options; o->name;
		     o++) {
			(void)snprintf(text, sizeof(text), "\n  --%s", o->name);
			assert_non_null(strstr(f->out, text));
		}
		(void)snprintf(text, sizeof(text), "help|%s", line);
		assert_help(f, text);
	}
	assert_help(f, "session|--help");
	assert_null(strstr(f->out, "publish"));
	assert_int_equal(run(f, "--version"), 0);
	assert_string_equal(f->out, "pagerctl " PAGER_VERSION "\n");
}

/* What is generated, as text; the caller frees. */
static char *generated(void (*print)(FILE *out))
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	print(out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void assert_documented(const char *man, const char *bash,
			      const char *zsh, const struct command_option *o)
{
	char text[128];

	for (; o->name; o++) {
		(void)snprintf(text, sizeof(text), "\\fB\\-\\-%s\\fR", o->name);
		assert_non_null(strstr(man, text));
		(void)snprintf(text, sizeof(text), " --%s", o->name);
		assert_non_null(strstr(bash, text));
		(void)snprintf(text, sizeof(text), "--%s[", o->name);
		assert_non_null(strstr(zsh, text));
	}
}

static void everything_is_documented(void **state)
{
	_cleanup_free_ char *man = generated(man_print);
	_cleanup_free_ char *bash = generated(completion_print_bash);
	_cleanup_free_ char *zsh = generated(completion_print_zsh);
	char text[128];

	(void)state;
	assert_documented(man, bash, zsh, command_globals);
	for (const struct command *c = commands; c->name; c++) {
		(void)snprintf(text, sizeof(text), ".SS \"%s", c->name);
		assert_non_null(strstr(man, text));
		(void)snprintf(text, sizeof(text), "'%s'", c->name);
		assert_non_null(strstr(bash, text));
		assert_documented(man, bash, zsh, c->options);
	}
	for (int i = 0; i < COMMAND_STATUS_COUNT; i++)
		assert_non_null(strstr(man, command_statuses[i].help));
}

static void wrong_usage(void **state)
{
	static const char *const lines[] = {
		"",
		"nonsense",
		"session",
		"session|nonsense",
		"-h",
		"--nonsense",
		"--memory|x|publish|a",
		"list|--nonsense",
		"list|--memory|x",
		"list|extra",
		"list|--store",
		"list|--store=",
		"list|--json=yes",
		"show",
		"show|a|b",
		"show|",
		"show|..",
		"show|a/b",
		"show|a\nb",
		"show|\xff",
		"rm",
		"rm|a|.",
		"publish|a",
		"publish|--memory|x",
		"publish|a|--memory",
		"publish|a|--memory|",
		"publish|a|--memory|x|--memory|y",
		"publish|a|--memory|x|--diff",
		"publish|a|--memory|x|--codec|gzip",
		"publish|a|--memory|x|--codec|zst",
		"publish|a|--memory|x|--codec|",
		"publish|a|--memory|x|--label|k",
		"publish|a|--memory|x|--label|=v",
		"publish|a|--memory|x|--attach|k=",
		"publish|a|--memory|x|--threads|0",
		"publish|a|--memory|x|--threads|65",
		"publish|a|--memory|x|--threads|two",
		"publish|a|--memory|x|--base|../b",
		"export|a",
		"export|a|--memory|-|--json",
		"export|a|--memory|-|--vmstate|-",
		"session|create",
		"session|create|a|--policy|maybe",
		"session|create|a|--uid|-1",
		"session|create|a|--overlay|=x",
		"session|create|a|--overlay|7",
		"session|complete",
		"session|list|--id|x",
		"verify",
		"top",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (run(f, lines[i]) != STATUS_USAGE)
			fail_msg("'%s' gives %d", lines[i], f->status);
		assert_one_line(f);
		assert_non_null(strstr(f->err, "--help'"));
		assert_string_equal(f->out, "");
	}
	assert_int_equal(access(f->store, F_OK), -1);
}

static void options_stand_anywhere(void **state)
{
	static const char *const lines[] = {
		"--json|--store|%s|list",
		"list|--store=%s|--json",
		"list|--json|--store|%s",
		"--store=%s|list|--json|--",
	};
	struct fixture *f = *state;
	char line[2 * SCRATCH_PATH_MAX];

	assert_int_equal(run(f, "init"), 0);
	(void)setenv("PAGERD_STORE", "/nowhere", 1);
	for (size_t i = 0; i < 4; i++) {
		const char *at = strstr(lines[i], "%s");

		(void)snprintf(line, sizeof(line), "%.*s%s%s",
			       (int)(at - lines[i]), lines[i], f->store,
			       at + 2);
		assert_int_equal(run(f, line), 0);
		assert_string_equal(f->out, "[]\n");
	}
	/* After "--" nothing is an option. */
	(void)setenv("PAGERD_STORE", f->store, 1);
	assert_int_equal(run(f, "show|--|--json"), STATUS_NOT_FOUND);
	assert_non_null(strstr(f->err, "'--json'"));
}

static void failures_have_their_status(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "list"), STATUS_NOT_FOUND);
	assert_one_line(f);
	assert_non_null(strstr(f->err, "pagerctl init"));
	assert_int_equal(run(f, "init"), 0);
	assert_int_equal(run(f, "init"), STATUS_FAILED);
	assert_one_line(f);
	assert_int_equal(run_memory(f, "publish|a|--memory|%s"), 0);
	assert_int_equal(run_memory(f, "publish|a|--memory|%s"), STATUS_FAILED);
	assert_one_line(f);
	assert_non_null(strstr(f->err, "another name"));
	assert_int_equal(run(f, "publish|b|--memory|/nowhere/x"),
			 STATUS_NOT_FOUND);
	assert_one_line(f);
	assert_int_equal(run_memory(f, "publish|b|--base|zz|--memory|%s"),
			 STATUS_NOT_FOUND);
	assert_one_line(f);
	assert_int_equal(run(f, "show|b"), STATUS_NOT_FOUND);
	assert_one_line(f);
	assert_int_equal(run(f, "export|a|--vmstate|/nowhere/x"),
			 STATUS_NOT_FOUND);
	assert_one_line(f);
	assert_non_null(strstr(f->err, "vmstate"));
	assert_int_equal(run(f, "rm|b"), STATUS_NOT_FOUND);
	assert_one_line(f);
	assert_int_equal(run_to(f, "list", "/dev/full"), STATUS_FAILED);
	assert_one_line(f);
}

static void what_is_in_use_is_kept(void **state)
{
	struct fixture *f = *state;
	struct snapshot *held;
	struct store *s;

	assert_int_equal(run(f, "init"), 0);
	assert_int_equal(run_memory(f, "publish|a|--memory|%s"), 0);
	assert_int_equal(run_memory(f, "publish|b|--memory|%s"), 0);
	assert_int_equal(store_open(f->store, STORE_WRITE, &s), 0);
	assert_int_equal(snapshot_open(s, "a", &held), 0);

	assert_int_equal(run(f, "rm|a|zz|b"), STATUS_IN_USE);
	assert_non_null(strstr(f->err, "pagerctl: a: "));
	assert_non_null(strstr(f->err, "\npagerctl: zz: "));
	assert_int_equal(run(f, "list|--quiet"), 0);
	assert_string_equal(f->out, "a\n");
	snapshot_unref(held);
	store_unref(s);
	assert_int_equal(run(f, "rm|a|--json"), 0);
	assert_non_null(strstr(f->out, "\"a\""));
}

static void damage_is_told(void **state)
{
	char path[SCRATCH_PATH_MAX + 16];
	struct fixture *f = *state;

	assert_int_equal(run(f, "init"), 0);
	assert_int_equal(run_memory(f, "publish|a|--memory|%s"), 0);
	assert_int_equal(run_memory(f, "publish|b|--memory|%s"), 0);
	(void)snprintf(path, sizeof(path), "%s/snapshots/a", f->store);
	scratch_flip(path, -3);
	assert_int_equal(run(f, "show|a"), STATUS_DAMAGED);
	assert_one_line(f);
	assert_int_equal(run(f, "list"), STATUS_DAMAGED);
	assert_one_line(f);
	assert_non_null(strstr(f->err, "'a'"));
	assert_non_null(strstr(f->out, "\nb "));
	assert_int_equal(run(f, "show|b"), 0);
}

static json_t *document(const struct fixture *f)
{
	json_t *json = json_loads(f->out, JSON_REJECT_DUPLICATES, NULL);

	assert_non_null(json);
	return json;
}

static void assert_keys(const struct fixture *f, const char *const *keys)
{
	json_t *json = document(f);

	for (; *keys; keys++)
		if (!json_object_get(json, *keys))
			fail_msg("no key '%s' in %s", *keys, f->out);
	json_decref(json);
}

static void json_has_its_keys(void **state)
{
	static const char *const published[] = {
		"name",		 "pages",	 "zero_pages", "new_blocks",
		"shared_blocks", "stored_bytes", "seconds",    NULL};
	static const char *const shown[] = {
		"name",		 "pages",	 "zero_pages", "new_blocks",
		"shared_blocks", "stored_bytes", "size",       "parent",
		"image_digest",	 "files",	 NULL};
	struct fixture *f = *state;
	json_t *json;

	assert_int_equal(run(f, "init|--json"), 0);
	json = document(f);
	assert_string_equal(json_string_value(json_object_get(json, "store")),
			    f->store);
	json_decref(json);
	assert_int_equal(run_memory(f, "publish|a|--json|--memory|%s"), 0);
	assert_keys(f, published);
	assert_string_equal(f->err, "");
	assert_int_equal(run_memory(f, "publish|b|--base|a|--label|k=v=w|"
				       "--json|--memory|%s"),
			 0);
	assert_int_equal(run(f, "show|b|--json"), 0);
	assert_keys(f, shown);
	json = document(f);
	assert_int_equal(json_integer_value(json_object_get(json, "size")),
			 3 * 4096 + 100);
	assert_int_equal(json_integer_value(json_object_get(json, "pages")), 4);
	assert_int_equal(
		json_integer_value(json_object_get(json, "zero_pages")), 2);
	assert_string_equal(json_string_value(json_object_get(json, "parent")),
			    "a");
	json_decref(json);
	assert_non_null(strstr(f->out, "\"v=w\""));
	assert_int_equal(run(f, "list|--json"), 0);
	json = document(f);
	assert_int_equal(json_array_size(json), 2);
	json_decref(json);
	/* A failure prints no document. */
	assert_int_equal(run(f, "show|zz|--json"), STATUS_NOT_FOUND);
	assert_string_equal(f->out, "");
	assert_one_line(f);
}

static void tables_are_aligned(void **state)
{
	struct fixture *f = *state;
	const char *line;

	assert_int_equal(run(f, "init|--quiet"), 0);
	assert_string_equal(f->out, "");
	assert_int_equal(run_memory(f, "publish|a|--quiet|--memory|%s"), 0);
	assert_string_equal(f->out, "");
	assert_int_equal(
		run_memory(f,
			   "publish|gr\xc3\xbc\xc3\x9f|--base|a|--memory|%s"),
		0);
	assert_int_equal(run(f, "list"), 0);
	/* Two letters of two bytes each: same columns, two bytes more. */
	line = strchr(f->out, '\n') + 1;
	assert_int_equal(strcspn(line, ".") + 2,
			 strcspn(strchr(line, '\n') + 1, "."));
	assert_memory_equal(f->out, "NAME  ", 6);
}

static void sessions_go_by_the_daemon(void **state)
{
	struct fixture *f = *state;
	struct stub_daemon *d = stub_start(f->folder);
	char path[SCRATCH_PATH_MAX + 8];

	(void)snprintf(path, sizeof(path), "%s/s.sock\n", f->folder);
	assert_int_equal(run(f, "session|create|web-1|--id|x|--policy|stall|"
				"--uid|7"),
			 0);
	assert_string_equal(f->out, path);
	assert_non_null(strstr(stub_request(d), "\"policy\":\"stall\""));
	assert_non_null(strstr(stub_request(d), "\"uid\":7"));
	assert_null(strstr(stub_request(d), "gid"));
	assert_int_equal(run(f, "session|create|web-1|--json"), 0);
	assert_non_null(strstr(f->out, "\"socket_path\""));
	assert_int_equal(run(f, "session|show|s1"), 0);
	assert_non_null(strstr(f->out, "  state     listening\n"));
	assert_non_null(strstr(f->out, "  snapshot  -\n"));
	assert_int_equal(run(f, "session|close|s1"), 0);
	assert_string_equal(f->out, "");
	assert_non_null(strstr(stub_request(d), "DELETE /v1/sessions/s1 "));
	assert_int_equal(run(f, "session|show|nope"), STATUS_NOT_FOUND);
	assert_one_line(f);

	stub_answer(d, "HTTP/1.1 200 OK\r\n\r\n{\"sessions\": [{\"id\": "
		       "\"s1\", \"snapshot\": \"w\\u001b[2J\", \"state\": "
		       "\"serving\", \"vmm_pid\": null, \"pages_present\": 5, "
		       "\"pages_total\": 9, \"faults\": 4}]}");
	assert_int_equal(run(f, "session|list"), 0);
	assert_non_null(strstr(f->out, "s1  w?[2J     serving    -      5/9  "
				       "     4\n"));
	assert_int_equal(run(f, "session|list|--quiet"), 0);
	assert_string_equal(f->out, "s1\n");
	assert_int_equal(run(f, "session|list|--json"), 0);
	assert_int_equal(f->out[0], '[');
	stub_stop(d);
}

static void a_daemons_failures_have_their_status(void **state)
{
#define REFUSED(line, code)                                    \
	"HTTP/1.1 " line                                       \
	"\r\nConnection: close\r\n\r\n{\"error\": {\"code\": " \
	"\"" code "\", \"message\": \"first\\nsecond\\u001b[31m\"}}"
	static const struct {
		const char *answer;
		int status;
	} cases[] = {
		{REFUSED("400 Bad Request", "bad_request"), STATUS_FAILED},
		{REFUSED("404 Not Found", "not_found"), STATUS_NOT_FOUND},
		{REFUSED("409 Conflict", "in_use"), STATUS_IN_USE},
		{REFUSED("409 Conflict", "exists"), STATUS_FAILED},
		{REFUSED("503 Unavailable", "draining"), STATUS_FAILED},
		{REFUSED("500 Oh", "damaged"), STATUS_DAMAGED},
		{"HTTP/1.1 200 OK\r\n\r\ngarbage", STATUS_FAILED},
		{"", STATUS_FAILED},
	};
	static const char *const lines[] = {"session|create|a",
					    "session|list",
					    "session|show|a",
					    "session|close|a",
					    "health",
					    "stats",
					    "drain",
					    "undrain"};
	struct fixture *f = *state;
	struct stub_daemon *d = stub_start(f->folder);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t j = 0; j < sizeof(lines) / sizeof(lines[0]); j++) {
			stub_answer(d, cases[i].answer);
			if (run(f, lines[j]) != cases[i].status)
				fail_msg("'%s' gives %d for %s", lines[j],
					 f->status, cases[i].answer);
			assert_one_line(f);
			assert_string_equal(f->out, "");
		}
	stub_stop(d);
}

static void health_is_a_status(void **state)
{
	struct fixture *f = *state;
	struct stub_daemon *d;

	assert_int_equal(run(f, "health"), STATUS_FAILED);
	assert_one_line(f);
	assert_non_null(strstr(f->err, "no daemon"));
	d = stub_start(f->folder);
	stub_answer(d, "HTTP/1.1 200 OK\r\n\r\n{\"status\": \"ok\", \"stuck\": "
		       "[]}");
	assert_int_equal(run(f, "health"), 0);
	assert_string_equal(f->out, "status  ok\n");
	stub_answer(d, "HTTP/1.1 200 OK\r\n\r\n{\"status\": \"unhealthy\", "
		       "\"stuck\": [{\"id\": \"a\"}]}");
	assert_int_equal(run(f, "health"), STATUS_FAILED);
	assert_string_equal(f->out, "status      unhealthy\nstuck.0.id  a\n");
	assert_int_equal(run(f, "stats|--json"), 0);
	assert_non_null(strstr(f->out, "\"unhealthy\""));
	stub_stop(d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(help_fits_and_is_whole),
		TEST(everything_is_documented),
		TEST(wrong_usage),
		TEST(options_stand_anywhere),
		TEST(failures_have_their_status),
		TEST(what_is_in_use_is_kept),
		TEST(damage_is_told),
		TEST(json_has_its_keys),
		TEST(tables_are_aligned),
		TEST(sessions_go_by_the_daemon),
		TEST(a_daemons_failures_have_their_status),
		TEST(health_is_a_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
