/*
 * A line is found by its number: `starts` has, for each leaf node of the page
 * table, how many runs begin before it. A page begins a run if it is the first
 * one, or differs from the page before it.
 */
#include "fs/mount/read/pages.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/io/text.h"
#include "fs/store/compare/tally.h"
#include "fs/store/store.h"

#define NO_LEAF UINT64_MAX

struct pages {
	struct image *img;
	uint64_t leaves;
	uint64_t *starts; /* leaves + 1 of them: the last is all runs */
	struct tally tally;
};

/* The pages of an image one by one, a leaf at a time in memory. */
struct cursor {
	const struct image *img;
	uint64_t leaf; /* whose entries `blocks` has, or NO_LEAF */
	uint64_t blocks[PAGER_NODE_ENTRIES];
};

static int block_at(struct cursor *c, uint64_t page, uint64_t *ret_block)
{
	uint64_t leaf = page / PAGER_NODE_ENTRIES;

	if (leaf != c->leaf) {
		int r = image_leaf(c->img, leaf, c->blocks);

		c->leaf = r < 0 ? NO_LEAF : leaf;
		if (r < 0)
			return r;
	}
	*ret_block = c->blocks[page % PAGER_NODE_ENTRIES];
	return 0;
}

static uint64_t leaf_count(const struct image *img)
{
	uint64_t pages = image_pages(img);

	return pages / PAGER_NODE_ENTRIES + (pages % PAGER_NODE_ENTRIES != 0);
}

/*
 * Counts runs; where `p` is not NULL notes where they start, and the blocks
 * (room for them all was made).
 */
static int walk(const struct image *img, struct pages *p, uint64_t *ret_runs)
{
	uint64_t blocks[PAGER_NODE_ENTRIES];
	uint64_t runs = 0, before = UINT64_MAX; /* which no block id is */

	for (uint64_t leaf = 0; leaf < leaf_count(img); leaf++) {
		int count = image_leaf(img, leaf, blocks);

		if (count < 0)
			return count;
		if (p)
			p->starts[leaf] = runs;
		for (int i = 0; i < count; i++) {
			runs += blocks[i] != before;
			before = blocks[i];
			if (p && before)
				tally_add(&p->tally, before);
		}
	}
	*ret_runs = runs;
	return 0;
}

int pages_text_size(const struct image *img, uint64_t *ret_size)
{
	uint64_t runs;
	int r = walk(img, NULL, &runs);

	if (r < 0)
		return r;
	*ret_size = runs * PAGES_LINE;
	return 0;
}

static int note_runs(struct pages *p)
{
	int r;

	p->leaves = leaf_count(p->img);
	p->starts = calloc(p->leaves + 1, sizeof(*p->starts));
	if (!p->starts)
		return -ENOMEM;
	r = tally_init(&p->tally, image_pages(p->img));
	if (r == 0)
		r = walk(p->img, p, &p->starts[p->leaves]);
	if (r < 0)
		return r;
	tally_sort(&p->tally);
	return 0;
}

int pages_open(struct image *img, struct pages **ret_pages)
{
	struct pages *p cleanup(cleanup_pages) = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		image_close(img);
		return -ENOMEM;
	}
	p->img = img;
	r = note_runs(p);
	if (r < 0)
		return r;
	*ret_pages = steal_ptr(p);
	return 0;
}

void pages_close(struct pages *p)
{
	if (!p)
		return;
	image_close(p->img);
	free(p->starts);
	tally_release(&p->tally);
	free(p);
}

uint64_t pages_size(const struct pages *p)
{
	return p->starts[p->leaves] * PAGES_LINE;
}

static uint64_t shared_by(const struct pages *p, uint64_t block)
{
	if (!block)
		return image_pages(p->img) - p->tally.count;
	return tally_count(&p->tally, block);
}

/* The page that begins run `run`. */
static int find_run(const struct pages *p, struct cursor *c, uint64_t run,
		    uint64_t *ret_page)
{
	uint64_t from = 0, to = p->leaves, page, left, before, block;
	int r;

	while (to - from > 1) {
		uint64_t middle = from + (to - from) / 2;

		if (p->starts[middle] <= run)
			from = middle;
		else
			to = middle;
	}
	/* Leaves in which no run begins have the next one's number. */
	left = run - p->starts[from];
	page = from * PAGER_NODE_ENTRIES;
	before = UINT64_MAX;
	if (page) {
		r = block_at(c, page - 1, &before);
		if (r < 0)
			return r;
	}
	for (;; page++) {
		r = block_at(c, page, &block);
		if (r < 0)
			return r;
		if (block != before && left-- == 0)
			break;
		before = block;
	}
	*ret_page = page;
	return 0;
}

/* Behind the leaves, from `leaf` on, in which no run begins. */
static uint64_t skip_leaves(const struct pages *p, uint64_t leaf)
{
	while (leaf < p->leaves && p->starts[leaf] == p->starts[leaf + 1])
		leaf++;
	return leaf;
}

static int run_end(const struct pages *p, struct cursor *c, uint64_t page,
		   uint64_t *ret_end)
{
	uint64_t pages = image_pages(p->img), first, block;
	int r = block_at(c, page, &first);

	for (page++; r == 0 && page < pages; page++) {
		if (page % PAGER_NODE_ENTRIES == 0)
			page = skip_leaves(p, page / PAGER_NODE_ENTRIES) *
			       PAGER_NODE_ENTRIES;
		if (page >= pages)
			break;
		r = block_at(c, page, &block);
		if (r == 0 && block != first)
			break;
	}
	if (r < 0)
		return r;
	*ret_end = page < pages ? page : pages;
	return 0;
}

static int digest_text(const struct pages *p, uint64_t block,
		       char ret_hex[2 * PAGER_DIGEST_SIZE + 1])
{
	const struct view *v = image_view(p->img);
	uint8_t page[PAGER_PAGE_SIZE], kind;
	struct pager_digest digest;
	int r;

	if (!block) {
		memset(ret_hex, '-', (size_t)2 * PAGER_DIGEST_SIZE);
		ret_hex[2 * PAGER_DIGEST_SIZE] = '\0';
		return 0;
	}
	r = gather_block(v, block, CACHE_MOUNT, page, &kind);
	if (r < 0)
		return r;
	store_digest(v->store, page, kind, &digest);
	text_to_hex(digest.bytes, sizeof(digest.bytes), ret_hex);
	return 0;
}

/* The line of the run that begins at *page, which moves behind it. */
static int put_line(const struct pages *p, struct cursor *c, uint64_t *page,
		    char line[PAGES_LINE + 1])
{
	char hex[2 * PAGER_DIGEST_SIZE + 1];
	uint64_t block, end;
	int len, r = block_at(c, *page, &block);

	if (r == 0)
		r = run_end(p, c, *page, &end);
	if (r == 0)
		r = digest_text(p, block, hex);
	if (r < 0)
		return r;
	len = snprintf(line, PAGES_LINE + 1,
		       "%13" PRIu64 " %13" PRIu64 " %-5s %s %10" PRIu64 "\n",
		       *page, end - *page, block ? "block" : "zero", hex,
		       shared_by(p, block));
	assert(len == (int)PAGES_LINE);
	*page = end;
	return 0;
}

/* Whole lines from number `first` on. */
static int put_lines(const struct pages *p, uint64_t first, size_t count,
		     char *out)
{
	struct cursor c = {.img = p->img, .leaf = NO_LEAF};
	char line[PAGES_LINE + 1];
	uint64_t page;
	int r = count ? find_run(p, &c, first, &page) : 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		r = put_line(p, &c, &page, line);
		if (r == 0)
			memcpy(out + i * PAGES_LINE, line, PAGES_LINE);
	}
	return r;
}

int pages_read(const struct pages *p, struct gather *g, uint64_t offset,
	       size_t size, const uint8_t **ret_data, size_t *ret_len)
{
	uint64_t first = offset / PAGES_LINE;
	size_t skip = offset % PAGES_LINE, lines;
	int r;

	if (size > GATHER_READ_MAX)
		return err_set(-EINVAL, "a read of %zu bytes", size);
	if (offset >= pages_size(p))
		size = 0;
	else if (size > pages_size(p) - offset)
		size = (size_t)(pages_size(p) - offset);
	lines = size ? (skip + size + PAGES_LINE - 1) / PAGES_LINE : 0;
	assert(lines * PAGES_LINE <= GATHER_BUFFER_SIZE);
	r = put_lines(p, first, lines, (char *)gather_buffer(g));
	if (r < 0)
		return r;
	*ret_data = gather_buffer(g) + skip;
	*ret_len = size;
	return 0;
}
