#include "pagerd/ctl/ctl.h"

#include <stdio.h>

#include "fs/base/err.h"
#include "pagerd/ctl/cli/help.h"
#include "pagerd/ctl/cli/parse.h"
#include "pagerd/ctl/term/output.h"

static int run(const struct invocation *inv)
{
	if (inv->help) {
		help_print(stdout, inv->command, inv->group);
		return STATUS_DONE;
	}
	if (inv->version) {
		output_line("pagerctl %s", PAGER_VERSION);
		return STATUS_DONE;
	}
	return inv->command->run(inv);
}

int ctl_main(int argc, char **argv)
{
	struct invocation inv;
	int r = parse_arguments(argc, argv, &inv), status;

	if (r < 0)
		return output_unparsed(r);
	status = output_finish(run(&inv));
	parse_release(&inv);
	return status;
}
