#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/mount/options.h"

/* The line, cut at spaces. */
static int parse(const char *line, struct pagerfs_options *ret_options)
{
	static char copy[512];
	char *argv[32] = {(char *)"pagerfs"}, *rest = copy;
	int argc = 1;

	(void)snprintf(copy, sizeof(copy), "%s", line);
	while (argc < 31 && (argv[argc] = strsep(&rest, " ")))
		argc++;
	return options_parse(argc, argv, ret_options);
}

static void defaults(void **state)
{
	struct pagerfs_options o;

	(void)state;
	assert_int_equal(parse("S M", &o), 0);
	assert_string_equal(o.store, "S");
	assert_string_equal(o.path, "M");
	assert_false(o.foreground || o.rdwr_open || o.allow_other);
	assert_int_equal(o.cache_bytes, 256 << 20);
	assert_int_equal(o.threads, 0);
	assert_int_equal(o.uid, geteuid());
}

static void every_option_is_understood(void **state)
{
	struct pagerfs_options o;

	(void)state;
	assert_int_equal(parse("S M -o cache=2G,threads=3,uid=7 -f -o "
			       "gid=8,rdwr_open,allow_other,readahead=0",
			       &o),
			 0);
	assert_true(o.foreground && o.rdwr_open && o.allow_other);
	assert_int_equal(o.cache_bytes, (size_t)2 << 30);
	assert_int_equal(o.threads, 3);
	assert_int_equal(o.uid, 7);
	assert_int_equal(o.gid, 8);
	assert_int_equal(o.readahead, 0);
}

static void mount_8_may_add_its_own(void **state)
{
	struct pagerfs_options o;

	(void)state;
	assert_int_equal(parse("S M -o rw,dev,suid,noatime,_netdev", &o), 0);
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *line, *word;
	} cases[] = {
		{"S", "MOUNTPOINT"},
		{"S M X", "MOUNTPOINT"},
		{"S M -x", "-x"},
		{"S M -o", "-o"},
		{"S M -o cache=1", "cache"},
		{"S M -o cache", "cache"},
		{"S M -o cache=99999999T", "cache"},
		{"S M -o threads=0", "threads"},
		{"S M -o threads=65", "threads"},
		{"S M -o uid=4294967295", "uid"},
		{"S M -o uid=root", "uid"},
		{"S M -o rdwr_open=1", "rdwr_open"},
		{"S M -o ro=1", "ro"},
		{"S M -o what", "what"},
		{"S M --what", "--what"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pagerfs_options o;

		assert_int_equal(parse(cases[i].line, &o), -EINVAL);
		assert_non_null(strstr(err_text(-EINVAL), cases[i].word));
	}
}

static void help_fits_a_terminal(void **state)
{
	char *text, *rest, *line;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	assert_non_null(f);
	options_print_help(f);
	assert_int_equal(fclose(f), 0);
	assert_non_null(strstr(text, "rdwr_open"));
	rest = text;
	while ((line = strsep(&rest, "\n")))
		assert_in_range(strlen(line), 0, 80);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(every_option_is_understood),
		cmocka_unit_test(mount_8_may_add_its_own),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(help_fits_a_terminal),
	};

	return cmocka_run_group_tests_name("pagerfs options", tests, NULL,
					   NULL);
}
