/*
 * Images that look like a guest's memory, made from a seed: the same seed and
 * size give the same bytes. What real guests hold (FACTS of the project: 71 %
 * zero pages, the rest compresses to about 0.27 at 4 KiB) is imitated by
 * text, tables of pointers, code-like bytes, repeated pages and noise.
 */
#pragma once

#include <stdint.h>

struct image_recipe {
	uint64_t seed;
	uint64_t bytes;		   /* a multiple of 4096 */
	unsigned int zero_percent; /* pages that are zero, in runs */
};

/* Writes the image to a new file; 0 or a negative errno with err_text(). */
int image_make(const char *path, const struct image_recipe *recipe);

struct image_content {
	uint64_t pages, zero_pages;
	uint64_t unique_pages; /* distinct contents that are not zero */
};

/* Counts distinct pages by their bytes' 128-bit digest. */
int image_survey(const char *path, struct image_content *ret_content);
