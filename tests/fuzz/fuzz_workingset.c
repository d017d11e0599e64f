/* A file of working-sets/. First byte: see fuzz.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "fs/store/workingset/workingset.h"
#include "tests/fuzz/fuzz.h"

int fuzz_last_result;

static const uint8_t store[16] = "0123456789abcdef";
static const struct pager_digest image = {"fedcba9876543210"};

/* Makes checksums and what it is bound to match. */
static void mend(uint8_t *bytes, size_t size)
{
	struct pager_workingset_header h;

	memcpy(&h, bytes, sizeof(h));
	memcpy(h.store, store, sizeof(h.store));
	memcpy(h.image_digest, image.bytes, sizeof(h.image_digest));
	h.entries_digest = XXH3_64bits(bytes + sizeof(h), size - sizeof(h));
	h.checksum = XXH3_64bits(
		&h, offsetof(struct pager_workingset_header, checksum));
	memcpy(bytes, &h, sizeof(h));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct workingset w = {0};
	uint8_t *bytes;

	fuzz_last_result = -EBADMSG;
	if (size < 1)
		return 0;
	bytes = malloc(size);
	if (!bytes)
		abort();
	memcpy(bytes, data + 1, size - 1);
	if ((data[0] & 1) && size > sizeof(struct pager_workingset_header))
		mend(bytes, size - 1);
	fuzz_last_result =
		workingset_decode(bytes, size - 1, store, &image, 1024, &w);
	workingset_release(&w);
	free(bytes);
	return 0;
}
