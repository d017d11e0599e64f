/*
 * What pagerfs can be told, in one table: the command line, --help and the
 * manual page all come from it.
 *
 * mount(8) calls "pagerfs STORE MOUNTPOINT -o OPTS", with the words for any
 * file system among OPTS; those that say nothing new here are taken and
 * ignored.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

struct pagerfs_options {
	const char *store; /* borrowed from argv */
	const char *path;
	bool foreground;
	bool help, version, manual; /* asked for: nothing else counts */
	size_t cache_bytes;
	unsigned int threads; /* 0: chosen by the mount */
	size_t readahead;
	bool allow_other, rdwr_open;
	uid_t uid;
	gid_t gid;
};

/*
 * -EINVAL with the line to print. Cuts up argv's strings. Not reentrant:
 * getopt_long(3) is underneath.
 */
int options_parse(int argc, char **argv, struct pagerfs_options *ret_options);

/* Within 80 columns. */
void options_print_help(FILE *out);

/* pagerfs(8), in man(7)'s macros. */
void options_print_manual(FILE *out);
