/* Writes pagerd.8 to stdout; the build runs it. */
#include "pagerd/man.h"

int main(void)
{
	man_print(stdout);
	return ferror(stdout) || fflush(stdout) != 0;
}
