/*
 * Publishing: files in, one committed snapshot out. The design note stands in
 * publish.c.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fs/store/store.h"
#include "pager/pack.h"

struct publish_file {
	const char *key;  /* "memory", "vmstate" or a name */
	const char *path; /* "-" is standard input, for memory only */
};

struct publish_label {
	const char *key, *value;
};

struct publish_options {
	const char *name;
	struct publish_file memory;
	const struct publish_file *files; /* vmstate and attached ones */
	unsigned int file_count;
	const struct publish_label *labels;
	unsigned int label_count;
	const char *parent; /* noted in the manifest; NULL: none */
	enum pager_codec codec;
	unsigned int threads; /* 0: as many as there are processors, max 8 */

	/* Called from a worker thread now and then; may be NULL. */
	void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
	void *progress_arg; /* total is 0 where it is not known (a pipe) */

	/* Set by another thread or a signal handler to stop; may be NULL. */
	const volatile int *cancelled;
};

#define PUBLISH_OPTIONS_INIT              \
	{                                 \
		.codec = PAGER_CODEC_ZSTD \
	}

struct publish_result {
	uint64_t pages, zero_pages; /* of the image; the rest is of all files */
	uint64_t new_blocks;	    /* stored by this publish, nodes counted */
	uint64_t shared_blocks;	    /* non-zero pages that were there before */
	uint64_t stored_bytes;	    /* by which the packs grew */
	uint64_t compares;	    /* candidates whose bytes were compared */
	double seconds;
	struct pager_digest image_digest;
};

/*
 * A regular file is published as long as it was when it was opened; an empty
 * memory file is refused, other files may be empty.
 *
 * On failure the store is as before: -ENOTUNIQ the name is taken, -EINVAL a
 * bad name, key, label or file, -ENOENT no such file or parent, -EFBIG,
 * -ENODATA the file shrank under us, -EROFS the store was opened for reading,
 * -ENOSPC, -EDQUOT, -EIO, -ECANCELED.
 */
int publish(struct store *s, const struct publish_options *options,
	    struct publish_result *ret_result);

/* What `publish --json` prints: a new reference, or NULL. */
json_t *publish_to_json(const char *name, const struct publish_result *result);
