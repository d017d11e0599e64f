#include "tests/unit/store/packfile.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "fs/store/pack/codec.h"
#include "fs/store/pack/pack.h"
#include "tests/unit/store/scratch.h"

int packfile_append_page(struct packwriter *w, struct store *s,
			 const uint8_t *page, enum pager_codec codec,
			 uint64_t *ret_block)
{
	struct pager_digest digest;
	uint8_t stored[PAGER_PAGE_SIZE];
	struct packwriter_block b = {
		.digest = &digest,
		.plain = page,
		.stored = stored,
		.codec = codec,
		.kind = PAGER_KIND_PAGE,
	};

	store_digest(s, page, b.kind, &digest);
	b.length = coder_encode(coder_of_thread(), &b.codec, page, stored);
	return packwriter_append(w, &b, ret_block);
}

int packfile_append(struct packwriter *w, struct store *s, uint64_t seed,
		    uint64_t *ret_block)
{
	uint8_t page[PAGER_PAGE_SIZE];

	scratch_page(seed, page);
	return packfile_append_page(w, s, page, PAGER_CODEC_ZSTD, ret_block);
}

uint64_t packfile_make(struct store *s, uint64_t first, unsigned int count)
{
	struct packwriter *w;
	uint64_t block = 0;
	int r = packwriter_new(s, NULL, NULL, &w);

	assert(r == 0);
	for (unsigned int i = 0; r == 0 && i < count; i++)
		r = packfile_append(w, s, first + i, &block);
	assert(r == 0);
	r = packwriter_finish(w);
	assert(r == 0);
	packwriter_free(w);
	return pager_block_pack(block);
}

bool packfile_holds(struct store *s, uint64_t pack, uint64_t first,
		    unsigned int count)
{
	uint8_t page[PAGER_PAGE_SIZE], want[PAGER_PAGE_SIZE], kind;

	for (unsigned int i = 0; i < count; i++) {
		scratch_page(first + i, want);
		if (block_source_read(store_source(s), pager_block_id(pack, i),
				      page, &kind) < 0 ||
		    kind != PAGER_KIND_PAGE ||
		    memcmp(page, want, sizeof(page)) != 0)
			return false;
	}
	return true;
}

const char *packfile_path(struct store *s, uint64_t pack)
{
	char name[PACK_NAME_MAX], below[PACK_NAME_MAX + 8];

	pack_name(pack, name);
	(void)snprintf(below, sizeof(below), "packs/%s", name);
	return scratch_file(store_path(s), below);
}

static void *copy_of(const void *from, size_t len)
{
	void *to = malloc(len + 1);

	assert(to);
	return memcpy(to, from, len);
}

void packfile_read(const char *path, struct packfile *ret_file)
{
	struct packfile f;
	size_t len;
	uint8_t *bytes = scratch_read(path, &len);

	memcpy(&f.header, bytes, sizeof(f.header));
	memcpy(&f.trailer, bytes + len - sizeof(f.trailer), sizeof(f.trailer));
	f.data_len = f.trailer.slot_table - sizeof(f.header);
	f.data = copy_of(bytes + sizeof(f.header), f.data_len);
	f.slot_count = f.trailer.slots;
	f.slots = copy_of(bytes + f.trailer.slot_table,
			  f.slot_count * sizeof(*f.slots));
	f.digest_count = f.trailer.digests;
	f.digests = copy_of(bytes + f.trailer.digest_table,
			    f.digest_count * sizeof(*f.digests));
	free(bytes);
	*ret_file = f;
}

void packfile_write(const char *path, const struct packfile *f)
{
	FILE *out = fopen(path, "wb");
	size_t n;

	assert(out);
	n = fwrite(&f->header, sizeof(f->header), 1, out);
	n += fwrite(f->data, 1, f->data_len, out);
	n += fwrite(f->slots, sizeof(*f->slots), f->slot_count, out);
	n += fwrite(f->digests, sizeof(*f->digests), f->digest_count, out);
	n += fwrite(&f->trailer, sizeof(f->trailer), 1, out);
	assert(n == 2 + f->data_len + f->slot_count + f->digest_count);
	(void)fclose(out);
}

void packfile_release(struct packfile *f)
{
	free(f->data);
	free(f->slots);
	free(f->digests);
}

void packfile_seal(struct packfile *f)
{
	f->header.checksum = XXH3_64bits(
		&f->header, offsetof(struct pager_pack_header, checksum));
	f->trailer.slot_checksum =
		XXH3_64bits(f->slots, f->slot_count * sizeof(*f->slots));
	f->trailer.digest_checksum =
		XXH3_64bits(f->digests, f->digest_count * sizeof(*f->digests));
	f->trailer.checksum = XXH3_64bits(
		&f->trailer, offsetof(struct pager_pack_trailer, checksum));
}
