/*
 * At the daemon's start: the sessions of the one before it go on.
 */
#pragma once

#include "pagerd/control/registry.h"

struct recovery_result {
	unsigned int taken_over;
	unsigned int gone;  /* their VMs had ended */
	unsigned int ended; /* could not be served: ended by their policy */
	unsigned int left;  /* hang, or are a newer daemon's: not touched */
};

/*
 * Takes over every session whose journal lies in `folder`, and tells of each
 * that cannot be in the log. What cannot go on is no error of ours: it fails
 * only where the folder cannot be read.
 */
int recovery_run(struct registry *r, struct vault *vault, const char *folder,
		 struct recovery_result *ret_result);
