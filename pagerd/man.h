/* pagerd(8), the manual page, from the option table. */
#pragma once

#include <stdio.h>

/* In man(7)'s macros. */
void man_print(FILE *out);
