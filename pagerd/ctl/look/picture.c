#include "pagerd/ctl/look/picture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/io/text.h"

/* Colours that those tell apart who see no red or no green. */
const struct picture_class picture_classes[SHARING_CLASS_COUNT] = {
	[SHARING_ZERO] = {"zero", '.', ':', "zero", "2", "#e4e4e4"},
	[SHARING_OWN] = {"own", 'o', 'O', "own: no other page has it", "33",
			 "#e69f00"},
	[SHARING_WITHIN] = {"within", 'w', 'W', "shared within the image", "35",
			    "#cc79a7"},
	[SHARING_OTHERS] = {"others", 's', 'S', "shared with other snapshots",
			    "36", "#0072b2"},
};

static void add_page(struct picture_cell *c, enum sharing_class class,
		     bool working)
{
	c->pages++;
	c->by_class[class]++;
	c->working += working;
}

int picture_init(struct picture *p, struct sharing *s, const uint8_t *working,
		 unsigned int columns, unsigned int rows)
{
	const uint64_t pages = sharing_pages(s);
	const uint64_t most = (uint64_t)columns * rows;

	*p = (struct picture){
		.columns = columns, .cell_pages = 1, .has_working = working};
	while ((pages + p->cell_pages - 1) / p->cell_pages > most)
		p->cell_pages *= 2;
	p->count = (size_t)((pages + p->cell_pages - 1) / p->cell_pages);
	p->cells = calloc(p->count + 1, sizeof(*p->cells));
	if (!p->cells)
		return -ENOMEM;
	for (uint64_t page = 0; page < pages; page++) {
		enum sharing_class class = sharing_of(s, page);
		bool in_set = working && working[page / 8] & 1u << page % 8;

		add_page(&p->cells[page / p->cell_pages], class, in_set);
		add_page(&p->all, class, in_set);
	}
	return 0;
}

void picture_release(struct picture *p)
{
	free(p->cells);
	p->cells = NULL;
}

enum sharing_class picture_class_of(const struct picture_cell *cell)
{
	int most = 0;

	for (int i = 1; i < SHARING_CLASS_COUNT; i++)
		if (cell->by_class[i] >= cell->by_class[most])
			most = i;
	return (enum sharing_class)most;
}

bool picture_is_working(const struct picture_cell *cell)
{
	return cell->working && 2 * cell->working >= cell->pages;
}

/* The colour's escape sequence; "" for none. */
static const char *sequence(enum sharing_class class, bool working,
			    char buf[16])
{
	(void)snprintf(buf, 16, "\033[0;%s%sm", picture_classes[class].ansi,
		       working ? ";1;7" : "");
	return buf;
}

static void print_row(const struct picture *p, size_t first, FILE *to,
		      bool colour)
{
	char size[TEXT_SIZE_MAX], buf[16], last[16] = "";
	uint64_t offset = first * p->cell_pages * PAGER_PAGE_SIZE;

	(void)fprintf(to, "%11s |", text_size(offset, size));
	for (size_t i = first; i < first + p->columns && i < p->count; i++) {
		enum sharing_class class = picture_class_of(&p->cells[i]);
		bool working = picture_is_working(&p->cells[i]);

		if (colour &&
		    strcmp(sequence(class, working, buf), last) != 0) {
			(void)fputs(buf, to);
			memcpy(last, buf, sizeof(last));
		}
		(void)fputc(working ? picture_classes[class].working
				    : picture_classes[class].plain,
			    to);
	}
	(void)fprintf(to, "%s|\n", colour ? "\033[0m" : "");
}

void picture_print(const struct picture *p, FILE *to, bool colour)
{
	char size[TEXT_SIZE_MAX], cell[TEXT_SIZE_MAX];

	(void)fprintf(to,
		      "%s: %s, %" PRIu64 " pages; a character is %" PRIu64
		      " page%s (%s)\n\n",
		      p->name, text_size(p->size, size), p->all.pages,
		      p->cell_pages, p->cell_pages == 1 ? "" : "s",
		      text_size(p->cell_pages * PAGER_PAGE_SIZE, cell));
	for (size_t i = 0; i < p->count; i += p->columns)
		print_row(p, i, to, colour);
}

static void print_count(FILE *to, const char *what, uint64_t pages)
{
	char size[TEXT_SIZE_MAX];

	(void)fprintf(to, "  %-30s %13" PRIu64 " page%s %12s\n", what, pages,
		      pages == 1 ? " " : "s",
		      text_size(pages * PAGER_PAGE_SIZE, size));
}

void picture_print_legend(const struct picture *p, FILE *to, bool colour)
{
	char buf[16];

	(void)fputc('\n', to);
	for (int i = 0; i < SHARING_CLASS_COUNT; i++) {
		const struct picture_class *c = &picture_classes[i];

		(void)fprintf(
			to, "%s%c%s",
			colour ? sequence((enum sharing_class)i, false, buf)
			       : "",
			c->plain, colour ? "\033[0m" : "");
		print_count(to, c->help, p->all.by_class[i]);
	}
	if (!p->has_working) {
		(void)fputs("   no working set was recorded\n", to);
		return;
	}
	(void)fputc(' ', to);
	print_count(to, "in the working set", p->all.working);
	(void)fprintf(to, "   :, O, W, S: where that is half of the cell\n");
}
