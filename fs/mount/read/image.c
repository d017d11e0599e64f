/*
 * A leaf node is asked of the cache for each read anew. That is one lookup for
 * up to 512 pages of answer, and saves every reader from owning leaves, and
 * from a lock where many share one open file.
 */
#include "fs/mount/read/image.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/io/page.h"
#include "fs/store/snapshot/pagetable.h"
#include "fs/store/snapshot/snapshot.h"

struct image {
	const struct view *view;
	struct snapshot *lease;
	struct pagetable *table;
	uint64_t size;
};

/* A struct pagetable_read_fn. */
static int read_node(void *arg, uint64_t block, uint8_t *ret_page,
		     uint8_t *ret_kind)
{
	const struct view *v = arg;

	return gather_block(v, block, CACHE_MOUNT_NODE, ret_page, ret_kind);
}

/* The name may have been removed and published anew since it was shown. */
static int check_same(const struct manifest *shown, const struct manifest *now)
{
	if (shown->created == now->created &&
	    shown->image.root == now->image.root &&
	    shown->image.size == now->image.size &&
	    memcmp(&shown->image.digest, &now->image.digest,
		   sizeof(now->image.digest)) == 0)
		return 0;
	return err_set(-ESTALE, "another snapshot has the name by now");
}

int image_open(const struct view *view, const struct snap *snap,
	       const char *key, struct image **ret_image)
{
	struct image *img cleanup(cleanup_image) = calloc(1, sizeof(*img));
	const struct manifest_file *file;
	const struct manifest *m;
	int r;

	if (!img)
		return -ENOMEM;
	img->view = view;
	r = snapshot_open(view->store, snap->name, &img->lease);
	if (r < 0)
		return r;
	m = snapshot_manifest(img->lease);
	r = check_same(&snap->manifest, m);
	if (r < 0)
		return r;
	file = manifest_find(m, key);
	if (!file)
		return -ENOENT;
	img->size = file->size;
	r = pagetable_open(file, read_node, (void *)view, &img->table);
	if (r < 0)
		return r;
	*ret_image = steal_ptr(img);
	return 0;
}

void image_close(struct image *img)
{
	if (!img)
		return;
	pagetable_free(img->table);
	snapshot_unref(img->lease);
	free(img);
}

const struct view *image_view(const struct image *img)
{
	return img->view;
}

uint64_t image_size(const struct image *img)
{
	return img->size;
}

uint64_t image_pages(const struct image *img)
{
	return pagetable_pages(img->table);
}

static int parse_entries(const uint8_t *node, uint8_t kind, uint64_t first,
			 unsigned int count, uint64_t *ret_blocks)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < count; i++)
		r = pagetable_entry(node, kind, first + i, &ret_blocks[i]);
	return r;
}

/*
 * Block ids of `count` pages from `first` on, all of one leaf node. Mostly
 * that node is in the cache and is read where it lies there.
 */
static int read_entries(const struct image *img, uint64_t first,
			unsigned int count, uint64_t *ret_blocks)
{
	uint64_t block = pagetable_leaf(img->table, first);
	uint8_t node[PAGER_PAGE_SIZE], kind;
	struct cache_ref ref;
	int r;

	if (!block) {
		memset(ret_blocks, 0, count * sizeof(*ret_blocks));
		return 0;
	}
	r = gather_pin(img->view, block, CACHE_MOUNT_NODE, &ref);
	if (r == 0) {
		r = parse_entries(ref.data, ref.kind, first, count, ret_blocks);
		cache_unpin(&ref);
		return r;
	}
	if (r == -EBUSY)
		r = read_node((void *)img->view, block, node, &kind);
	return r < 0 ? r : parse_entries(node, kind, first, count, ret_blocks);
}

int image_leaf(const struct image *img, uint64_t leaf,
	       uint64_t ret_blocks[PAGER_NODE_ENTRIES])
{
	uint64_t first = leaf * PAGER_NODE_ENTRIES;
	uint64_t left = image_pages(img) - first;
	unsigned int count = left < PAGER_NODE_ENTRIES ? (unsigned int)left
						       : PAGER_NODE_ENTRIES;
	int r = read_entries(img, first, count, ret_blocks);

	return r < 0 ? r : (int)count;
}

/* Zero pages at once, and what is to be gathered into `wants`. */
static int sort_pages(const struct image *img, uint64_t first, size_t count,
		      uint8_t *buffer, struct gather_want *wants)
{
	uint64_t blocks[PAGER_NODE_ENTRIES];
	int n = 0;

	while (count) {
		size_t left = PAGER_NODE_ENTRIES - first % PAGER_NODE_ENTRIES;
		size_t here = count < left ? count : left;
		int r = read_entries(img, first, (unsigned int)here, blocks);

		if (r < 0)
			return r;
		for (size_t i = 0; i < here; i++) {
			if (blocks[i])
				wants[n++] =
					(struct gather_want){blocks[i], buffer};
			else
				memset(buffer, 0, PAGER_PAGE_SIZE);
			buffer += PAGER_PAGE_SIZE;
		}
		first += here;
		count -= here;
	}
	return n;
}

int image_read(const struct image *img, struct gather *g, uint64_t offset,
	       size_t size, const uint8_t **ret_data, size_t *ret_len)
{
	uint8_t *buffer = gather_buffer(g);
	size_t skip = offset % PAGER_PAGE_SIZE;
	size_t pages;
	int n, r;

	if (size > GATHER_READ_MAX)
		return err_set(-EINVAL, "a read of %zu bytes", size);
	if (offset >= img->size)
		size = 0;
	else if (size > img->size - offset)
		size = (size_t)(img->size - offset);
	pages = size ? (skip + size + PAGER_PAGE_SIZE - 1) / PAGER_PAGE_SIZE
		     : 0;
	assert(pages * PAGER_PAGE_SIZE <= GATHER_BUFFER_SIZE);
	n = sort_pages(img, offset / PAGER_PAGE_SIZE, pages, buffer,
		       gather_wants(g));
	if (n < 0)
		return n;
	r = gather_pages(g, img->view, gather_wants(g), (size_t)n);
	if (r < 0)
		return r;
	*ret_data = buffer + skip;
	*ret_len = size;
	return 0;
}

/* The first page from `page` on that is zero, or is not; or their number. */
static int find_page(const struct image *img, uint64_t page, bool zero,
		     uint64_t *ret_page)
{
	uint64_t blocks[PAGER_NODE_ENTRIES];
	uint64_t pages = image_pages(img);

	while (page < pages) {
		uint64_t leaf = page / PAGER_NODE_ENTRIES;
		unsigned int at = page % PAGER_NODE_ENTRIES;
		int count;

		if (!pagetable_leaf(img->table, page)) {
			if (zero)
				break;
			page = (leaf + 1) * PAGER_NODE_ENTRIES;
			continue;
		}
		count = image_leaf(img, leaf, blocks);
		if (count < 0)
			return count;
		while (at < (unsigned int)count && (blocks[at] == 0) != zero)
			at++;
		page = leaf * PAGER_NODE_ENTRIES + at;
		if (at < (unsigned int)count)
			break;
	}
	*ret_page = page < pages ? page : pages;
	return 0;
}

int image_seek_data(const struct image *img, uint64_t offset,
		    uint64_t *ret_offset)
{
	uint64_t page, first = offset / PAGER_PAGE_SIZE;
	int r;

	if (offset >= img->size)
		return -ENXIO;
	r = find_page(img, first, false, &page);
	if (r < 0)
		return r;
	if (page >= image_pages(img))
		return -ENXIO;
	*ret_offset = page == first ? offset : page * PAGER_PAGE_SIZE;
	return 0;
}

int image_seek_hole(const struct image *img, uint64_t offset,
		    uint64_t *ret_offset)
{
	uint64_t page, first = offset / PAGER_PAGE_SIZE;
	int r;

	if (offset >= img->size)
		return -ENXIO;
	r = find_page(img, first, true, &page);
	if (r < 0)
		return r;
	if (page >= image_pages(img))
		*ret_offset = img->size;
	else
		*ret_offset = page == first ? offset : page * PAGER_PAGE_SIZE;
	return 0;
}
