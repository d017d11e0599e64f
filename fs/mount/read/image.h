/*
 * A file of a snapshot that is open for reading: the memory image, the
 * vmstate, or what was attached. It holds a lease on the snapshot, so that
 * the snapshot cannot be removed meanwhile, and its page table's directory.
 * Constant once open: any number of threads read it at once.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/mount/read/gather.h"
#include "fs/mount/view/snaps.h"
#include "pager/pagetable.h"

struct image;

/*
 * The file `key` of `snap`. -ENOENT: the snapshot was removed; -ESTALE: its
 * name belongs to another by now; -EBADMSG, -EIO: its page table is damaged
 * or cannot be read. `view` is borrowed, `snap` is not kept.
 */
int image_open(const struct view *view, const struct snap *snap,
	       const char *key, struct image **ret_image);
void image_close(struct image *img); /* accepts NULL */
DEFINE_CLEANUP(image, struct image *, image_close)

const struct view *image_view(const struct image *img);
uint64_t image_size(const struct image *img);
uint64_t image_pages(const struct image *img);

/*
 * The bytes from `offset` on: `size` of them, at most GATHER_READ_MAX, and
 * fewer only where the file ends. They stand in the gather's buffer until its
 * next use. -EINVAL above that size, for a short answer means the file's end
 * to the kernel, which would show zeros for what is missing.
 */
int image_read(const struct image *img, struct gather *g, uint64_t offset,
	       size_t size, const uint8_t **ret_data, size_t *ret_len);

/*
 * lseek(2)'s SEEK_DATA and SEEK_HOLE: zero pages are holes, and so is the
 * end. -ENXIO at and past the end, and where no data follows.
 */
int image_seek_data(const struct image *img, uint64_t offset,
		    uint64_t *ret_offset);
int image_seek_hole(const struct image *img, uint64_t offset,
		    uint64_t *ret_offset);

/*
 * The block ids of the pages of one leaf node, 0 for zero pages: as many as
 * the file has there, which are returned (at most 512, negative on errors).
 */
int image_leaf(const struct image *img, uint64_t leaf,
	       uint64_t ret_blocks[PAGER_NODE_ENTRIES]);
