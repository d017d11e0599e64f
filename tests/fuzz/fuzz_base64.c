/* What decodes encodes to the same text again: there is one form of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/io/base64.h"
#include "tests/fuzz/fuzz.h"

int fuzz_last_result;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_free_ char *again = NULL;
	size_t len = 0;

	fuzz_last_result =
		base64_decode((const char *)data, size, &bytes, &len);
	if (fuzz_last_result < 0)
		return 0;
	again = base64_encode(bytes, len);
	if (!again || strlen(again) != size || memcmp(again, data, size) != 0)
		abort();
	return 0;
}
