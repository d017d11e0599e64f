/*
 * The commands of pagerctl and their options, in one table: parsing, --help,
 * the manual page and the completions all come from it.
 *
 * A command's name is one word or two; two commands whose first words are
 * the same form a group. Every command also takes the global options, which
 * may stand anywhere on the command line.
 */
#pragma once

#include <stdbool.h>

struct invocation;

/* What a value names: decides how it is checked and completed. */
enum value_kind {
	VALUE_NONE, /* a flag; a command without operands */
	VALUE_TEXT,
	VALUE_FILE,
	VALUE_FOLDER,
	VALUE_WORD,	 /* one of the words in `argument`, "a|b|c" */
	VALUE_NUMBER,	 /* decimal, at least 0 */
	VALUE_SIZE,	 /* bytes, "512M" */
	VALUE_PAIR,	 /* KEY=VALUE, both not empty */
	VALUE_FILE_PAIR, /* KEY=FILE, likewise */
	VALUE_NAME,	 /* of a new snapshot */
	VALUE_SNAPSHOT,	 /* of one that is there */
	VALUE_SESSION,
};

enum option_id {
	OPTION_STORE,
	OPTION_RUNTIME,
	OPTION_JSON,
	OPTION_QUIET,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_MEMORY,
	OPTION_VMSTATE,
	OPTION_ATTACH,
	OPTION_BASE,
	OPTION_CODEC,
	OPTION_LABEL,
	OPTION_THREADS,
	OPTION_ID,
	OPTION_POLICY,
	OPTION_UID,
	OPTION_GID,
	OPTION_OVERLAY,
	OPTION_NO_PREFETCH,
	OPTION_RECORD,
	OPTION_ALL,
	OPTION_SNAPSHOT,
	OPTION_FORCE,
	OPTION_BLOCK,
	OPTION_BYTES,
	OPTION_IDLE,
	OPTION_RATE,
	OPTION_WORKING_SET,
	OPTION_SNAPSHOTS,
	OPTION_WHEN_UNUSED,
	OPTION_SVG,
};

struct command_option {
	enum option_id id;
	enum value_kind kind; /* of its value */
	const char *name;     /* without the dashes; NULL ends a list */
	const char *argument; /* as shown; NULL for a flag */
	bool required, repeatable;
	const char *help;  /* one line of at most 48 columns */
	const char *prose; /* for --help of the command and the manual */
};

struct command {
	const char *name;      /* NULL ends the list */
	const char *operands;  /* as shown, "" for none */
	enum value_kind kind;  /* of the operands */
	unsigned int min, max; /* operands */
	const struct command_option *options;
	const char *help;  /* one line of at most 48 columns */
	const char *prose; /* paragraphs, a blank line between them */
	int (*run)(const struct invocation *inv); /* returns the exit status */
};

extern const struct command commands[];
extern const struct command_option command_globals[];

/* The exit statuses, told in the same places. */
enum status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_NOT_FOUND = 3,
	STATUS_IN_USE = 4,
	STATUS_DAMAGED = 5,
};

struct command_status {
	enum status status;
	const char *help;
};

#define COMMAND_STATUS_COUNT 6
extern const struct command_status command_statuses[COMMAND_STATUS_COUNT];

/* NULL where there is none. `second` may be NULL. */
const struct command *command_find(const char *first, const char *second);

/* Some command is called "`word` ...". */
bool command_is_group(const char *word);

/* Among the command's options (where not NULL) and the global ones. */
const struct command_option *command_option_find(const struct command *c,
						 const char *name);
