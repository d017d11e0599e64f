#include "pagerd/ctl/cli/completion.h"

#include <string.h>

#include "pagerd/ctl/cli/command.h"

static const char bash_head[] =
	"# bash completion for pagerctl, made from its table of commands.\n"
	"\n"
	"# Names in the store or sessions of the daemon that the line is "
	"about.\n"
	"_pagerctl_ask()\n"
	"{\n"
	"\tlocal i context=() name\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\tcase ${COMP_WORDS[i]} in\n"
	"\t\t--store | --runtime)\n"
	"\t\t\tcontext+=(\"${COMP_WORDS[i]}\" \"${COMP_WORDS[i + 1]}\")\n"
	"\t\t\t;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"\twhile IFS= read -r name; do\n"
	"\t\t[[ $name == \"$cur\"* ]] &&\n"
	"\t\t\tCOMPREPLY+=(\"$(printf %q \"$name\")\")\n"
	"\tdone < <(pagerctl \"${context[@]}\" --quiet \"$@\" 2>/dev/null)\n"
	"}\n"
	"\n"
	"_pagerctl()\n"
	"{\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} command= i\n"
	"\tlocal prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
	"\tCOMPREPLY=()\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\tcase ${COMP_WORDS[i]} in\n"
	"\t\t--store | --runtime) ((i++)) ;;\n"
	"\t\t-*) ;;\n"
	"\t\t*) command+=${command:+ }${COMP_WORDS[i]} ;;\n"
	"\t\tesac\n"
	"\t\tcase $command in\n";

static const char bash_words[] = "\t\t\tbreak\n"
				 "\t\t\t;;\n"
				 "\t\tesac\n"
				 "\tdone\n"
				 "\tcase \"$command $prev\" in\n";

static const char bash_operands[] = "\tesac\n"
				    "\tcase $command in\n";

static const char bash_tail[] =
	"\tesac\n"
	"\t[[ $cur == -* ]] && COMPREPLY=($(compgen -W \"$options\" -- "
	"\"$cur\"))\n"
	"}\n"
	"complete -F _pagerctl pagerctl\n";

static void print_flags(FILE *out, const struct command_option *o)
{
	for (; o->name; o++)
		(void)fprintf(out, " --%s", o->name);
}

static void print_words(FILE *out, const char *words)
{
	for (; words && *words; words++)
		(void)fputc(*words == '|' ? ' ' : *words, out);
}

static void bash_value(FILE *out, enum value_kind kind, const char *words)
{
	switch (kind) {
	case VALUE_FILE:
		(void)fputs("COMPREPLY=($(compgen -f -- \"$cur\"))", out);
		break;
	case VALUE_FOLDER:
		(void)fputs("COMPREPLY=($(compgen -d -- \"$cur\"))", out);
		break;
	case VALUE_WORD:
		(void)fputs("COMPREPLY=($(compgen -W '", out);
		print_words(out, words);
		(void)fputs("' -- \"$cur\"))", out);
		break;
	case VALUE_SNAPSHOT:
		(void)fputs("_pagerctl_ask list", out);
		break;
	case VALUE_SESSION:
		(void)fputs("_pagerctl_ask session list", out);
		break;
	default:
		(void)fputs(":", out);
	}
}

static void bash_options(FILE *out, const char *command,
			 const struct command_option *o)
{
	for (; o->name; o++) {
		if (o->kind == VALUE_NONE)
			continue;
		if (command)
			(void)fprintf(out, "\t'%s --%s') ", command, o->name);
		else
			(void)fprintf(out, "\t*' --%s') ", o->name);
		bash_value(out, o->kind, o->argument);
		(void)fputs("; return ;;\n", out);
	}
}

/* The first word of a command's name, each only where it comes first. */
static size_t first_word(const struct command *c)
{
	size_t length = strcspn(c->name, " ");

	if (c > commands && strncmp(c[-1].name, c->name, length) == 0 &&
	    c[-1].name[length] == ' ')
		return 0;
	return length;
}

static void bash_groups(FILE *out)
{
	(void)fputs("\t'') COMPREPLY=($(compgen -W 'help", out);
	for (const struct command *c = commands; c->name; c++)
		if (first_word(c))
			(void)fprintf(out, " %.*s", (int)first_word(c),
				      c->name);
	(void)fputs("' -- \"$cur\")) ;;\n", out);
	for (const struct command *c = commands; c->name; c++) {
		size_t length = first_word(c);

		if (!length || !c->name[length])
			continue;
		(void)fprintf(out, "\t%.*s) COMPREPLY=($(compgen -W '",
			      (int)length, c->name);
		for (const struct command *d = c; d->name; d++)
			if (strncmp(d->name, c->name, length + 1) == 0)
				(void)fprintf(out, "%s ", d->name + length + 1);
		(void)fputs("' -- \"$cur\")) ;;\n", out);
	}
}

void completion_print_bash(FILE *out)
{
	(void)fputs(bash_head, out);
	for (const struct command *c = commands; c->name; c++)
		(void)fprintf(out, "%s'%s'%s", c == commands ? "\t\t" : " | ",
			      c->name, c[1].name ? "" : ")\n");
	(void)fputs(bash_words, out);
	bash_options(out, NULL, command_globals);
	for (const struct command *c = commands; c->name; c++)
		bash_options(out, c->name, c->options);
	(void)fputs("\tesac\n\tlocal options='", out);
	print_flags(out, command_globals);
	(void)fputs("'\n\tcase $command in\n", out);
	for (const struct command *c = commands; c->name; c++)
		if (c->options->name) {
			(void)fprintf(out, "\t'%s') options+='", c->name);
			print_flags(out, c->options);
			(void)fputs("' ;;\n", out);
		}
	(void)fputs(bash_operands, out);
	bash_groups(out);
	for (const struct command *c = commands; c->name; c++) {
		(void)fprintf(out, "\t'%s') ", c->name);
		bash_value(out, c->kind, NULL);
		(void)fputs(" ;;\n", out);
	}
	(void)fputs(bash_tail, out);
}

static const char zsh_head[] =
	"#compdef pagerctl\n"
	"# zsh completion for pagerctl, made from its table of commands.\n"
	"\n"
	"_pagerctl_ask() {\n"
	"\tlocal -a context names\n"
	"\t[[ -n $opt_args[--store] ]] && "
	"context+=(--store \"$opt_args[--store]\")\n"
	"\t[[ -n $opt_args[--runtime] ]] && "
	"context+=(--runtime \"$opt_args[--runtime]\")\n"
	"\tnames=(${(f)\"$(pagerctl $context --quiet $@ 2>/dev/null)\"})\n"
	"\tcompadd -a names\n"
	"}\n"
	"_pagerctl_snapshots() { _pagerctl_ask list }\n"
	"_pagerctl_sessions() { _pagerctl_ask session list }\n"
	"\n";

/* Inside '...' and a specification of _arguments. */
static void zsh_text(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\'')
			(void)fputs("'\\'", out);
		else if (strchr("[]:\\", *s))
			(void)fputc('\\', out);
		(void)fputc(*s, out);
	}
}

static void zsh_value(FILE *out, enum value_kind kind, const char *words)
{
	switch (kind) {
	case VALUE_FILE:
		(void)fputs("_files", out);
		break;
	case VALUE_FOLDER:
		(void)fputs("_files -/", out);
		break;
	case VALUE_WORD:
		(void)fputc('(', out);
		print_words(out, words);
		(void)fputc(')', out);
		break;
	case VALUE_SNAPSHOT:
		(void)fputs("_pagerctl_snapshots", out);
		break;
	case VALUE_SESSION:
		(void)fputs("_pagerctl_sessions", out);
		break;
	default:
		(void)fputc(' ', out);
	}
}

static void zsh_options(FILE *out, const struct command_option *o)
{
	for (; o->name; o++) {
		(void)fprintf(out, " \\\n\t\t'%s--%s[",
			      o->repeatable ? "*" : "", o->name);
		zsh_text(out, o->help);
		(void)fputc(']', out);
		if (o->kind != VALUE_NONE) {
			(void)fputc(':', out);
			zsh_text(out, o->argument);
			(void)fputc(':', out);
			zsh_value(out, o->kind, o->argument);
		}
		(void)fputc('\'', out);
	}
}

static void zsh_command(FILE *out, const struct command *c)
{
	(void)fputs("_pagerctl_", out);
	for (const char *s = c->name; *s; s++)
		(void)fputc(*s == ' ' ? '_' : *s, out);
	(void)fputs("() {\n\t_arguments", out);
	zsh_options(out, command_globals);
	zsh_options(out, c->options);
	if (c->kind != VALUE_NONE) {
		(void)fprintf(out, " \\\n\t\t'%s:", c->max > 1 ? "*" : "1");
		zsh_text(out, c->operands);
		(void)fputc(':', out);
		zsh_value(out, c->kind, NULL);
		(void)fputc('\'', out);
	}
	(void)fputs("\n}\n\n", out);
}

/* A function that completes the next word of names and hands on by it. */
static void zsh_level(FILE *out, const char *group)
{
	size_t length = group ? strlen(group) + 1 : 0;

	(void)fprintf(out,
		      "_pagerctl%s%s() {\n\tlocal curcontext=$curcontext state "
		      "line\n\tlocal -A opt_args\n\t_arguments -C",
		      group ? "_" : "", group ?: "");
	zsh_options(out, command_globals);
	(void)fprintf(out, " \\\n\t\t'1:command:->command' "
			   "'*::argument:->argument'\n\tcase $state in\n"
			   "\tcommand)\n\t\tlocal -a commands=(");
	for (const struct command *c = commands; c->name; c++) {
		if (group ? strncmp(c->name, group, length - 1) != 0 ||
				    c->name[length - 1] != ' '
			  : !first_word(c))
			continue;
		(void)fputs("\n\t\t\t'", out);
		if (group) {
			(void)fprintf(out, "%s:", c->name + length);
			zsh_text(out, c->help);
		} else {
			(void)fprintf(out, "%.*s", (int)first_word(c), c->name);
			if (!strchr(c->name, ' ')) {
				(void)fputc(':', out);
				zsh_text(out, c->help);
			}
		}
		(void)fputc('\'', out);
	}
	(void)fprintf(out,
		      ")\n\t\t_describe command commands\n\t\t;;\n"
		      "\targument)\n\t\tif (( $+functions[_pagerctl%s%s_"
		      "$words[1]] )); then\n"
		      "\t\t\t_pagerctl%s%s_$words[1]\n\t\tfi\n\t\t;;\n"
		      "\tesac\n}\n\n",
		      group ? "_" : "", group ?: "", group ? "_" : "",
		      group ?: "");
}

void completion_print_zsh(FILE *out)
{
	char group[64];

	(void)fputs(zsh_head, out);
	for (const struct command *c = commands; c->name; c++) {
		size_t length = first_word(c);

		zsh_command(out, c);
		if (length && c->name[length]) {
			(void)snprintf(group, sizeof(group), "%.*s",
				       (int)length, c->name);
			zsh_level(out, group);
		}
	}
	zsh_level(out, NULL);
	(void)fputs("_pagerctl \"$@\"\n", out);
}
