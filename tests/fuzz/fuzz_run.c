/*
 * An index run's file, opened and searched. First byte: see fuzz.h. Its store
 * is taken from its own header.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "fs/io/file.h"
#include "fs/store/index/run.h"
#include "tests/fuzz/fuzz.h"

#define FILE_MAX ((size_t)2 << 20)

int fuzz_last_result;

/*
 * Inputs would be half a MiB of fan-out: they come without it. The file is
 * made of the header and the packs' part (two pages), the fan-out counted
 * from the entries, and the entries, which may be out of order.
 */
static size_t expand(const uint8_t *data, size_t size, uint8_t *file)
{
	const struct run_layout at = run_layout(1, 0);
	size_t head = size < at.fan ? size : at.fan, count;
	uint64_t fan[PAGER_RUN_FANOUT] = {0};

	memcpy(file, data, head);
	if (size < at.fan)
		return size;
	memcpy(file + at.entries, data + at.fan, size - at.fan);
	count = (size - at.fan) / sizeof(struct pager_digest_entry);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *digest =
			data + at.fan + i * sizeof(struct pager_digest_entry);

		fan[((size_t)digest[0] << 8 | digest[1]) + 1]++;
	}
	for (size_t i = 1; i < PAGER_RUN_FANOUT; i++)
		fan[i] += fan[i - 1];
	memset(file + at.fan, 0, at.entries - at.fan);
	memcpy(file + at.fan, fan, sizeof(fan));
	return at.entries + (size - at.fan);
}

static void seal(uint8_t *file, size_t size)
{
	const struct run_layout at = run_layout(1, 0);
	struct pager_run_header h;

	if (size < at.entries)
		return;
	memcpy(&h, file, sizeof(h));
	h.tables_checksum = XXH3_64bits(file + at.packs, at.entries - at.packs);
	h.checksum =
		XXH3_64bits(&h, offsetof(struct pager_run_header, checksum));
	memcpy(file, &h, sizeof(h));
}

static int search(int fd, const uint8_t *file)
{
	struct run *run cleanup(cleanup_run) = NULL;
	struct pager_run_header h;
	uint64_t blocks[4];
	int r;

	memcpy(&h, file, sizeof(h));
	r = run_open_fd(fd, "0000000000000001.run", h.store, &run);
	for (uint64_t i = 0; r == 0 && i < run_entries(run); i++) {
		struct pager_digest digest = run_entry(run, i)->digest;

		(void)run_find(run, &digest, 4, blocks);
		digest.bytes[5] ^= 1;
		(void)run_find(run, &digest, 4, blocks);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[FILE_MAX];
	size_t len;
	int fd;

	fuzz_last_result = -EBADMSG;
	if (size < 1 + sizeof(struct pager_run_header) || size > FILE_MAX / 2)
		return 0;
	len = expand(data + 1, size - 1, file);
	if (data[0] & 1)
		seal(file, len);
	fd = memfd_create("run", MFD_CLOEXEC);
	if (fd >= 0 && file_pwrite(fd, file, len, 0, INJECT_POINT_COUNT) == 0)
		fuzz_last_result = search(fd, file);
	close_quietly(fd);
	return 0;
}
