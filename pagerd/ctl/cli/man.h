/* pagerctl(1), the manual page, from the table of commands. */
#pragma once

#include <stdio.h>

/* In man(7)'s macros. */
void man_print(FILE *out);
