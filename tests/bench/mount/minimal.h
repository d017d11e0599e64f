/*
 * The least that a FUSE file system can be: one file, whose bytes are in
 * memory, over libfuse's low-level calls with its own loop: many threads, each
 * with a clone of the device, keep_cache, one buffer a reply. What a mount of
 * snapshots is measured against.
 */
#pragma once

#include <sys/types.h>

struct minimal;

/*
 * Mounts on `path`, a folder, from a process of its own, with `image` as its
 * file "memory". Needs root.
 */
int minimal_start(const char *path, const char *image, unsigned int threads,
		  struct minimal **ret_minimal);
pid_t minimal_process(const struct minimal *m);
void minimal_stop(struct minimal *m); /* accepts NULL */
