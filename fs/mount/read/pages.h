/*
 * The text `pages` of a snapshot: its image's page runs, a line each.
 *
 *   first page   13 columns, decimal
 *   count        13, pages of the run
 *   kind         "zero " or "block"
 *   digest       32, of the block; 32 dashes for zero pages
 *   shared by    10: how many pages of this image hold the same block; for
 *                zero pages, how many are zero
 *
 * A run is of equal pages: one of zeros, or one and the same block again and
 * again, so most lines have count 1. Columns are parted by one space, and all
 * lines are of one length, so that any part of the text can be made without
 * what is before it: it is never in memory as a whole.
 *
 * "Shared by" is within the image on purpose: who else in the store refers to
 * a block changes with every publish, and the text of a snapshot is constant.
 */
#pragma once

#include "fs/mount/read/image.h"

#define PAGES_LINE 78u /* bytes, the newline counted */

/* The size of the text, in bytes. Reads every leaf node once. */
int pages_text_size(const struct image *img, uint64_t *ret_size);

/*
 * The open text; any number of threads read it at once. Takes `img` over in
 * any case. Holds 8 bytes for each page that is not zero.
 */
struct pages;
int pages_open(struct image *img, struct pages **ret_pages);
void pages_close(struct pages *p); /* accepts NULL */
DEFINE_CLEANUP(pages, struct pages *, pages_close)

uint64_t pages_size(const struct pages *p);

/* As image_read(). Digests are made of the blocks' bytes, read for that. */
int pages_read(const struct pages *p, struct gather *g, uint64_t offset,
	       size_t size, const uint8_t **ret_data, size_t *ret_len);
