/*
 * A progress bar on stderr, only where that is a terminal. Drawn at most ten
 * times a second, by whichever thread reports.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/lock.h"

struct progress {
	bool shown;
	const char *what;
	uint64_t began_ns;
	struct lock lock;
	uint64_t drawn_ns; /* protected by lock; 0: not drawn yet */
};

/* `what` is not copied. With `quiet` nothing is ever drawn. */
void progress_init(struct progress *p, const char *what, bool quiet);

/* Any thread; a callback of publish() and export_file(). Total 0: unknown. */
void progress_report(void *progress, uint64_t done, uint64_t total);

/* Wipes the bar, so that the line is free for what comes next. */
void progress_release(struct progress *p);
