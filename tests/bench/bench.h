/*
 * pagerbench: what each benchmark is given and what it gives back. A
 * benchmark makes or takes its input, runs its baseline in the same run,
 * round by round in turn, and reports ratios: absolute times belong to one
 * machine on one day.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "tests/bench/report.h"

#define BENCH_DAEMON_ARGS 8

struct bench_options {
	const char *input;    /* a file to use; NULL: make one */
	const char *folder;   /* for what is made; on a real disk */
	const char *programs; /* where pagerd and pagerfs stand */
	uint64_t size;	      /* of what is made, in bytes; 0: the default */
	unsigned int rounds;  /* 0: the default */
	/* Further ones for each pagerd that is started; as many as not NULL. */
	const char *daemon_args[BENCH_DAEMON_ARGS + 1];
};

/* 0 or a negative errno with err_text(). */
typedef int bench_fn(const struct bench_options *options,
		     struct report *report);

bench_fn bench_fault;
bench_fn bench_storm;
bench_fn bench_restore;
bench_fn bench_publish;
bench_fn bench_mount;
bench_fn bench_cache;
bench_fn bench_recover;

/* The options with one more for pagerd; the last of a repeated one counts. */
struct bench_options bench_with_arg(const struct bench_options *options,
				    const char *arg);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t bench_now(void);

/* The median of `count` values, which are sorted in place. */
double bench_median(double *values, unsigned int count);

/*
 * Starts a program, found by PATH unless its name has a slash, with `stream`
 * (1 or 2) going to the file `to`.
 */
int bench_spawn(const char *const argv[], int stream, const char *to,
		pid_t *ret_pid);

/*
 * Runs a program to its end, its output thrown away; 0 only where it exits
 * with 0. `ret_seconds` may be NULL.
 */
int bench_run(const char *const argv[], double *ret_seconds);

/*
 * Drops a file from the page cache; `ret_resident` percent of it stayed there.
 */
int bench_chill_file(const char *path, double *ret_resident);

/* A private folder below options->folder; removed by bench_remove_folder(). */
int bench_make_folder(const struct bench_options *options, char **ret_path);
void bench_remove_folder(const char *path);
