/*
 * A command line, taken apart and checked against the table of commands.
 * Everything points into argv, which must outlive it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pagerd/ctl/cli/command.h"

struct invocation_value {
	const struct command_option *option;
	const char *text;
};

struct invocation {
	/* NULL only where help or version is asked for. */
	const struct command *command;
	const char
		*group; /* "session", with help and no second word; or NULL */
	bool help, version, json, quiet;
	const char *store;   /* never NULL */
	const char *runtime; /* NULL: the client library's default */
	const char **operands;
	unsigned int operand_count;
	struct invocation_value *values; /* of the command's own options */
	unsigned int value_count;
};

/*
 * `argc` is at least 1. -EINVAL with the line to print ("publish: --memory is
 * missing; ..."), or -ENOMEM. Where help or version is asked for, nothing else
 * is checked but that options and commands exist.
 */
int parse_arguments(int argc, char **argv, struct invocation *ret_invocation);
void parse_release(struct invocation *inv);

/* The value of an option, or NULL. Its command must have such an option. */
const char *parse_value(const struct invocation *inv, enum option_id id);

/* Likewise of VALUE_NUMBER, or `fallback`. */
uint64_t parse_number(const struct invocation *inv, enum option_id id,
		      uint64_t fallback);

/* Likewise of VALUE_SIZE. */
uint64_t parse_size(const struct invocation *inv, enum option_id id,
		    uint64_t fallback);

/* How often an option was given. */
unsigned int parse_count(const struct invocation *inv, enum option_id id);
