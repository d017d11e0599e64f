/*
 * The workers of a publish: files go in, units run through them in parallel,
 * blocks and page tables come out in the order of the file. The design note
 * stands in publish.c.
 */
#pragma once

#include "fs/base/cleanup.h"
#include "fs/store/publish/dedup.h"
#include "fs/store/publish/input.h"
#include "fs/store/publish/publish.h"
#include "fs/store/snapshot/manifest.h"

struct pipeline;

/* Of all files that have run. */
struct pipeline_counts {
	uint64_t new_blocks;	/* appended, nodes counted */
	uint64_t shared_blocks; /* pages neither zero nor appended */
	uint64_t compares;	/* candidates whose bytes were compared */
};

/* Takes codec, threads, progress and cancelled from the options; borrows all.
 */
int pipeline_new(struct store *s, struct dedup *d,
		 const struct publish_options *options,
		 struct pipeline **ret_pipeline);
void pipeline_free(struct pipeline *p); /* accepts NULL */
DEFINE_CLEANUP(pipeline, struct pipeline *, pipeline_free)

/* Bytes that progress counts up to; 0 where they are not known. */
void pipeline_expect(struct pipeline *p, uint64_t total_bytes);

/*
 * Runs one file through, on the calling thread and others. Fills all of
 * `ret_file` but its key. The blocks are durable after dedup_finish().
 */
int pipeline_run(struct pipeline *p, struct input *in,
		 struct manifest_file *ret_file);

struct pipeline_counts pipeline_counts(const struct pipeline *p);
