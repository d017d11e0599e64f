/*
 * A pack's file, opened, loaded and read slot by slot. First byte: see
 * fuzz.h. Its number and store are taken from its own header.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "fs/io/file.h"
#include "fs/store/pack/pack.h"
#include "fs/store/pack/packset.h"
#include "tests/fuzz/fuzz.h"

#define FILE_MAX ((size_t)1 << 20)

int fuzz_last_result;

/* The checksum of a table, where the trailer puts it inside the file. */
static void seal_table(const uint8_t *file, size_t size, uint64_t at,
		       uint64_t len, uint64_t *checksum)
{
	if (at <= size && len <= size - at)
		*checksum = XXH3_64bits(file + at, len);
}

static void seal(uint8_t *file, size_t size)
{
	struct pager_pack_header h;
	struct pager_pack_trailer t;

	if (size < sizeof(h) + sizeof(t))
		return;
	memcpy(&h, file, sizeof(h));
	memcpy(&t, file + size - sizeof(t), sizeof(t));
	h.checksum =
		XXH3_64bits(&h, offsetof(struct pager_pack_header, checksum));
	seal_table(file, size, t.slot_table,
		   t.slots * sizeof(struct pager_slot), &t.slot_checksum);
	if (t.digests <= size)
		seal_table(file, size, t.digest_table,
			   t.digests * sizeof(struct pager_digest_entry),
			   &t.digest_checksum);
	t.checksum =
		XXH3_64bits(&t, offsetof(struct pager_pack_trailer, checksum));
	memcpy(file, &h, sizeof(h));
	memcpy(file + size - sizeof(t), &t, sizeof(t));
}

/* A slot's own damage is no refusal of the pack. */
static void read_slot(struct pack *p, uint32_t slot)
{
	uint8_t stored[PAGER_PAGE_SIZE], page[PAGER_PAGE_SIZE];
	struct block_place place;

	if (pack_locate(p, slot, &place) < 0)
		return;
	if (file_pread(place.fd, stored, place.length, place.offset,
		       INJECT_POINT_COUNT) == 0)
		(void)packset_source_ops.decode(NULL, &place, stored, page);
}

static int read_pack(int fd, const struct pager_pack_header *h)
{
	struct pack *p cleanup(cleanup_pack) = NULL;
	int r = pack_open_fd(fd, h->pack, h->store, &p);

	if (r == 0)
		r = pack_load(p);
	if (r == 0)
		r = pack_check_digests(p);
	for (uint32_t i = 0; r == 0 && i < pack_slots(p) && i < 64; i++)
		read_slot(p, i);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[FILE_MAX];
	struct pager_pack_header h = {0};
	int fd;

	fuzz_last_result = -EBADMSG;
	if (size < 1 || size - 1 > FILE_MAX)
		return 0;
	memcpy(file, data + 1, size - 1);
	if (data[0] & 1)
		seal(file, size - 1);
	memcpy(&h, file, size - 1 < sizeof(h) ? size - 1 : sizeof(h));
	fd = memfd_create("pack", MFD_CLOEXEC);
	if (fd < 0 ||
	    file_pwrite(fd, file, size - 1, 0, INJECT_POINT_COUNT) < 0)
		close_quietly(fd);
	else
		fuzz_last_result = read_pack(fd, &h);
	return 0;
}
