/*
 * A page table whose nodes are the input, opened and looked up. The input:
 * size of the file (u64), root (u64), then records of 12 bytes that each set
 * one entry of a node: node (u8), kind of the node (u8), entry (u16), value
 * (u64). Node n is block n + 1 of pack 1.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/io/page.h"
#include "fs/store/snapshot/pagetable.h"
#include "tests/fuzz/fuzz.h"

enum { NODES = 256, HEAD = 16, RECORD = 12 };

int fuzz_last_result;

static struct {
	uint8_t kinds[NODES];
	uint64_t nodes[NODES][PAGER_NODE_ENTRIES];
	uint64_t reads;
} memory;

static int read_node(void *arg, uint64_t block, uint8_t *ret_page,
		     uint8_t *ret_kind)
{
	uint32_t n = pager_block_slot(block) - 1;

	(void)arg;
	memory.reads++;
	if (pager_block_pack(block) != 1 || n >= NODES)
		return -ENOENT;
	memcpy(ret_page, memory.nodes[n], PAGER_PAGE_SIZE);
	*ret_kind = memory.kinds[n];
	return 0;
}

static void fill(const uint8_t *data, size_t size)
{
	memset(&memory, 0, sizeof(memory));
	for (; size >= RECORD; data += RECORD, size -= RECORD) {
		uint16_t entry;

		memcpy(&entry, data + 2, sizeof(entry));
		memory.kinds[data[0]] = data[1];
		memcpy(&memory.nodes[data[0]][entry % PAGER_NODE_ENTRIES],
		       data + 4, 8);
	}
}

/* Some pages, and what the leaves say about them. */
static int look_up(const struct pagetable *t)
{
	uint64_t pages = pagetable_pages(t), block;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < 64 && pages; i++) {
		uint64_t page = i < 32 ? i * (pages / 32) : pages - 1 - i % 32;
		uint8_t node[PAGER_PAGE_SIZE], kind;
		uint64_t leaf;

		if (page >= pages)
			continue;
		leaf = pagetable_leaf(t, page);
		if (!leaf)
			continue;
		r = read_node(NULL, leaf, node, &kind);
		if (r == 0)
			r = pagetable_entry(node, kind, page, &block);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest_file f = {0};
	struct pagetable *t;

	fuzz_last_result = -EBADMSG;
	if (size < HEAD)
		return 0;
	memcpy(&f.size, data, 8);
	memcpy(&f.root, data + 8, 8);
	/* What a manifest would have been refused for. */
	f.size %= PAGER_IMAGE_SIZE_MAX + 1;
	f.pages = page_count(f.size);
	f.levels = pager_table_levels(f.pages);
	if (f.pages == 0 || !pagetable_block_is_possible(f.root))
		return 0;
	fill(data + HEAD, size - HEAD);
	fuzz_last_result = pagetable_open(&f, read_node, NULL, &t);
	/* A node is read once for each level that it can be taken for. */
	if (memory.reads > (uint64_t)NODES * PAGER_LEVELS_MAX + 1)
		abort();
	if (fuzz_last_result == 0) {
		fuzz_last_result = look_up(t);
		pagetable_free(t);
	}
	return 0;
}
