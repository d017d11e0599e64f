#include "fs/store/source.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/io/file.h"

#define TRIES	     3
#define PREPARES_MAX 8 /* under pressure a table may be dropped again */

static int locate(const struct block_source *source, uint64_t block,
		  struct block_place *ret_place)
{
	int r = source->ops->locate(source->ctx, block, ret_place);

	for (int i = 0; r == -EAGAIN && i < PREPARES_MAX; i++) {
		r = source->ops->prepare(source->ctx, block);
		if (r < 0)
			return r;
		r = source->ops->locate(source->ctx, block, ret_place);
	}
	return r;
}

static int read_stored(const struct block_place *place, uint8_t *stored)
{
	int r = file_pread(place->fd, stored, place->length, place->offset,
			   INJECT_PACK_READ);

	/* The slot was inside the file when the pack was opened. */
	if (r == -ENODATA)
		r = err_set(-EBADMSG, "the file was cut short");
	return r;
}

static int read_once(const struct block_source *source, uint64_t block,
		     uint8_t *ret_page, uint8_t *ret_kind)
{
	uint8_t stored[PAGER_PAGE_SIZE];
	struct block_place place;
	int r = locate(source, block, &place);

	if (r < 0)
		return r;
	r = read_stored(&place, stored);
	if (r == 0)
		r = source->ops->decode(source->ctx, &place, stored, ret_page);
	if (r == 0 && ret_kind)
		*ret_kind = place.slot.kind;
	source->ops->release(source->ctx, &place);
	return r;
}

/* A bad read may have been the wire's fault; a missing pack stays missing. */
static bool may_pass(int r)
{
	return r == -EIO || r == -EBADMSG || r == -EAGAIN;
}

int block_source_suspect(const struct block_source *source, uint64_t block,
			 bool awaited)
{
	if (!source->ops->suspect)
		return 0;
	return source->ops->suspect(source->ctx, block, awaited);
}

void block_source_verdict(const struct block_source *source, uint64_t block,
			  bool awaited, int error)
{
	if (source->ops->verdict)
		source->ops->verdict(source->ctx, block, awaited, error);
}

static int name_block(int error, uint64_t block)
{
	return err_wrap(error, "pack %016" PRIx64 " slot %" PRIu32,
			pager_block_pack(block), pager_block_slot(block));
}

static int read_copy(const struct block_source *source, uint64_t block,
		     uint8_t *ret_page, uint8_t *ret_kind)
{
	int r = source->ops->rescue(source->ctx, block);

	if (r == 0) {
		r = read_once(source, block, ret_page, ret_kind);
		block_source_verdict(source, block, false, r);
	}
	return r;
}

int block_source_read(const struct block_source *source, uint64_t block,
		      uint8_t *ret_page, uint8_t *ret_kind)
{
	int suspect = block_source_suspect(source, block, false), r;

	if (suspect < 0)
		return suspect;
	r = read_once(source, block, ret_page, ret_kind);
	for (int i = 1; i < TRIES && !suspect && may_pass(r); i++) {
		r = read_once(source, block, ret_page, ret_kind);
	}
	if (r < 0)
		r = name_block(r, block);
	if (r < 0 || suspect)
		block_source_verdict(source, block, false, r);
	if (r < 0 && source->ops->rescue)
		r = read_copy(source, block, ret_page, ret_kind);
	return r;
}
