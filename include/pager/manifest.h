/*
 * The manifest: one immutable file a snapshot, `snapshots/NAME`. Its rename
 * into place is the commit of a publish. The snapshot's name is the file's
 * name and stands nowhere else.
 *
 *   header  64 bytes
 *   body    JSON, UTF-8, body_length bytes; the keys stand in FORMAT.md
 */
#pragma once

#include <stdint.h>

#define PAGER_MANIFEST_MAGIC   "PAGRSNAP"
#define PAGER_MANIFEST_VERSION 1

/* Limits that a reader enforces. */
#define PAGER_MANIFEST_BODY_MAX (1u << 20)
#define PAGER_NAME_MAX		255u /* bytes of a snapshot's name */
#define PAGER_FILES_MAX		64u  /* attached files, vmstate counted */
#define PAGER_LABELS_MAX	64u
#define PAGER_LABEL_MAX		1024u /* bytes of a label's value */
#define PAGER_REGIONS_MAX	256u
#define PAGER_IMAGE_SIZE_MAX	(UINT64_C(1) << 52)

struct pager_manifest_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t body_length;
	uint8_t store[16];
	uint8_t body_digest[16]; /* XXH3-128 of the body, canonical form */
	uint64_t reserved;	 /* zero */
	uint64_t checksum;	 /* XXH3-64 of the 56 bytes before */
};

_Static_assert(sizeof(struct pager_manifest_header) == 64, "layout");
