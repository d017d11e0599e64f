#include "pagerd/ctl/cli/parse.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/io/text.h"
#include "fs/store/snapshot/name.h"

#define STORE_DEFAULT "/var/lib/pagerd"

struct parser {
	int left;		/* arguments that were not looked at yet */
	char **next;		/* the first of them */
	const char *first_word; /* of a group; NULL: none yet */
	bool only_words;	/* after "--" */
	struct invocation inv;
};

static const char *subject(const struct parser *p)
{
	if (p->inv.command)
		return p->inv.command->name;
	return p->first_word ?: "usage";
}

/* The line ends in where to look. `why` may be err_text(). */
static int usage(const struct parser *p, const char *why, const char *which)
{
	bool known = p->inv.command || p->first_word;
	char reason[ERR_TEXT_MAX];

	(void)snprintf(reason, sizeof(reason), "%s", why);
	return err_set(-EINVAL, "%s: %s%s%s; see 'pagerctl %s%s--help'",
		       subject(p), which, *which ? ": " : "", reason,
		       known ? subject(p) : "", known ? " " : "");
}

/* `text` is one of the words in "a|b|c". */
static bool is_word_of(const char *words, const char *text)
{
	size_t length = strlen(text);

	while (words) {
		if (strncmp(words, text, length) == 0 &&
		    (words[length] == '|' || words[length] == '\0'))
			return true;
		words = strchr(words, '|');
		if (words)
			words++;
	}
	return false;
}

/* NULL, or what is wrong. */
static const char *check_value(enum value_kind kind, const char *words,
			       const char *text)
{
	const char *equals = strchr(text, '=');
	uint64_t number;

	switch (kind) {
	case VALUE_WORD:
		return is_word_of(words, text) ? NULL : words;
	case VALUE_NUMBER:
		return text_parse_u64(text, &number) == 0 ? NULL : "no number";
	case VALUE_SIZE:
		return text_parse_size(text, &number) == 0
			       ? NULL
			       : "no size such as 512M";
	case VALUE_PAIR:
	case VALUE_FILE_PAIR:
		return equals && equals > text && equals[1]
			       ? NULL
			       : "not of the form KEY=VALUE";
	case VALUE_NAME:
	case VALUE_SNAPSHOT:
		if (name_check("the name", text) < 0)
			return err_text(-EINVAL);
		return NULL;
	default:
		return *text ? NULL : "is empty";
	}
}

static int refuse_value(const struct parser *p, const struct command_option *o,
			const char *text, const char *wrong)
{
	char which[ERR_TEXT_MAX], why[ERR_TEXT_MAX];

	(void)snprintf(which, sizeof(which), "--%s %s", o->name, text);
	(void)snprintf(why, sizeof(why), "%s%s",
		       o->kind == VALUE_WORD ? "is none of " : "", wrong);
	return usage(p, why, which);
}

static void set_global(struct invocation *inv, enum option_id id,
		       const char *text)
{
	switch (id) {
	case OPTION_STORE:
		inv->store = text;
		break;
	case OPTION_RUNTIME:
		inv->runtime = text;
		break;
	case OPTION_JSON:
		inv->json = true;
		break;
	case OPTION_QUIET:
		inv->quiet = true;
		break;
	case OPTION_HELP:
		inv->help = true;
		break;
	case OPTION_VERSION:
		inv->version = true;
		break;
	default:
		assert(!"a global option that nobody reads");
	}
}

static int add_value(struct parser *p, const struct command_option *o,
		     const char *text)
{
	struct invocation *inv = &p->inv;
	const char *wrong = check_value(o->kind, o->argument, text);

	if (wrong && o->kind != VALUE_NONE)
		return refuse_value(p, o, text, wrong);
	if (o->id <= OPTION_VERSION) {
		set_global(inv, o->id, text);
		return 0;
	}
	if (!o->repeatable && parse_count(inv, o->id) > 0)
		return usage(p, "is given twice", o->name);
	inv->values[inv->value_count++] = (struct invocation_value){o, text};
	return 0;
}

/* "--name", "--name=value" or "--name value". */
static int take_option(struct parser *p, char *argument)
{
	const struct command_option *o;
	const char *text = "";
	char *equals = strchr(argument, '=');

	if (equals)
		*equals = '\0';
	o = argument[1] == '-'
		    ? command_option_find(p->inv.command, argument + 2)
		    : NULL;
	if (!o)
		return usage(p, "no such option", argument);
	if (o->kind == VALUE_NONE)
		return equals ? usage(p, "takes no value", argument)
			      : add_value(p, o, "");
	if (equals) {
		text = equals + 1;
	} else {
		if (p->left == 0)
			return usage(p, "wants a value", argument);
		text = *p->next++;
		p->left--;
	}
	return add_value(p, o, text);
}

static int take_word(struct parser *p, const char *word)
{
	struct invocation *inv = &p->inv;

	if (inv->command) {
		inv->operands[inv->operand_count++] = word;
		return 0;
	}
	if (!p->first_word && strcmp(word, "help") == 0) {
		inv->help = true;
		return 0;
	}
	inv->command = p->first_word ? command_find(p->first_word, word)
				     : command_find(word, NULL);
	if (inv->command)
		return 0;
	if (p->first_word || !command_is_group(word))
		return usage(p, "no such command", word);
	p->first_word = word;
	return 0;
}

static int take_all(struct parser *p)
{
	int r = 0;

	while (r == 0 && p->left > 0) {
		char *argument = *p->next++;

		p->left--;
		if (p->only_words || argument[0] != '-' || !argument[1])
			r = take_word(p, argument);
		else if (strcmp(argument, "--") == 0)
			p->only_words = true;
		else
			r = take_option(p, argument);
	}
	return r;
}

static int check_operands(const struct parser *p)
{
	const struct invocation *inv = &p->inv;
	const struct command *c = inv->command;

	if (inv->operand_count < c->min)
		return usage(p, "is missing", c->operands);
	if (inv->operand_count > c->max)
		return usage(p, "one argument too many", inv->operands[c->max]);
	for (unsigned int i = 0; i < inv->operand_count; i++) {
		const char *wrong =
			check_value(c->kind, NULL, inv->operands[i]);

		if (wrong)
			return usage(p, wrong, inv->operands[i]);
	}
	return 0;
}

static int check(const struct parser *p)
{
	const struct invocation *inv = &p->inv;
	char name[64];

	if (inv->help || inv->version)
		return 0;
	if (!inv->command)
		return usage(p, "a command is missing", "");
	for (const struct command_option *o = inv->command->options; o->name;
	     o++)
		if (o->required && parse_count(inv, o->id) == 0) {
			(void)snprintf(name, sizeof(name), "--%s", o->name);
			return usage(p, "is missing", name);
		}
	return check_operands(p);
}

static void fill_in(struct invocation *inv)
{
	if (!inv->store)
		inv->store = getenv("PAGERD_STORE");
	if (!inv->store || !*inv->store)
		inv->store = STORE_DEFAULT;
}

int parse_arguments(int argc, char **argv, struct invocation *ret_invocation)
{
	struct parser p = {.left = argc - 1, .next = argv + 1};
	size_t most = (size_t)argc;
	int r = -ENOMEM;

	p.inv.operands = calloc(most, sizeof(*p.inv.operands));
	p.inv.values = calloc(most, sizeof(*p.inv.values));
	if (p.inv.operands && p.inv.values)
		r = take_all(&p);
	if (r == 0)
		r = check(&p);
	if (r < 0) {
		parse_release(&p.inv);
		return r;
	}
	fill_in(&p.inv);
	if (!p.inv.command)
		p.inv.group = p.first_word;
	*ret_invocation = p.inv;
	return 0;
}

void parse_release(struct invocation *inv)
{
	free(inv->operands);
	free(inv->values);
	*inv = (struct invocation){0};
}

const char *parse_value(const struct invocation *inv, enum option_id id)
{
	for (unsigned int i = 0; i < inv->value_count; i++)
		if (inv->values[i].option->id == id)
			return inv->values[i].text;
	return NULL;
}

uint64_t parse_number(const struct invocation *inv, enum option_id id,
		      uint64_t fallback)
{
	const char *text = parse_value(inv, id);
	uint64_t number = fallback;

	if (text && text_parse_u64(text, &number) < 0)
		assert(!"a number that was checked");
	return number;
}

uint64_t parse_size(const struct invocation *inv, enum option_id id,
		    uint64_t fallback)
{
	const char *text = parse_value(inv, id);
	uint64_t bytes = fallback;

	if (text && text_parse_size(text, &bytes) < 0)
		assert(!"a size that was checked");
	return bytes;
}

unsigned int parse_count(const struct invocation *inv, enum option_id id)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < inv->value_count; i++)
		count += inv->values[i].option->id == id;
	return count;
}
