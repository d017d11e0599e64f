/* The file `format` of a store. First byte: see fuzz.h. */
#include <errno.h>
#include <string.h>

#include "fs/store/superblock.h"
#include "tests/fuzz/fuzz.h"

int fuzz_last_result;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pager_superblock sb, sealed;

	fuzz_last_result = -EBADMSG;
	if (size < 1)
		return 0;
	if ((data[0] & 1) && size == 1 + sizeof(sealed)) {
		uint32_t version;

		memcpy(&sealed, data + 1, sizeof(sealed));
		version = sealed.version;
		superblock_seal(&sealed);
		if (version <= PAGER_STORE_VERSION)
			fuzz_last_result = superblock_decode(
				"fuzz", (const uint8_t *)&sealed,
				sizeof(sealed), &sb);
		return 0;
	}
	fuzz_last_result = superblock_decode("fuzz", data + 1, size - 1, &sb);
	return 0;
}
