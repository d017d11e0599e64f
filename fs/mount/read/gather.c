/*
 * A batch goes through the cache in two rounds. First every block is asked
 * for without waiting: what is there is copied, what is nobody's is ours to
 * fill, what somebody else fills is put off. Then our fills are done, all of
 * them, in the packs' order. Only after that are the others waited for. So a
 * thread that waits never holds a fill that another may wait for, and two
 * readers of the same blocks cannot wait for each other.
 *
 * Why not read block by block: a page is compressed to about 1 KiB, so a
 * system call a block would cost a quarter of decoding it, and a disk would
 * see reads of 1 KiB.
 *
 * A block of which the quick way fails is read again alone, the slow way with
 * its retries, so that its error is the one that everybody else reports.
 */
#include "fs/mount/read/gather.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/cache/fetch_read.h"
#include "fs/io/file.h"
#include "fs/store/source.h"

#define WANTS_MAX (GATHER_BUFFER_SIZE / PAGER_PAGE_SIZE)

/* Bytes between two blocks that are rather read than skipped. */
#define GAP_MAX	     4096u
#define PREPARES_MAX 4

/* One block that is ours to fill. */
struct fill {
	const struct gather_want *want;
	struct cache_ref ref;
	struct block_place place;
};

struct gather {
	uint8_t *buffer;
	uint8_t *stored; /* what a span's read gives: STORED_SIZE bytes */
	struct gather_want wants[WANTS_MAX];
	struct fill fills[GATHER_BATCH];
	unsigned int fill_count;
	const struct gather_want *late[GATHER_BATCH];
	unsigned int late_count;
};

#define STORED_SIZE (GATHER_BATCH * (PAGER_PAGE_SIZE + GAP_MAX))

int gather_open(struct gather **ret_gather)
{
	struct gather *g cleanup(cleanup_gather) = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->buffer = aligned_alloc(PAGER_PAGE_SIZE, GATHER_BUFFER_SIZE);
	g->stored = malloc(STORED_SIZE);
	if (!g->buffer || !g->stored)
		return -ENOMEM;
	*ret_gather = steal_ptr(g);
	return 0;
}

void gather_close(struct gather *g)
{
	if (!g)
		return;
	free(g->buffer);
	free(g->stored);
	free(g);
}

size_t gather_bytes(void)
{
	return sizeof(struct gather) + GATHER_BUFFER_SIZE + STORED_SIZE;
}

uint8_t *gather_buffer(struct gather *g)
{
	return g->buffer;
}

struct gather_want *gather_wants(struct gather *g)
{
	return g->wants;
}

static int missing_is_damage(int r)
{
	char text[ERR_TEXT_MAX];

	if (r != -ENOENT)
		return r;
	err_copy(r, text);
	return err_restore(-EBADMSG, text);
}

int gather_block(const struct view *v, uint64_t block, enum cache_class class,
		 uint8_t *ret_page, uint8_t *ret_kind)
{
	return missing_is_damage(fetch_read(v->cache, v->source, block, class,
					    ret_page, ret_kind));
}

/* A page table may name a node where a page has to be. */
static int check_kind(uint64_t block, uint8_t kind)
{
	if (kind == PAGER_KIND_PAGE)
		return 0;
	return err_set(-EBADMSG,
		       "damaged page table: block %#llx is of kind %u, no page",
		       (unsigned long long)block, kind);
}

/* Copies a readable block out and drops its pin. */
static int take_page(const struct gather_want *want, struct cache_ref *ref)
{
	int r = check_kind(want->block, ref->kind);

	if (r == 0)
		memcpy(want->page, ref->data, PAGER_PAGE_SIZE);
	cache_unpin(ref);
	return r;
}

static int ask(struct gather *g, const struct view *v,
	       const struct gather_want *want)
{
	struct fill *f = &g->fills[g->fill_count];
	int r = cache_get(v->cache, want->block, CACHE_MOUNT, NULL, &f->ref);

	if (r == CACHE_HIT)
		return take_page(want, &f->ref);
	if (r == CACHE_FILL) {
		f->want = want;
		g->fill_count++;
		return 0;
	}
	if (r != -EBUSY)
		return r;
	g->late[g->late_count++] = want;
	return 0;
}

/* By the blocking read with its retries, which tells the error best. */
static int fill_alone(const struct view *v, struct cache_ref *ref)
{
	uint8_t kind;
	int r = block_source_read(v->source, ref->block, cache_fill_buffer(ref),
				  &kind);

	if (r < 0)
		cache_fill_failed(ref, r == -EAGAIN ? -EIO : r);
	else
		cache_fill_done(ref, kind);
	return r;
}

int gather_pin(const struct view *v, uint64_t block, enum cache_class class,
	       struct cache_ref *ret_ref)
{
	struct cache_ref ref;
	int r = cache_get(v->cache, block, class, NULL, &ref);

	if (r == CACHE_FILL)
		r = fill_alone(v, &ref);
	if (r < 0)
		return missing_is_damage(r);
	*ret_ref = ref;
	return 0;
}

static int fill_and_take(const struct view *v, struct fill *f)
{
	int r = fill_alone(v, &f->ref);

	return r < 0 ? r : take_page(f->want, &f->ref);
}

static int locate(const struct view *v, struct fill *f)
{
	const struct block_source *s = v->source;
	int r;

	/* The read that fills one alone knows what to do about it. */
	if (block_source_suspect(s, f->want->block, false) != 0)
		return -EIO;
	r = s->ops->locate(s->ctx, f->want->block, &f->place);
	for (int i = 0; r == -EAGAIN && i < PREPARES_MAX; i++) {
		r = s->ops->prepare(s->ctx, f->want->block);
		if (r == 0)
			r = s->ops->locate(s->ctx, f->want->block, &f->place);
	}
	return r;
}

static int place_order(const void *a, const void *b)
{
	const struct block_place *p = &((const struct fill *)a)->place;
	const struct block_place *q = &((const struct fill *)b)->place;

	if (p->fd != q->fd)
		return p->fd < q->fd ? -1 : 1;
	return p->offset < q->offset ? -1 : p->offset > q->offset;
}

/* How many of the fills, from the first on, one read is worth. */
static unsigned int span_length(const struct fill *f, unsigned int count)
{
	unsigned int n = 1;

	for (; n < count; n++) {
		const struct block_place *last = &f[n - 1].place;
		const struct block_place *next = &f[n].place;
		uint64_t end = last->offset + last->length;

		if (next->fd != last->fd || next->offset < end ||
		    next->offset - end > GAP_MAX)
			break;
	}
	return n;
}

/* One fill whose stored bytes are here, if `stored` is not NULL. */
static int finish_fill(const struct view *v, struct fill *f,
		       const uint8_t *stored)
{
	const struct block_source *s = v->source;
	uint8_t kind = f->place.slot.kind;
	int r = -EIO;

	if (stored)
		r = s->ops->decode(s->ctx, &f->place, stored,
				   cache_fill_buffer(&f->ref));
	s->ops->release(s->ctx, &f->place);
	if (r < 0)
		return fill_and_take(v, f);
	cache_fill_done(&f->ref, kind);
	return take_page(f->want, &f->ref);
}

static int fill_span(struct gather *g, const struct view *v, struct fill *f,
		     unsigned int count)
{
	const struct block_place *last = &f[count - 1].place;
	uint64_t from = f[0].place.offset;
	size_t len = (size_t)(last->offset + last->length - from);
	int result = 0;
	bool read;

	assert(len <= STORED_SIZE);
	read = file_pread(f[0].place.fd, g->stored, len, from,
			  INJECT_PACK_READ) == 0;
	for (unsigned int i = 0; i < count; i++) {
		size_t at = (size_t)(f[i].place.offset - from);
		int r = finish_fill(v, &f[i], read ? g->stored + at : NULL);

		if (r < 0)
			result = r;
	}
	return result;
}

/* Ends every fill of the batch, in one way or the other. */
static int do_fills(struct gather *g, const struct view *v)
{
	unsigned int count = 0, n;
	int r, result = 0;

	for (unsigned int i = 0; i < g->fill_count; i++) {
		struct fill f = g->fills[i];

		if (locate(v, &f) == 0) {
			g->fills[count++] = f;
			continue;
		}
		r = fill_and_take(v, &f);
		if (r < 0)
			result = r;
	}
	if (count > 1)
		qsort(g->fills, count, sizeof(g->fills[0]), place_order);
	for (unsigned int i = 0; i < count; i += n) {
		n = span_length(&g->fills[i], count - i);
		r = fill_span(g, v, &g->fills[i], n);
		if (r < 0)
			result = r;
	}
	g->fill_count = 0;
	return result;
}

/* What others fill, or had no slot: waits, while we hold nothing. */
static int join_late(const struct view *v, const struct gather_want *want)
{
	uint8_t kind;
	int r = fetch_read(v->cache, v->source, want->block, CACHE_MOUNT,
			   want->page, &kind);

	return r < 0 ? r : check_kind(want->block, kind);
}

static int gather_batch(struct gather *g, const struct view *v,
			const struct gather_want *wants, size_t count)
{
	int r = 0, filled;

	g->fill_count = g->late_count = 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = ask(g, v, &wants[i]);
	filled = do_fills(g, v);
	if (r == 0)
		r = filled;
	for (unsigned int i = 0; r == 0 && i < g->late_count; i++)
		r = join_late(v, g->late[i]);
	return r;
}

int gather_pages(struct gather *g, const struct view *v,
		 const struct gather_want *wants, size_t count)
{
	for (size_t i = 0; i < count; i += GATHER_BATCH) {
		size_t n = count - i < GATHER_BATCH ? count - i : GATHER_BATCH;
		int r = gather_batch(g, v, wants + i, n);

		if (r < 0)
			return missing_is_damage(r);
	}
	return 0;
}
