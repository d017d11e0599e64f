/* Completions for shells, from the table of commands. */
#pragma once

#include <stdio.h>

void completion_print_bash(FILE *out);
void completion_print_zsh(FILE *out);
