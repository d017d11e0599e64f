/* pagerbench: options, the table of benchmarks, the report's printing. */
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/text.h"
#include "tests/bench/bench.h"

static const struct {
	const char *name, *help;
	bench_fn *run;
} benches[] = {
	{"fault", "page faults, warm and cold, beside a bare handler",
	 bench_fault},
	{"storm", "64 clones at once, and a stranger beside them", bench_storm},
	{"restore", "a working set ahead, beside bare copies and faults",
	 bench_restore},
	{"publish", "publishing, beside zstd -1 -T2 and cp", bench_publish},
	{"mount", "reading through pagerfs, beside a minimal FUSE file",
	 bench_mount},
	{"cache", "the cache's policy and cost, beside other policies",
	 bench_cache},
	{"recover", "VMs' wait for the next daemon, killed or replaced",
	 bench_recover},
};

static const struct {
	struct option option;
	const char *argument, *help;
} option_rows[] = {
	{{"json", no_argument, NULL, 'j'}, "", "print one JSON document"},
	{{"input", required_argument, NULL, 'i'},
	 "FILE",
	 "a memory image to use (default: one made from a seed)"},
	{{"size", required_argument, NULL, 's'},
	 "BYTES",
	 "of the image that is made; K, M, G"},
	{{"rounds", required_argument, NULL, 'r'},
	 "N",
	 "rounds; each runs every contender once"},
	{{"folder", required_argument, NULL, 'f'},
	 "DIR",
	 "where to put stores and images (default: /var/tmp)"},
	{{"programs", required_argument, NULL, 'p'},
	 "DIR",
	 "where pagerd and pagerfs stand (default: beside pagerbench)"},
	{{"pagerd", required_argument, NULL, 'd'},
	 "OPTION",
	 "one more option of pagerd, as in --pagerd=--workers=1"},
	{{"help", no_argument, NULL, 'h'}, "", "print this"},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct command_line {
	struct bench_options options;
	bool json, help;
	size_t bench;
};

static void usage(FILE *to)
{
	(void)fprintf(to, "usage: pagerbench BENCHMARK [OPTIONS]\n\n");
	for (size_t i = 0; i < COUNT(benches); i++)
		(void)fprintf(to, "  %-18s%s\n", benches[i].name,
			      benches[i].help);
	(void)fprintf(to, "\n");
	for (size_t i = 0; i < COUNT(option_rows); i++) {
		char left[64];

		(void)snprintf(left, sizeof(left), "--%s %s",
			       option_rows[i].option.name,
			       option_rows[i].argument);
		(void)fprintf(to, "  %-18s%s\n", left, option_rows[i].help);
	}
}

static int add_daemon_arg(struct bench_options *o, const char *value)
{
	/* Two are left for the benchmarks. */
	for (int i = 0; i < BENCH_DAEMON_ARGS - 2; i++)
		if (!o->daemon_args[i]) {
			o->daemon_args[i] = value;
			return 0;
		}
	return -E2BIG;
}

static int take_option(struct command_line *line, int which, const char *value)
{
	uint64_t number;

	switch (which) {
	case 'j':
		line->json = true;
		return 0;
	case 'h':
		line->help = true;
		return 0;
	case 'i':
		line->options.input = value;
		return 0;
	case 'f':
		line->options.folder = value;
		return 0;
	case 'p':
		line->options.programs = value;
		return 0;
	case 'd':
		return add_daemon_arg(&line->options, value);
	case 's':
		return text_parse_size(value, &line->options.size);
	case 'r':
		if (text_parse_u64(value, &number) < 0 || number == 0 ||
		    number > 32)
			return -EINVAL;
		line->options.rounds = (unsigned int)number;
		return 0;
	default:
		return -EINVAL;
	}
}

static int parse(int argc, char **argv, struct command_line *line)
{
	struct option longs[COUNT(option_rows) + 1] = {0};
	int which;

	for (size_t i = 0; i < COUNT(option_rows); i++)
		longs[i] = option_rows[i].option;
	while ((which = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (take_option(line, which, optarg) < 0) {
			(void)fprintf(stderr,
				      "pagerbench: bad option or value; see "
				      "pagerbench --help\n");
			return -EINVAL;
		}
	if (line->help)
		return 0;
	for (size_t i = 0; optind == argc - 1 && i < COUNT(benches); i++)
		if (strcmp(argv[optind], benches[i].name) == 0) {
			line->bench = i;
			return 0;
		}
	(void)fprintf(
		stderr,
		"pagerbench: name one benchmark; see pagerbench --help\n");
	return -EINVAL;
}

static int own_folder(char **ret_path)
{
	_cleanup_free_ char *self = realpath("/proc/self/exe", NULL);

	if (!self)
		return -errno;
	*ret_path = strdup(dirname(self));
	return *ret_path ? 0 : -ENOMEM;
}

int main(int argc, char **argv)
{
	struct command_line line = {.options.folder = "/var/tmp"};
	_cleanup_free_ char *programs = NULL;
	struct report *report;
	int r;

	if (own_folder(&programs) < 0)
		return 1;
	line.options.programs = programs;
	if (parse(argc, argv, &line) < 0)
		return 2;
	if (line.help) {
		usage(stdout);
		return 0;
	}
	report = report_new(benches[line.bench].name);
	r = report ? benches[line.bench].run(&line.options, report) : -ENOMEM;
	if (r < 0)
		(void)fprintf(stderr, "pagerbench: %s: %s\n",
			      benches[line.bench].name, err_text(r));
	else
		report_print(report, line.json);
	report_free(report);
	return r < 0;
}
