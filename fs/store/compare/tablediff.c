#include "fs/store/compare/tablediff.h"

#include <string.h>

/*
 * Tables of files of different sizes may have different levels. The lower one
 * is thought to have further nodes on top, each with its table as entry 0 and
 * zeros behind it; nothing of them is stored or read.
 */
struct walk {
	const struct tablediff *d;
	const struct manifest_file *files[2];
	uint64_t pages;		    /* that both files have */
	struct tablediff_run found; /* not reported yet; count 0: none */
};

static bool is_real(const struct walk *w, int side, unsigned int level)
{
	return level <= w->files[side]->levels;
}

/* A real node and a thought one are never the same, whatever they say. */
static bool is_same(const struct walk *w, unsigned int level,
		    const uint64_t blocks[2])
{
	if (blocks[0] != blocks[1])
		return false;
	return blocks[0] == 0 || level == 0 ||
	       is_real(w, 0, level) == is_real(w, 1, level);
}

static int enter(const struct walk *w, int side, unsigned int level,
		 uint64_t block, uint64_t ret_entries[PAGER_NODE_ENTRIES])
{
	if (block && is_real(w, side, level))
		return pagetable_node(w->d->read, w->d->read_arg, block, level,
				      ret_entries);
	memset(ret_entries, 0, PAGER_PAGE_SIZE);
	ret_entries[0] = block;
	return 0;
}

static int report(struct walk *w)
{
	return w->found.count ? w->d->run(w->d->run_arg, &w->found) : 0;
}

static int note(struct walk *w, uint64_t first, uint64_t count,
		enum tablediff_change change)
{
	struct tablediff_run *f = &w->found;
	int r;

	if (f->count && f->change == change && f->first + f->count == first) {
		f->count += count;
		return 0;
	}
	r = report(w);
	*f = (struct tablediff_run){first, count, change};
	return r;
}

static int note_page(struct walk *w, uint64_t page, const uint64_t blocks[2])
{
	if (blocks[0] && blocks[1])
		return note(w, page, 1, TABLEDIFF_CHANGED);
	return note(w, page, 1,
		    blocks[0] ? TABLEDIFF_TO_ZERO : TABLEDIFF_FROM_ZERO);
}

/* The nodes of `level` that map from page `first` on; they differ. */
static int compare(struct walk *w, unsigned int level, const uint64_t blocks[2],
		   uint64_t first)
{
	const uint64_t span = UINT64_C(1) << PAGER_NODE_BITS * (level - 1);
	uint64_t entries[2][PAGER_NODE_ENTRIES];
	int r = 0;

	for (int side = 0; r == 0 && side < 2; side++)
		r = enter(w, side, level, blocks[side], entries[side]);
	for (unsigned int i = 0; r == 0 && i < PAGER_NODE_ENTRIES; i++) {
		const uint64_t below[2] = {entries[0][i], entries[1][i]};
		uint64_t page = first + i * span;

		if (page >= w->pages)
			break;
		if (is_same(w, level - 1, below))
			continue;
		r = level == 1 ? note_page(w, page, below)
			       : compare(w, level - 1, below, page);
	}
	return r;
}

int tablediff_run(const struct tablediff *d)
{
	struct walk w = {.d = d, .files = {d->a, d->b}};
	const uint64_t roots[2] = {d->a->root, d->b->root};
	bool a_is_longer = d->a->pages > d->b->pages;
	const struct manifest_file *longer = a_is_longer ? d->a : d->b;
	unsigned int levels = d->a->levels > d->b->levels ? d->a->levels
							  : d->b->levels;
	int r = 0;

	w.pages = a_is_longer ? d->b->pages : d->a->pages;
	if (w.pages && !is_same(&w, levels, roots))
		r = compare(&w, levels, roots, 0);
	if (r == 0 && longer->pages > w.pages)
		r = note(&w, w.pages, longer->pages - w.pages,
			 a_is_longer ? TABLEDIFF_ONLY_A : TABLEDIFF_ONLY_B);
	return r ? r : report(&w);
}

const char *tablediff_change_name(enum tablediff_change change)
{
	static const char *const names[TABLEDIFF_CHANGE_COUNT] = {
		[TABLEDIFF_CHANGED] = "changed",
		[TABLEDIFF_TO_ZERO] = "to-zero",
		[TABLEDIFF_FROM_ZERO] = "from-zero",
		[TABLEDIFF_ONLY_A] = "only-a",
		[TABLEDIFF_ONLY_B] = "only-b",
	};

	return names[change];
}
