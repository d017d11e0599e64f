#include "pagerd/man.h"

#include "pagerd/options.h"

static void print_escaped(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '-' || *s == '\\')
			(void)fputc('\\', out);
		(void)fputc(*s, out);
	}
}

static void print_option(FILE *out, const struct option_row *row)
{
	(void)fputs(".TP\n.B \\-\\-", out);
	print_escaped(out, row->name);
	if (row->argument)
		(void)fprintf(out, " \\fI%s\\fR", row->argument);
	(void)fputc('\n', out);
	print_escaped(out, row->prose);
	if (row->shown) {
		(void)fputs(" Default: ", out);
		print_escaped(out, row->shown);
		(void)fputc('.', out);
	}
	(void)fputc('\n', out);
}

static void print_environment(FILE *out)
{
	(void)fputs(".SH ENVIRONMENT\n", out);
	for (int i = 0; i < OPTION_COUNT; i++)
		if (option_rows[i].env) {
			(void)fprintf(out, ".TP\n.B %s\nFor\n",
				      option_rows[i].env);
			(void)fprintf(out, ".BR \\-\\-%s ,\nwhere neither ",
				      option_rows[i].name);
			(void)fputs("the command line nor the file has it.\n",
				    out);
		}
}

static void print_signals(FILE *out)
{
	(void)fputs(".SH SIGNALS\n", out);
	for (int i = 0; i < OPTION_SIGNAL_COUNT; i++) {
		(void)fprintf(out, ".TP\n.B %s\n", option_signals[i].name);
		print_escaped(out, option_signals[i].prose);
		(void)fputc('\n', out);
	}
}

static const char head[] =
	".TH PAGERD 8 \"\" \"pagerd " PAGER_VERSION "\"\n"
	".SH NAME\n"
	"pagerd \\- pages the memory of virtual machines in from snapshots\n"
	".SH SYNOPSIS\n"
	".B pagerd\n"
	"[\\fIOPTION\\fR]...\n"
	".SH DESCRIPTION\n"
	"pagerd serves the memory of restored virtual machines from the "
	"snapshots of a store, page by page, through userfaultfd(2). A VMM "
	"gets a session's socket from the control API (see pagerctl(1)), "
	"connects and hands its userfaultfd over; from then on pagerd answers "
	"its page faults.\n"
	".PP\n"
	"It stays in the foreground, logs to stderr, and tells systemd and its "
	"log when it is ready.\n"
	".SH OPTIONS\n";

static const char file_section[] =
	".SH CONFIGURATION FILE\n"
	"A line is \"key = value\", where the key is the name of an option "
	"above without its dashes, or blank, or a comment that starts with #. "
	"Unknown keys are refused.\n"
	".PP\n"
	".nf\n"
	"# /etc/pagerd.conf\n"
	"store = /srv/snapshots\n"
	"cache = 4G\n"
	".fi\n";

static const char tail[] =
	".SH FILES\n"
	".TP\n"
	".I RUNTIME/control.sock\n"
	"The control API: HTTP on a unix socket, for root and the user of the "
	"daemon. Its description is installed as openapi.yaml.\n"
	".TP\n"
	".I RUNTIME/sessions/ID.sock\n"
	"The socket that the VMM of one session connects to.\n"
	".TP\n"
	".I DIR/.pager/health.json, stats.json, cache.json, sessions.json\n"
	"In the mount of \\-\\-mount: what the control API says under these "
	"names.\n"
	".TP\n"
	".I RUNTIME/pagerd.lock\n"
	"Locked by the daemon that runs, and holds its process number.\n"
	".SH EXIT STATUS\n"
	"0 after a signal, 1 when something failed, 2 for a wrong option or "
	"configuration file.\n"
	".SH SEE ALSO\n"
	".BR pagerctl (1),\n"
	".BR pagerfs (8),\n"
	".BR userfaultfd (2)\n";

void man_print(FILE *out)
{
	(void)fputs(head, out);
	for (int i = 0; i < OPTION_COUNT; i++)
		print_option(out, &option_rows[i]);
	(void)fputs(file_section, out);
	print_signals(out);
	print_environment(out);
	(void)fputs(tail, out);
}
