/*
 * A session's journal. First byte: see fuzz.h; with bit 0 the rest is what
 * stands behind the head, which is made to match.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "pagerd/uffd/recover/journal.h"
#include "tests/fuzz/fuzz.h"

#define HEAD_SIZE 64

int fuzz_last_result;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal j = {0};
	uint8_t *file;
	size_t at = 0;

	fuzz_last_result = -EBADMSG;
	if (size < 1)
		return 0;
	file = malloc(size + HEAD_SIZE);
	if (!file)
		abort();
	if (data[0] & 1)
		at = (size_t)snprintf((char *)file, HEAD_SIZE,
				      "pager-journal %u %016" PRIx64 "\n",
				      JOURNAL_VERSION,
				      XXH3_64bits(data + 1, size - 1));
	memcpy(file + at, data + 1, size - 1);
	fuzz_last_result = journal_decode("fuzz", file, at + size - 1, &j);
	journal_release(&j);
	free(file);
	return 0;
}
