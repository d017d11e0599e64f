#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "pagerd/man.h"
#include "pagerd/options.h"
#include "tests/unit/store/scratch.h"

#define ARGUMENTS_MAX 16

/* Parses a NULL-terminated list of arguments. */
static int parse(struct options *o, const char *const *arguments)
{
	char *argv[ARGUMENTS_MAX] = {(char *)"pagerd"};
	int argc = 1;

	for (; arguments[argc - 1]; argc++)
		argv[argc] = (char *)arguments[argc - 1];
	return options_parse(argc, argv, o);
}

#define PARSE(o, ...) parse(o, (const char *const[]){__VA_ARGS__, NULL})
#define PARSE_NONE(o) parse(o, (const char *const[]){NULL})

static int clean_environment(void **state)
{
	(void)state;
	(void)unsetenv("PAGERD_STORE");
	(void)unsetenv("PAGERD_RUNTIME");
	return 0;
}

static void defaults_stand(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(PARSE_NONE(&o), 0);
	assert_string_equal(o.store, "/var/lib/pagerd");
	assert_string_equal(o.runtime, "/run/pagerd");
	assert_null(o.config);
	assert_true(o.cache_bytes >= 1u << 20);
	assert_true(o.cache_bytes <= 1u << 30);
	assert_in_range(o.workers, 1, 8);
	assert_int_equal(o.max_sessions, 1024);
	assert_int_equal(o.stuck_after_ns, 5000000000);
	assert_int_equal(o.log_level, LOG_LEVEL_INFO);
	assert_false(o.help || o.version);
	options_release(&o);
}

static void each_value_is_read(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(PARSE(&o, "--store", "/s", "--runtime=/r", "--cache",
			       "1.5G", "--workers", "3", "--max-sessions", "7",
			       "--stuck-after", "60", "--log-level", "debug"),
			 0);
	assert_string_equal(o.store, "/s");
	assert_string_equal(o.runtime, "/r");
	assert_int_equal(o.cache_bytes, 1610612736);
	assert_int_equal(o.workers, 3);
	assert_int_equal(o.max_sessions, 7);
	assert_int_equal(o.stuck_after_ns, 60000000000);
	assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
	options_release(&o);
}

static void imports_add_up_within_one_place(void **state)
{
	char folder[SCRATCH_PATH_MAX];
	static const char text[] = "import = /c\nimport = /d\n";
	struct options o;
	const char *file;

	(void)state;
	scratch_make(folder);
	file = scratch_file(folder, "conf");
	scratch_write(file, text, sizeof(text) - 1);
	assert_int_equal(PARSE_NONE(&o), 0);
	assert_int_equal(o.import_count, 0);
	options_release(&o);
	assert_int_equal(PARSE(&o, "--config", file), 0);
	assert_int_equal(o.import_count, 2);
	assert_string_equal(o.imports[0], "/c");
	assert_string_equal(o.imports[1], "/d");
	options_release(&o);
	assert_int_equal(
		PARSE(&o, "--config", file, "--import", "/a b", "--import=/b"),
		0);
	assert_int_equal(o.import_count, 2);
	assert_string_equal(o.imports[0], "/a b");
	assert_string_equal(o.imports[1], "/b");
	options_release(&o);
	assert_int_equal(PARSE(&o, "--import", "/a", "--import", ""), -EINVAL);
	scratch_remove(folder);
}

static void wrong_arguments_are_named(void **state)
{
	static const struct {
		const char *first, *second, *text;
	} cases[] = {
		{"--bogus", NULL, "--bogus: no such option; see pagerd --help"},
		{"-x", NULL, "-x: no such option; see pagerd --help"},
		{"-xyz", NULL, "-x: no such option; see pagerd --help"},
		{"--cache", NULL, "--cache: wants a value; see pagerd --help"},
		{"stray", NULL,
		 "stray: pagerd takes options only; see pagerd --help"},
		{"--cache", "12x", "--cache: '12x' is no size such as 512M"},
		{"--cache", "-1", "--cache: '-1' is no size such as 512M"},
		{"--cache", "1000K", "--cache: '1000K' is less than 1M"},
		{"--workers", "0", "--workers: '0' is no number from 1 to 256"},
		{"--workers", "two",
		 "--workers: 'two' is no number from 1 to 256"},
		{"--workers", "99999999999999999999",
		 "--workers: '99999999999999999999' is no number from 1 to "
		 "256"},
		{"--log-level", "loud",
		 "--log-level: 'loud' is not error, warn, info or debug"},
		{"--store", "", "--store: the path is empty"},
		{"--config", "/nonexistent/file",
		 "/nonexistent/file: No such file or directory"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct options o;
		int r = PARSE(&o, cases[i].first, cases[i].second);

		assert_true(r < 0);
		assert_string_equal(err_text(r), cases[i].text);
	}
}

static void help_and_version_look_at_nothing_else(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(PARSE(&o, "--cache", "nonsense", "--help"), 0);
	assert_true(o.help);
	options_release(&o);
	assert_int_equal(PARSE(&o, "--version"), 0);
	assert_true(o.version);
	options_release(&o);
}

static void environment_is_behind_the_command_line(void **state)
{
	struct options o;

	(void)state;
	assert_int_equal(setenv("PAGERD_STORE", "/from/env", 1), 0);
	assert_int_equal(setenv("PAGERD_RUNTIME", "", 1), 0);
	assert_int_equal(PARSE_NONE(&o), 0);
	assert_string_equal(o.store, "/from/env");
	assert_string_equal(o.runtime, "/run/pagerd");
	options_release(&o);
	assert_int_equal(PARSE(&o, "--store", "/from/line"), 0);
	assert_string_equal(o.store, "/from/line");
	options_release(&o);
}

/* Writes `text` to a file and parses it behind `--workers 2`. */
static int parse_file(const char *text, char path[SCRATCH_PATH_MAX],
		      struct options *o)
{
	char folder[SCRATCH_PATH_MAX];
	int r;

	scratch_make(folder);
	(void)snprintf(path, SCRATCH_PATH_MAX, "%s",
		       scratch_file(folder, "conf"));
	scratch_write(path, text, strlen(text));
	r = PARSE(o, "--config", path, "--workers", "2");
	scratch_remove(folder);
	return r;
}

static void file_fills_what_the_line_leaves(void **state)
{
	char path[SCRATCH_PATH_MAX];
	struct options o;

	(void)state;
	assert_int_equal(setenv("PAGERD_STORE", "/from/env", 1), 0);
	assert_int_equal(parse_file("# a comment\n\n  cache =  64M  \n"
				    "workers=5\nstore = /a b#c\n"
				    "cache = 128M",
				    path, &o),
			 0);
	assert_int_equal(o.cache_bytes, 128u << 20);
	assert_int_equal(o.workers, 2);
	assert_string_equal(o.store, "/a b#c");
	assert_string_equal(o.config, path);
	options_release(&o);
}

static void wrong_lines_of_a_file_are_named(void **state)
{
	static const struct {
		const char *text, *wrong;
	} cases[] = {
		{"cache\n", ":1: not of the form key = value"},
		{"\n\n= 5\n", ":3: the key or the value is empty"},
		{"cache =\n", ":1: the key or the value is empty"},
		{"colour = red\n", ":1: colour: no such option in a file"},
		{"help = yes\n", ":1: help: no such option in a file"},
		{"config = x\n", ":1: config: no such option in a file"},
		{"\ncache = 1\n", ":2: cache: '1' is less than 1M"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[SCRATCH_PATH_MAX];
		struct options o;
		int r = parse_file(cases[i].text, path, &o);

		assert_int_equal(r, -EINVAL);
		assert_memory_equal(err_text(r), path, strlen(path));
		assert_string_equal(err_text(r) + strlen(path), cases[i].wrong);
	}
}

/* What a printing function prints; the caller frees. */
static char *printed(void (*print)(FILE *))
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	print(out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void help_fits_a_terminal_and_has_all(void **state)
{
	char *help = printed(options_print_help);
	char *man = printed(man_print);

	(void)state;
	for (const char *line = help; *line;) {
		size_t len = strcspn(line, "\n");

		assert_in_range(len, 0, 80);
		line += len + (line[len] == '\n');
	}
	for (int i = 0; i < OPTION_COUNT; i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "--%s", option_rows[i].name);
		assert_non_null(strstr(help, name));
		assert_non_null(strstr(man, option_rows[i].argument ?: ""));
	}
	free(help);
	free(man);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(defaults_stand, clean_environment),
		cmocka_unit_test(each_value_is_read),
		cmocka_unit_test(imports_add_up_within_one_place),
		cmocka_unit_test(wrong_arguments_are_named),
		cmocka_unit_test(help_and_version_look_at_nothing_else),
		cmocka_unit_test_setup(environment_is_behind_the_command_line,
				       clean_environment),
		cmocka_unit_test_setup(file_fills_what_the_line_leaves,
				       clean_environment),
		cmocka_unit_test_setup(wrong_lines_of_a_file_are_named,
				       clean_environment),
		cmocka_unit_test(help_fits_a_terminal_and_has_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
