#include "pagerd/ctl/cli/man.h"

#include "pagerd/ctl/cli/command.h"

static const char head[] =
	".TH PAGERCTL 1 \"\" \"pagerd " PAGER_VERSION "\"\n"
	".SH NAME\n"
	"pagerctl \\- publishes and serves snapshots of guest memory\n"
	".SH SYNOPSIS\n"
	".B pagerctl\n"
	"[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n"
	".SH DESCRIPTION\n"
	"pagerctl publishes memory of virtual machines as snapshots, looks "
	"after the store that holds them, and asks the daemon that serves "
	"them, pagerd(8). The commands that work on the store need no daemon, "
	"and do not disturb one.\n"
	".PP\n"
	"A line on stderr, \"pagerctl: WHAT: WHY\", tells what went wrong. "
	"Long work shows a progress bar where stderr is a terminal. An "
	"interrupted publish or export leaves nothing behind.\n";

static const char tail[] =
	".SH ENVIRONMENT\n"
	".TP\n"
	".B PAGERD_STORE\n"
	"The store, where\n"
	".B \\-\\-store\n"
	"is not given.\n"
	".TP\n"
	".B PAGERD_RUNTIME\n"
	"The daemon's runtime directory, where\n"
	".B \\-\\-runtime\n"
	"is not given.\n"
	".SH EXAMPLES\n"
	".nf\n"
	"pagerctl publish web\\-1 \\-\\-memory mem \\-\\-vmstate state\n"
	"pagerctl list\n"
	"pagerctl session create web\\-1 \\-\\-id vm\\-17\n"
	"pagerctl export web\\-1 \\-\\-memory copy\n"
	"ssh host cat mem | pagerctl publish web\\-2 \\-\\-memory \\-\n"
	".fi\n"
	".SH SEE ALSO\n"
	".BR pagerd (8)\n";

/* A line must not begin with a dot, nor hold a bare dash or backslash. */
static void print_text(FILE *out, const char *s)
{
	bool line_begins = true;

	for (; *s; s++) {
		if (s[0] == '\n' && s[1] == '\n') {
			(void)fputs("\n.PP\n", out);
			line_begins = true;
			s++;
			continue;
		}
		if (line_begins && (*s == '.' || *s == '\''))
			(void)fputs("\\&", out);
		if (*s == '-' || *s == '\\')
			(void)fputc('\\', out);
		(void)fputc(*s, out);
		line_begins = *s == '\n';
	}
}

static void print_options(FILE *out, const struct command_option *o)
{
	for (; o->name; o++) {
		(void)fprintf(out, ".TP\n\\fB\\-\\-%s\\fR", o->name);
		if (o->argument)
			(void)fprintf(out, " \\fI%s\\fR", o->argument);
		if (o->repeatable)
			(void)fputs("...", out);
		(void)fputc('\n', out);
		print_text(out, o->prose);
		(void)fputc('\n', out);
	}
}

static void print_command(FILE *out, const struct command *c)
{
	(void)fprintf(out, ".SS \"%s", c->name);
	if (*c->operands)
		(void)fprintf(out, " %s", c->operands);
	for (const struct command_option *o = c->options; o->name; o++)
		if (o->required)
			(void)fprintf(out, " \\-\\-%s %s", o->name,
				      o->argument);
	(void)fputs("\"\n", out);
	print_text(out, c->prose);
	(void)fputc('\n', out);
	print_options(out, c->options);
}

void man_print(FILE *out)
{
	(void)fputs(head, out);
	(void)fputs(".SH OPTIONS\nThese may stand anywhere on the line.\n",
		    out);
	print_options(out, command_globals);
	(void)fputs(".SH COMMANDS\n", out);
	for (const struct command *c = commands; c->name; c++)
		print_command(out, c);
	(void)fputs(".SH EXIT STATUS\n", out);
	for (int i = 0; i < COMMAND_STATUS_COUNT; i++)
		(void)fprintf(out, ".TP\n.B %d\n%s\n",
			      (int)command_statuses[i].status,
			      command_statuses[i].help);
	(void)fputs(tail, out);
}
