#include "pagerd/uffd/memory/overlay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pager/block.h"

struct overlay {
	struct overlay_piece *pieces; /* ascending, disjoint */
	size_t count;
	uint8_t *bytes; /* of all pieces */
};

static int by_offset(const void *a, const void *b)
{
	const struct overlay_piece *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static int check_sizes(const struct overlay_piece *pieces, size_t count,
		       uint64_t image_size, uint64_t *ret_bytes)
{
	uint64_t end, bytes = 0;

	if (count > OVERLAY_PIECES_MAX)
		return err_set(-EINVAL, "%zu overlays: at most %u", count,
			       OVERLAY_PIECES_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct overlay_piece *p = &pieces[i];

		if (p->size == 0)
			return err_set(-EINVAL,
				       "overlay at %" PRIu64 ": no bytes",
				       p->offset);
		if (__builtin_add_overflow(p->offset, p->size, &end) ||
		    end > image_size)
			return err_set(-EINVAL,
				       "overlay at %" PRIu64 " of %" PRIu64
				       " bytes: past the image's %" PRIu64,
				       p->offset, p->size, image_size);
		if (p->size > OVERLAY_BYTES_MAX - bytes)
			return err_set(-EINVAL,
				       "overlays of more than %" PRIu64
				       " bytes",
				       OVERLAY_BYTES_MAX);
		bytes += p->size;
	}
	*ret_bytes = bytes;
	return 0;
}

static int check_apart(const struct overlay *o)
{
	for (size_t i = 1; i < o->count; i++) {
		const struct overlay_piece *p = &o->pieces[i - 1];

		if (p->offset + p->size > o->pieces[i].offset)
			return err_set(-EINVAL,
				       "overlays at %" PRIu64 " and %" PRIu64
				       " overlap",
				       p->offset, o->pieces[i].offset);
	}
	return 0;
}

DEFINE_CLEANUP(overlay, struct overlay *, overlay_free)

int overlay_new(const struct overlay_piece *pieces, size_t count,
		uint64_t image_size, struct overlay **ret_overlay)
{
	struct overlay *o cleanup(cleanup_overlay) = NULL;
	uint64_t bytes = 0, at = 0;
	int r = check_sizes(pieces, count, image_size, &bytes);

	if (r < 0)
		return r;
	if (count == 0) {
		*ret_overlay = NULL;
		return 0;
	}
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->count = count;
	o->pieces = calloc(count, sizeof(*o->pieces));
	o->bytes = malloc(bytes ?: 1);
	if (!o->pieces || !o->bytes)
		return err_set(-ENOMEM, "no memory for overlays");
	for (size_t i = 0; i < count; at += pieces[i++].size) {
		memcpy(o->bytes + at, pieces[i].data, pieces[i].size);
		o->pieces[i] = pieces[i];
		o->pieces[i].data = o->bytes + at;
	}
	qsort(o->pieces, count, sizeof(*o->pieces), by_offset);
	r = check_apart(o);
	if (r < 0)
		return r;
	*ret_overlay = steal_ptr(o);
	return 0;
}

void overlay_free(struct overlay *o)
{
	if (!o)
		return;
	free(o->pieces);
	free(o->bytes);
	free(o);
}

/* The first piece that ends behind `offset`; o->count where there is none. */
static size_t first_behind(const struct overlay *o, uint64_t offset)
{
	size_t low = 0, high = o->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct overlay_piece *p = &o->pieces[middle];

		if (p->offset + p->size > offset)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

uint64_t overlay_clear_run(const struct overlay *o, uint64_t page, uint64_t max)
{
	uint64_t clear;
	size_t i;

	if (!o)
		return max;
	i = first_behind(o, page * PAGER_PAGE_SIZE);
	if (i == o->count)
		return max;
	clear = o->pieces[i].offset / PAGER_PAGE_SIZE;
	if (clear <= page)
		return 0;
	return clear - page < max ? clear - page : max;
}

bool overlay_touches(const struct overlay *o, uint64_t page)
{
	return o && overlay_clear_run(o, page, 1) == 0;
}

bool overlay_covers(const struct overlay *o, uint64_t page)
{
	uint64_t at = page * PAGER_PAGE_SIZE, end = at + PAGER_PAGE_SIZE;

	if (!o)
		return false;
	for (size_t i = first_behind(o, at); i < o->count && at < end; i++) {
		const struct overlay_piece *p = &o->pieces[i];

		if (p->offset > at)
			return false;
		at = p->offset + p->size;
	}
	return at >= end;
}

void overlay_apply(const struct overlay *o, uint64_t page, uint8_t *bytes)
{
	uint64_t start = page * PAGER_PAGE_SIZE, end = start + PAGER_PAGE_SIZE;

	if (!o)
		return;
	for (size_t i = first_behind(o, start); i < o->count; i++) {
		const struct overlay_piece *p = &o->pieces[i];
		uint64_t from = p->offset > start ? p->offset : start;
		uint64_t to = p->offset + p->size;

		if (p->offset >= end)
			return;
		if (to > end)
			to = end;
		memcpy(bytes + (from - start), p->data + (from - p->offset),
		       to - from);
	}
}

const struct overlay_piece *overlay_pieces(const struct overlay *o,
					   size_t *ret_count)
{
	*ret_count = o ? o->count : 0;
	return o ? o->pieces : NULL;
}
