/*
 * A manifest's file, decoded; what is accepted has to encode and show as
 * well. First byte: see fuzz.h. Its store is taken from its own header.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "fs/store/snapshot/manifest.h"
#include "tests/fuzz/fuzz.h"

int fuzz_last_result;

static void seal(uint8_t *file, size_t size)
{
	struct pager_manifest_header h;
	XXH128_canonical_t digest;

	memcpy(&h, file, sizeof(h));
	h.body_length = (uint32_t)(size - sizeof(h));
	XXH128_canonicalFromHash(
		&digest, XXH3_128bits(file + sizeof(h), size - sizeof(h)));
	memcpy(h.body_digest, digest.digest, sizeof(h.body_digest));
	h.checksum = XXH3_64bits(
		&h, offsetof(struct pager_manifest_header, checksum));
	memcpy(file, &h, sizeof(h));
}

/* What was accepted is within all limits, so it can be written again. */
static void use(const struct manifest *m, const uint8_t *store_id)
{
	json_t *shown = manifest_to_json(m, "name");
	uint8_t *bytes;
	size_t len;

	if (!shown || manifest_encode(m, store_id, &bytes, &len) < 0)
		abort();
	json_decref(shown);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pager_manifest_header h;
	struct manifest m;
	uint8_t *file;

	fuzz_last_result = -EBADMSG;
	if (size < 1 + sizeof(h))
		return 0;
	/* Of the exact size, so that reading past the end is seen. */
	file = malloc(size - 1);
	if (!file)
		return 0;
	memcpy(file, data + 1, size - 1);
	if (data[0] & 1)
		seal(file, size - 1);
	memcpy(&h, file, sizeof(h));
	fuzz_last_result = manifest_decode(file, size - 1, h.store, &m);
	if (fuzz_last_result == 0) {
		use(&m, h.store);
		manifest_release(&m);
	}
	free(file);
	return 0;
}
