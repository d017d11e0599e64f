/*
 * pagerctl-generate man|bash|zsh: a program of the build, not installed, that
 * prints what is made from the table of commands.
 */
#include <stdio.h>
#include <string.h>

#include "pagerd/ctl/cli/completion.h"
#include "pagerd/ctl/cli/man.h"

int main(int argc, char **argv)
{
	static const struct {
		const char *what;
		void (*print)(FILE *out);
	} kinds[] = {
		{"man", man_print},
		{"bash", completion_print_bash},
		{"zsh", completion_print_zsh},
	};

	for (size_t i = 0; argc == 2 && i < 3; i++)
		if (strcmp(argv[1], kinds[i].what) == 0) {
			kinds[i].print(stdout);
			return fflush(stdout) == 0 ? 0 : 1;
		}
	(void)fputs("usage: pagerctl-generate man|bash|zsh\n", stderr);
	return 2;
}
