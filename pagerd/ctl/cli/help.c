#include "pagerd/ctl/cli/help.h"

#include <string.h>

#define WIDTH	 80
#define COLUMN	 28 /* where explanations begin */
#define LEFT_MAX 128

static const char about[] =
	"Publishes memory of virtual machines as snapshots, looks after the "
	"store that holds them, and asks the daemon that serves them.";

/* Words of one paragraph, wrapped; the cursor stands at `column`. */
static void print_wrapped(FILE *out, const char *text, size_t length,
			  int indent, int column)
{
	while (length > 0) {
		int word = (int)strcspn(text, " \n");

		if (word > (int)length)
			word = (int)length;
		if (column > indent && column + 1 + word > WIDTH) {
			(void)fprintf(out, "\n%*s", indent, "");
			column = indent;
		} else if (column > indent) {
			(void)fputc(' ', out);
			column++;
		}
		(void)fprintf(out, "%.*s", word, text);
		column += word;
		text += word;
		length -= (size_t)word;
		if (length > 0) {
			text++;
			length--;
		}
	}
	(void)fputc('\n', out);
}

static void print_prose(FILE *out, const char *prose)
{
	const char *end;

	while ((end = strstr(prose, "\n\n"))) {
		print_wrapped(out, prose, (size_t)(end - prose), 0, 0);
		(void)fputc('\n', out);
		prose = end + 2;
	}
	print_wrapped(out, prose, strlen(prose), 0, 0);
}

static void print_entry(FILE *out, const char *left, const char *right)
{
	if (fprintf(out, "  %-*s", COLUMN - 3, left) >= COLUMN)
		(void)fprintf(out, "\n%*s", COLUMN - 1, "");
	(void)fputc(' ', out);
	print_wrapped(out, right, strlen(right), COLUMN, COLUMN);
}

static void print_options(FILE *out, const struct command_option *o,
			  bool in_full)
{
	char left[LEFT_MAX];

	for (; o->name; o++) {
		(void)snprintf(left, sizeof(left), "--%s%s%s%s", o->name,
			       o->argument ? " " : "", o->argument ?: "",
			       o->repeatable ? "..." : "");
		print_entry(out, left, in_full ? o->prose : o->help);
	}
}

static void print_commands(FILE *out, const char *group)
{
	size_t length = group ? strlen(group) : 0;
	char left[LEFT_MAX];

	for (const struct command *c = commands; c->name; c++) {
		if (group && (strncmp(c->name, group, length) != 0 ||
			      c->name[length] != ' '))
			continue;
		(void)snprintf(left, sizeof(left), "%s %s", c->name,
			       c->operands);
		print_entry(out, left, c->help);
	}
}

static void print_all(FILE *out, const char *group)
{
	(void)fprintf(out, "Usage: pagerctl [OPTION]... %s%s [ARGUMENT]...\n\n",
		      group ? group : "", group ? " COMMAND" : "COMMAND");
	if (!group) {
		print_prose(out, about);
		(void)fputc('\n', out);
	}
	(void)fputs("Commands:\n", out);
	print_commands(out, group);
	(void)fputs("\nOptions, which may stand anywhere:\n", out);
	print_options(out, command_globals, false);
	(void)fputs("\nExit status:\n", out);
	for (int i = 0; i < COMMAND_STATUS_COUNT; i++)
		(void)fprintf(out, "  %d  %s\n",
			      (int)command_statuses[i].status,
			      command_statuses[i].help);
	(void)fprintf(out,
		      "\n'pagerctl %s%sCOMMAND --help' tells more. See "
		      "pagerctl(1).\n",
		      group ?: "", group ? " " : "");
}

static void print_command(FILE *out, const struct command *c)
{
	(void)fprintf(out, "Usage: pagerctl %s", c->name);
	if (*c->operands)
		(void)fprintf(out, " %s", c->operands);
	for (const struct command_option *o = c->options; o->name; o++)
		if (o->required)
			(void)fprintf(out, " --%s %s", o->name, o->argument);
	(void)fputs(" [OPTION]...\n\n", out);
	print_prose(out, c->prose);
	if (c->options->name) {
		(void)fputs("\nOptions:\n", out);
		print_options(out, c->options, true);
	}
	(void)fputs("\nOptions of every command:\n", out);
	print_options(out, command_globals, false);
}

void help_print(FILE *out, const struct command *c, const char *group)
{
	if (c)
		print_command(out, c);
	else
		print_all(out, group);
}
