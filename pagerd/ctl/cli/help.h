/* --help, from the table of commands, within 80 columns. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "pagerd/ctl/cli/command.h"

/* A command's help; with NULL, that of all, or of the group where not NULL. */
void help_print(FILE *out, const struct command *c, const char *group);
