/* A session's private bytes. First byte: see fuzz.h. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "pagerd/uffd/recover/overlayfile.h"
#include "tests/fuzz/fuzz.h"

#define HEAD_SIZE  32u
#define PLACE_SIZE 16u
#define IMAGE_SIZE (UINT64_C(1) << 20)

int fuzz_last_result;

static void mend(uint8_t *file, size_t size)
{
	uint64_t count, bytes, sum;

	memcpy(&count, file + 8, 8);
	bytes = htole64(size - HEAD_SIZE - le64toh(count) * PLACE_SIZE);
	sum = htole64(XXH3_64bits(file + HEAD_SIZE, size - HEAD_SIZE));
	memcpy(file, "PAGROVLY", 8);
	memcpy(file + 16, &bytes, 8);
	memcpy(file + 24, &sum, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct overlay *o = NULL;
	uint8_t *file;

	fuzz_last_result = -EBADMSG;
	if (size < 1)
		return 0;
	file = malloc(size);
	if (!file)
		abort();
	memcpy(file, data + 1, size - 1);
	if ((data[0] & 1) && size > HEAD_SIZE)
		mend(file, size - 1);
	fuzz_last_result = overlayfile_decode(file, size - 1, IMAGE_SIZE, &o);
	overlay_free(o);
	free(file);
	return 0;
}
