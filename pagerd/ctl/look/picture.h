/*
 * The picture of a memory: a grid of cells, left to right and down, each for
 * the same number of pages, drawn as what most of its pages are. Where two
 * classes are equally many the later in enum sharing_class is drawn.
 *
 * In a terminal a cell is a character of its own for each class, so that the
 * picture can be read without colour, and a capital letter (':' for zeros)
 * where at least half of its pages are in the working set.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fs/store/compare/sharing.h"

struct picture_cell {
	uint64_t pages; /* the last cell may have fewer than the others */
	uint64_t by_class[SHARING_CLASS_COUNT];
	uint64_t working; /* of them in the working set */
};

struct picture {
	const char *name;	    /* of the snapshot */
	uint64_t size;		    /* of the image, in bytes */
	struct picture_cell *cells; /* owned */
	size_t count;
	unsigned int columns;
	uint64_t cell_pages;	 /* a power of two */
	struct picture_cell all; /* the sums */
	bool has_working;	 /* a working set was recorded */
};

/* Its word, its character in the picture, and its words in the legend. */
struct picture_class {
	const char *name;
	char plain, working;
	const char *help;
	const char *ansi;   /* colour in a terminal: an SGR parameter */
	const char *colour; /* in an SVG */
};

extern const struct picture_class picture_classes[SHARING_CLASS_COUNT];

/*
 * At most `columns` times `rows` cells. `working` has a bit for each page of
 * the working set, or is NULL; it and `s` are only read here. -ENOMEM.
 */
int picture_init(struct picture *p, struct sharing *s, const uint8_t *working,
		 unsigned int columns, unsigned int rows);
void picture_release(struct picture *p);

enum sharing_class picture_class_of(const struct picture_cell *cell);
bool picture_is_working(const struct picture_cell *cell);

/* Within 80 columns. */
void picture_print(const struct picture *p, FILE *to, bool colour);

/* The counts of each class, and of the working set. */
void picture_print_legend(const struct picture *p, FILE *to, bool colour);

/* A whole SVG document with a legend. */
void picture_print_svg(const struct picture *p, FILE *to);
