#include <inttypes.h>
#include <string.h>

#include "fs/io/text.h"
#include "pagerd/ctl/look/picture.h"

/* In the picture's own units, which are pixels unless it is scaled. */
enum { CELL = 7, LEFT = 84, TOP = 46, RIGHT = 16, LINE = 20, MARK = 2 };

#define WORKING_COLOUR "#000000"
#define STYLE                                                    \
	"text{font:12px sans-serif;fill:#222}.h{font-size:15px}" \
	".r{text-anchor:end}"

static void print_escaped(FILE *to, const char *s)
{
	for (; *s; s++) {
		if (*s == '&')
			(void)fputs("&amp;", to);
		else if (*s == '<')
			(void)fputs("&lt;", to);
		else if (*s == '>')
			(void)fputs("&gt;", to);
		else
			(void)fputc(*s, to);
	}
}

static void print_box(FILE *to, size_t x, size_t y, size_t width, size_t height,
		      const char *colour)
{
	(void)fprintf(to,
		      "<rect x=\"%zu\" y=\"%zu\" width=\"%zu\" height=\"%zu\" "
		      "fill=\"%s\"/>\n",
		      x, y, width, height, colour);
}

static size_t row_end(const struct picture *p, size_t first)
{
	size_t left = p->count - first;

	return first + (left < p->columns ? left : p->columns);
}

/* Neighbours of one class are one box. */
static void print_classes(const struct picture *p, size_t first, size_t y,
			  FILE *to)
{
	size_t end = row_end(p, first), next;

	for (size_t i = first; i < end; i = next) {
		enum sharing_class class = picture_class_of(&p->cells[i]);

		for (next = i + 1; next < end; next++)
			if (picture_class_of(&p->cells[next]) != class)
				break;
		print_box(to, LEFT + (i - first) * CELL, y, (next - i) * CELL,
			  CELL - 1, picture_classes[class].colour);
	}
}

/* A line along the bottom of cells that are in the working set. */
static void print_marks(const struct picture *p, size_t first, size_t y,
			FILE *to)
{
	size_t end = row_end(p, first), next;

	for (size_t i = first; i < end; i = next) {
		bool working = picture_is_working(&p->cells[i]);

		for (next = i + 1; next < end; next++)
			if (picture_is_working(&p->cells[next]) != working)
				break;
		if (working)
			print_box(to, LEFT + (i - first) * CELL,
				  y + CELL - 1 - MARK, (next - i) * CELL, MARK,
				  WORKING_COLOUR);
	}
}

static void print_grid(const struct picture *p, FILE *to)
{
	char size[TEXT_SIZE_MAX];
	size_t row = 0;

	for (size_t i = 0; i < p->count; i += p->columns, row++) {
		size_t y = TOP + row * CELL;

		print_classes(p, i, y, to);
		print_marks(p, i, y, to);
		if (row % 8 == 0)
			(void)fprintf(
				to,
				"<text class=\"r\" x=\"%d\" y=\"%zu\">%s"
				"</text>\n",
				LEFT - 8, y + CELL + 1,
				text_size(i * p->cell_pages * PAGER_PAGE_SIZE,
					  size));
	}
}

static void print_entry(FILE *to, size_t y, const char *what, uint64_t pages)
{
	char size[TEXT_SIZE_MAX];

	(void)fprintf(to,
		      "<text x=\"%d\" y=\"%zu\">%s</text>\n"
		      "<text class=\"r\" x=\"%d\" y=\"%zu\">%" PRIu64
		      " page%s</text>\n"
		      "<text class=\"r\" x=\"%d\" y=\"%zu\">%s</text>\n",
		      LEFT + 20, y + 11, what, LEFT + 380, y + 11, pages,
		      pages == 1 ? "" : "s", LEFT + 470, y + 11,
		      text_size(pages * PAGER_PAGE_SIZE, size));
}

static void print_legend(const struct picture *p, size_t y, FILE *to)
{
	for (int i = 0; i < SHARING_CLASS_COUNT; i++, y += LINE) {
		print_box(to, LEFT, y, 12, 12, picture_classes[i].colour);
		print_entry(to, y, picture_classes[i].help, p->all.by_class[i]);
	}
	if (!p->has_working) {
		(void)fprintf(to,
			      "<text x=\"%d\" y=\"%zu\">no working set was "
			      "recorded</text>\n",
			      LEFT + 20, y + 11);
		return;
	}
	print_box(to, LEFT, y + 9, 12, MARK + 1, WORKING_COLOUR);
	print_entry(to, y, "in the working set: half of a cell or more",
		    p->all.working);
}

static void print_title(const struct picture *p, FILE *to)
{
	char size[TEXT_SIZE_MAX], cell[TEXT_SIZE_MAX];

	(void)fprintf(to, "<text class=\"h\" x=\"%d\" y=\"26\">", LEFT);
	print_escaped(to, p->name);
	(void)fprintf(to, ": %s, a cell is %" PRIu64 " page%s (%s)</text>\n",
		      text_size(p->size, size), p->cell_pages,
		      p->cell_pages == 1 ? "" : "s",
		      text_size(p->cell_pages * PAGER_PAGE_SIZE, cell));
}

void picture_print_svg(const struct picture *p, FILE *to)
{
	size_t rows = (p->count + p->columns - 1) / p->columns;
	size_t width = LEFT + (size_t)p->columns * CELL + RIGHT;
	size_t legend = TOP + rows * CELL + 16;
	size_t height = legend + (SHARING_CLASS_COUNT + 1) * LINE + 12;

	(void)fprintf(to,
		      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		      "<svg xmlns=\"http://www.w3.org/2000/svg\" "
		      "width=\"%zu\" height=\"%zu\" viewBox=\"0 0 %zu %zu\">\n"
		      "<style>" STYLE "</style>\n",
		      width, height, width, height);
	print_box(to, 0, 0, width, height, "#ffffff");
	print_title(p, to);
	print_grid(p, to);
	print_legend(p, legend, to);
	(void)fputs("</svg>\n", to);
}
