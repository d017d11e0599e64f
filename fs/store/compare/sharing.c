#include "fs/store/compare/sharing.h"

#include <assert.h>
#include <stdlib.h>

#include "fs/store/compare/idset.h"
#include "fs/store/compare/tally.h"

struct sharing {
	pagetable_read_fn *read;
	void *arg;
	uint64_t pages;
	uint64_t *blocks; /* of each page of the image; 0: zero */
	struct tally tally;
	uint64_t hint;	    /* for the tally */
	uint8_t *elsewhere; /* a bit for each place in the tally */
	struct idset seen;  /* nodes of the others */
	uint64_t nodes_read;
};

static int read_node(struct sharing *s, uint64_t block, unsigned int level,
		     uint64_t ret_entries[PAGER_NODE_ENTRIES])
{
	s->nodes_read++;
	return pagetable_node(s->read, s->arg, block, level, ret_entries);
}

/* Notes the blocks of the image's pages below a node. */
static int load(struct sharing *s, uint64_t block, unsigned int level,
		uint64_t first)
{
	const uint64_t span = UINT64_C(1) << PAGER_NODE_BITS * (level - 1);
	uint64_t entries[PAGER_NODE_ENTRIES];
	int r = read_node(s, block, level, entries);

	for (unsigned int i = 0; r == 0 && i < PAGER_NODE_ENTRIES; i++) {
		uint64_t page = first + i * span;

		if (page >= s->pages)
			break;
		if (!entries[i])
			continue;
		if (level > 1) {
			r = load(s, entries[i], level - 1, page);
			continue;
		}
		s->blocks[page] = entries[i];
		tally_add(&s->tally, entries[i]);
	}
	return r;
}

int sharing_new(const struct manifest_file *image, pagetable_read_fn *read,
		void *arg, struct sharing **ret_sharing)
{
	struct sharing *s cleanup(cleanup_sharing) = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->read = read;
	s->arg = arg;
	s->pages = image->pages;
	s->blocks = calloc(s->pages + 1, sizeof(*s->blocks));
	s->elsewhere = calloc(s->pages / 8 + 1, 1);
	if (!s->blocks || !s->elsewhere)
		return -ENOMEM;
	r = tally_init(&s->tally, s->pages);
	if (r == 0 && image->root)
		r = load(s, image->root, image->levels, 0);
	if (r < 0)
		return r;
	tally_sort(&s->tally);
	*ret_sharing = steal_ptr(s);
	return 0;
}

void sharing_free(struct sharing *s)
{
	if (!s)
		return;
	free(s->blocks);
	free(s->elsewhere);
	tally_release(&s->tally);
	idset_release(&s->seen);
	free(s);
}

static void mark(struct sharing *s, uint64_t block)
{
	uint64_t at = tally_find(&s->tally, block, &s->hint);

	if (at != UINT64_MAX)
		s->elsewhere[at / 8] |= (uint8_t)(1u << at % 8);
}

/* Marks what is below a node, unless that was done before. */
static int visit(struct sharing *s, uint64_t block, unsigned int level)
{
	uint64_t entries[PAGER_NODE_ENTRIES];
	int r = idset_add(&s->seen, block);

	if (r <= 0)
		return r;
	r = read_node(s, block, level, entries);
	for (unsigned int i = 0; r == 0 && i < PAGER_NODE_ENTRIES; i++) {
		if (entries[i] && level == 1)
			mark(s, entries[i]);
		else if (entries[i])
			r = visit(s, entries[i], level - 1);
	}
	return r;
}

static int add_file(struct sharing *s, const struct manifest_file *file)
{
	return file->root ? visit(s, file->root, file->levels) : 0;
}

int sharing_add(struct sharing *s, const struct manifest *other)
{
	int r = add_file(s, &other->image);

	for (unsigned int i = 0; r == 0 && i < other->file_count; i++)
		r = add_file(s, &other->files[i]);
	return r;
}

uint64_t sharing_pages(const struct sharing *s)
{
	return s->pages;
}

enum sharing_class sharing_of(struct sharing *s, uint64_t page)
{
	uint64_t block, at;

	assert(page < s->pages);
	block = s->blocks[page];
	if (!block)
		return SHARING_ZERO;
	at = tally_find(&s->tally, block, &s->hint);
	assert(at != UINT64_MAX);
	if (s->elsewhere[at / 8] & 1u << at % 8)
		return SHARING_OTHERS;
	return at + 1 < s->tally.count && s->tally.blocks[at + 1] == block
		       ? SHARING_WITHIN
		       : SHARING_OWN;
}

uint64_t sharing_nodes_read(const struct sharing *s)
{
	return s->nodes_read;
}
