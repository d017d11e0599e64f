#include "tests/unit/store/compare/nodes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/store/snapshot/tablewriter.h"

/* Node n is block n of pack 1. */
struct nodes nodes;

int nodes_setup(void **state)
{
	(void)state;
	nodes = (struct nodes){.room = 16384};
	nodes.pages = calloc(nodes.room, sizeof(*nodes.pages));
	nodes.kinds = calloc(nodes.room, 1);
	nodes.hashes = calloc(nodes.room, sizeof(*nodes.hashes));
	return nodes.pages && nodes.kinds && nodes.hashes ? 0 : -1;
}

int nodes_teardown(void **state)
{
	(void)state;
	free(nodes.pages);
	free(nodes.kinds);
	free(nodes.hashes);
	return 0;
}

static uint64_t hash_of(const uint8_t *node)
{
	uint64_t hash = 1, word;

	for (size_t at = 0; at < PAGER_PAGE_SIZE; at += sizeof(word)) {
		memcpy(&word, node + at, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	return hash;
}

static size_t find(uint8_t kind, uint64_t hash, const uint8_t *node)
{
	for (size_t n = 0; n < nodes.count; n++)
		if (nodes.hashes[n] == hash && nodes.kinds[n] == kind &&
		    memcmp(nodes.pages[n], node, PAGER_PAGE_SIZE) == 0)
			return n;
	return nodes.count;
}

/* A tablewriter_put_fn. */
static int put(void *arg, enum pager_kind kind, const uint8_t *node,
	       uint64_t *ret_block)
{
	uint64_t hash = hash_of(node);
	size_t n = find((uint8_t)kind, hash, node);

	(void)arg;
	if (n == nodes.count) {
		assert_true(nodes.count < nodes.room);
		nodes.kinds[n] = (uint8_t)kind;
		nodes.hashes[n] = hash;
		memcpy(nodes.pages[n], node, PAGER_PAGE_SIZE);
		nodes.count++;
	}
	*ret_block = pager_block_id(1, (uint32_t)n);
	return 0;
}

int nodes_read(void *arg, uint64_t block, uint8_t *ret_page, uint8_t *ret_kind)
{
	size_t n = pager_block_slot(block);

	(void)arg;
	nodes.reads++;
	if (block == nodes.bad)
		return err_set(-EBADMSG, "a bad block");
	if (pager_block_pack(block) != 1 || n >= nodes.count)
		return err_set(-ENOENT, "no such block");
	memcpy(ret_page, nodes.pages[n], PAGER_PAGE_SIZE);
	*ret_kind = nodes.kinds[n];
	return 0;
}

struct manifest_file nodes_table(const uint64_t *blocks, uint64_t pages)
{
	struct manifest_file f = {
		.pages = pages, .size = pages * PAGER_PAGE_SIZE, .levels = 1};
	struct tablewriter *w = NULL;

	assert_int_equal(tablewriter_new(put, NULL, &w), 0);
	for (uint64_t page = 0; page < pages; page += PAGER_NODE_ENTRIES) {
		uint64_t ids[PAGER_NODE_ENTRIES] = {0}, any = 0;

		for (uint64_t i = 0; i < PAGER_NODE_ENTRIES && page + i < pages;
		     i++)
			any |= ids[i] = blocks[page + i];
		if (any)
			assert_int_equal(
				tablewriter_leaf(w, page / PAGER_NODE_ENTRIES,
						 ids),
				0);
	}
	assert_int_equal(tablewriter_finish(w, pages, &f.root, &f.levels), 0);
	tablewriter_free(w);
	return f;
}

uint64_t nodes_page(uint64_t content)
{
	return pager_block_id(2 + content / 1000000,
			      (uint32_t)(content % 1000000));
}
