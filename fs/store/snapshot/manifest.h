/*
 * A snapshot's manifest in memory, and its bytes; pager/manifest.h and
 * FORMAT.md give the format. Owned by whoever holds it, immutable once read.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "pager/block.h"
#include "pager/manifest.h"

/* One file of a snapshot: the image, the vmstate, or what was attached. */
struct manifest_file {
	char *key;     /* "memory", "vmstate", or the attached key */
	uint64_t size; /* exact, in bytes */
	uint64_t root; /* block id of the page table's root, or 0 */
	unsigned int levels;
	struct pager_digest digest;
	uint64_t pages; /* of 4096, the last partial one counted */
	uint64_t zero_pages;
};

struct manifest_region {
	uint64_t offset, size; /* within the image */
};

struct manifest_label {
	char *key, *value;
};

/* Which file the image was read from; its mtime in ns since 1970. */
struct manifest_origin {
	uint64_t device, inode, size, mtime;
};

struct manifest {
	uint64_t created; /* nanoseconds since 1970 */
	struct manifest_file image;
	struct manifest_file *files; /* image not among them; sorted by key */
	unsigned int file_count;
	struct manifest_region *regions;
	unsigned int region_count;
	struct manifest_label *labels; /* sorted by key */
	unsigned int label_count;
	char *parent; /* NULL: none */
	bool has_origin;
	struct manifest_origin origin; /* where has_origin */
	char *codec;
	uint64_t new_blocks, shared_blocks, stored_bytes; /* as published */
};

void manifest_release(struct manifest *m);

/*
 * Whether a file may be attached under that key, or a label have that key or
 * value: -EINVAL with a line. Keys that a snapshot's own files have ("memory",
 * "manifest.json" ...) are refused.
 */
int manifest_check_key(const char *key);
int manifest_check_label(const char *key, const char *value);

/*
 * The file's bytes; the caller frees. -EINVAL where manifest_decode() would
 * refuse them: what a user gives is to be checked before. -E2BIG past the
 * limit of the body.
 */
int manifest_encode(const struct manifest *m, const uint8_t store_id[16],
		    uint8_t **ret_bytes, size_t *ret_len);

/*
 * Checks every field against its limits and against the others (levels fit
 * the size, root 0 only where all pages are zero, digests well-formed...).
 * -EBADMSG with what is wrong, -ENOTSUP newer.
 */
int manifest_decode(const uint8_t *bytes, size_t len,
		    const uint8_t store_id[16], struct manifest *ret_manifest);

/* NULL when there is no such file. "memory" is the image. */
const struct manifest_file *manifest_find(const struct manifest *m,
					  const char *key);

/* What `show --json` and manifest.json print; a new reference, or NULL. */
json_t *manifest_to_json(const struct manifest *m, const char *name);
