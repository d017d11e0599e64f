/*
 * What pagerd can be told, in one table: the command line, the configuration
 * file, --help and the manual page all come from it.
 *
 * A value is taken from the first place that has one: the command line, the
 * configuration file, the environment, the default.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/base/log.h"

enum option_id {
	OPTION_STORE,
	OPTION_RUNTIME,
	OPTION_MOUNT,
	OPTION_CACHE,
	OPTION_MEMORY_PRESSURE,
	OPTION_FAULT_TRACE,
	OPTION_IMPORT,
	OPTION_WORKERS,
	OPTION_NEIGHBOURS,
	OPTION_SPIN,
	OPTION_MAX_SESSIONS,
	OPTION_STUCK_AFTER,
	OPTION_RECORD_SECONDS,
	OPTION_RECORD_PAGES,
	OPTION_COMPLETE_AFTER,
	OPTION_COMPLETE_PARALLEL,
	OPTION_COMPLETE_RATE,
	OPTION_SANDBOX,
	OPTION_LOG_LEVEL,
	OPTION_EXIT_WHEN_DRAINED,
	OPTION_CONFIG,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_COUNT
};

struct option_row {
	const char *name;     /* also the key in the configuration file */
	const char *argument; /* NULL: a flag, only on the command line */
	const char *env;      /* NULL: none */
	const char *fallback; /* the default as text; NULL: computed or none */
	const char *shown;    /* the default as help and manual tell it */
	const char *help;     /* one line of at most 48 columns */
	const char *prose;    /* for the manual, plain sentences */
};

extern const struct option_row option_rows[OPTION_COUNT];

/* The signals that pagerd answers, told in the same two places. */
struct option_signal {
	const char *name;
	const char *help;
	const char *prose;
};

#define OPTION_SIGNAL_COUNT 2
extern const struct option_signal option_signals[OPTION_SIGNAL_COUNT];

struct options {
	char *store;
	char *runtime;
	char *mount;  /* NULL: none */
	char *config; /* NULL: no file was read */
	uint64_t cache_bytes;
	char *fault_trace; /* NULL: none */
	char **imports;	   /* NULL behind the last */
	unsigned int import_count;
	bool memory_pressure;
	unsigned int workers;
	bool neighbours;
	uint64_t spin_ns; /* 0: never */
	unsigned int max_sessions;
	uint64_t stuck_after_ns;
	uint64_t record_ns;
	unsigned int record_pages;
	uint64_t complete_age_ns; /* 0: never */
	unsigned int complete_parallel;
	uint64_t complete_rate; /* bytes/s; 0: no limit */
	bool sandbox;
	enum log_level log_level;
	bool exit_when_drained;
	bool help, version; /* asked for: nothing else was looked at */
};

/*
 * -EINVAL with the line to print: an unknown option, a value out of bounds,
 * a line of the file that is wrong. Else what reading the file gave, or
 * -ENOMEM. Not reentrant: getopt_long(3) is underneath.
 */
int options_parse(int argc, char **argv, struct options *ret_options);
void options_release(struct options *o);

/* Within 80 columns. */
void options_print_help(FILE *out);
