/* Stored bytes of one slot. First byte: the codec. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fs/store/pack/codec.h"
#include "tests/fuzz/fuzz.h"

#define FENCE 64u

int fuzz_last_result;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t page[PAGER_PAGE_SIZE + FENCE], fence[FENCE];

	fuzz_last_result = -EBADMSG;
	if (size < 1 || size > UINT32_MAX)
		return 0;
	memset(fence, 0x5a, sizeof(fence));
	memset(page + PAGER_PAGE_SIZE, 0x5a, FENCE);
	fuzz_last_result = coder_decode(coder_of_thread(),
					(enum pager_codec)data[0], data + 1,
					(uint32_t)(size - 1), page);
	assert(memcmp(page + PAGER_PAGE_SIZE, fence, FENCE) == 0);
	return 0;
}
