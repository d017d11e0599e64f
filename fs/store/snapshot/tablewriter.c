#include "fs/store/snapshot/tablewriter.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * open[level] is the node of that level on the path to the last leaf. A level
 * above the highest is kept as well: the root, whichever level it turns out to
 * have, then stands in entry 0 of the level above it, as every other node
 * stands in its parent. The levels need not be known before the end, which a
 * pipe does not tell.
 */
#define TOP (PAGER_LEVELS_MAX + 1)

struct open_node {
	uint64_t entries[PAGER_NODE_ENTRIES]; /* as on disk */
	bool used;			      /* some entry is not 0 */
};

struct tablewriter {
	tablewriter_put_fn *put;
	void *arg;
	uint64_t last; /* leaf added last, 0 before the first */
	struct open_node open[TOP + 1];
};

int tablewriter_new(tablewriter_put_fn *put, void *arg,
		    struct tablewriter **ret_writer)
{
	struct tablewriter *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->put = put;
	t->arg = arg;
	*ret_writer = t;
	return 0;
}

void tablewriter_free(struct tablewriter *t)
{
	free(t);
}

/* The number, among all of its level, of the node that holds `leaf`. */
static uint64_t node_number(uint64_t leaf, unsigned int level)
{
	return leaf >> PAGER_NODE_BITS * (level - 1);
}

static void set_entry(struct tablewriter *t, unsigned int level, uint64_t child,
		      uint64_t block)
{
	struct open_node *n = &t->open[level];

	n->entries[child % PAGER_NODE_ENTRIES] = htole64(block);
	n->used = n->used || block;
}

/* Stores the open node of a level and enters it in its parent. */
static int close_node(struct tablewriter *t, unsigned int level)
{
	struct open_node *n = &t->open[level];
	uint64_t block;
	int r;

	if (!n->used)
		return 0;
	r = t->put(t->arg, (enum pager_kind)level, (const uint8_t *)n->entries,
		   &block);
	if (r < 0)
		return r;
	set_entry(t, level + 1, node_number(t->last, level), block);
	memset(n, 0, sizeof(*n));
	return 0;
}

int tablewriter_leaf(struct tablewriter *t, uint64_t leaf,
		     const uint64_t ids[PAGER_NODE_ENTRIES])
{
	int r;

	assert(leaf >= t->last && node_number(leaf, TOP) == 0);
	for (unsigned int level = 2; level < TOP; level++) {
		if (node_number(t->last, level) == node_number(leaf, level))
			break;
		r = close_node(t, level);
		if (r < 0)
			return r;
	}
	t->last = leaf;
	for (unsigned int i = 0; i < PAGER_NODE_ENTRIES; i++)
		set_entry(t, 1, i, ids[i]);
	return close_node(t, 1);
}

int tablewriter_finish(struct tablewriter *t, uint64_t pages,
		       uint64_t *ret_root, unsigned int *ret_levels)
{
	unsigned int levels = pager_table_levels(pages);
	int r;

	assert(node_number(t->last, levels) == 0);
	for (unsigned int level = 2; level <= levels; level++) {
		r = close_node(t, level);
		if (r < 0)
			return r;
	}
	*ret_root = le64toh(t->open[levels + 1].entries[0]);
	*ret_levels = levels;
	return 0;
}
