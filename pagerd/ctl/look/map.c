#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/store.h"
#include "fs/store/workingset/wsfile.h"
#include "pagerd/ctl/look/look.h"
#include "pagerd/ctl/look/picture.h"
#include "pagerd/ctl/term/output.h"

/* In a terminal: with the offsets in front within 80 columns. */
#define TERM_COLUMNS 64u
#define TERM_ROWS    24u
#define SVG_COLUMNS  128u
#define SVG_ROWS     96u

struct map {
	struct store *store;
	struct snapshot *snapshot;
	struct sharing *sharing;
	uint8_t *working;    /* a bit for each page; NULL: none recorded */
	unsigned int others; /* snapshots it was compared with */
	uint64_t page;	     /* for the rows of the document */
};

static void map_release(struct map *m)
{
	sharing_free(m->sharing);
	snapshot_unref(m->snapshot);
	store_unref(m->store);
	free(m->working);
}

static const struct manifest_file *image_of(const struct map *m)
{
	return &snapshot_manifest(m->snapshot)->image;
}

static int add_other(struct map *m, const char *name)
{
	struct snapshot *other cleanup(cleanup_snapshot) = NULL;
	int r = snapshot_open(m->store, name, &other);

	/* Removed since the names were read. */
	if (r == -ENOENT)
		return STATUS_DONE;
	if (r == 0)
		r = sharing_add(m->sharing, snapshot_manifest(other));
	if (r < 0)
		return output_error(name, r);
	m->others++;
	return STATUS_DONE;
}

/* One that is damaged is told, and the others are looked at. */
static int add_others(struct map *m)
{
	int status = STATUS_DONE, r;
	char **names = NULL;
	size_t count = 0;

	r = snapshot_list(m->store, &names, &count);
	if (r < 0)
		return output_error("map", r);
	for (size_t i = 0; i < count; i++) {
		int one = STATUS_DONE;

		err_clear();
		if (strcmp(names[i], snapshot_name(m->snapshot)) != 0)
			one = add_other(m, names[i]);
		if (status == STATUS_DONE)
			status = one;
	}
	snapshot_names_free(names, count);
	return status;
}

static int load_working(struct map *m)
{
	struct workingset set cleanup(workingset_release) = {0};
	const struct manifest_file *image = image_of(m);
	int r = wsfile_load(m->store, &image->digest, image->pages, &set);

	if (r == -ENOENT)
		return STATUS_DONE;
	if (r < 0)
		return output_error("the working set", r);
	m->working = calloc(image->pages / 8 + 1, 1);
	if (!m->working)
		return output_error("map", -ENOMEM);
	for (size_t i = 0; i < set.count; i++) {
		uint64_t page = set.entries[i].page;

		if (page < image->pages)
			m->working[page / 8] |= (uint8_t)(1u << page % 8);
	}
	return STATUS_DONE;
}

static bool is_working(const struct map *m, uint64_t page)
{
	return m->working && m->working[page / 8] & 1u << page % 8;
}

/* An output_row_fn: runs of pages of one class, in the working set or not. */
static json_t *next_run(void *arg)
{
	struct map *m = arg;
	const uint64_t pages = sharing_pages(m->sharing), first = m->page;
	enum sharing_class class;
	bool working;

	if (first == pages)
		return NULL;
	class = sharing_of(m->sharing, first);
	working = is_working(m, first);
	do {
		m->page++;
	} while (m->page < pages && sharing_of(m->sharing, m->page) == class &&
		 is_working(m, m->page) == working);
	return json_pack("{s:I, s:I, s:s, s:b}", "first", (json_int_t)first,
			 "count", (json_int_t)(m->page - first), "class",
			 picture_classes[class].name, "working_set", working);
}

static json_t *count_value(uint64_t pages)
{
	return json_pack("{s:I, s:I}", "pages", (json_int_t)pages, "bytes",
			 (json_int_t)pages * PAGER_PAGE_SIZE);
}

static int print_json(const struct invocation *inv, struct map *m,
		      const struct picture *p)
{
	json_t *document = json_pack(
		"{s:s, s:I, s:I, s:I, s:I}", "name", p->name, "size",
		(json_int_t)p->size, "pages", (json_int_t)p->all.pages,
		"compared_with", (json_int_t)m->others, "nodes_read",
		(json_int_t)sharing_nodes_read(m->sharing));

	for (int i = 0; i < SHARING_CLASS_COUNT; i++)
		(void)json_object_set_new(document, picture_classes[i].name,
					  count_value(p->all.by_class[i]));
	(void)json_object_set_new(document, "working_set",
				  p->has_working ? count_value(p->all.working)
						 : json_null());
	return output_json_rows(inv, document, "runs", next_run, m);
}

static int draw(struct map *m, bool svg, struct picture *ret_picture)
{
	int r = picture_init(ret_picture, m->sharing, m->working,
			     svg ? SVG_COLUMNS : TERM_COLUMNS,
			     svg ? SVG_ROWS : TERM_ROWS);

	ret_picture->name = snapshot_name(m->snapshot);
	ret_picture->size = image_of(m)->size;
	return r;
}

static int write_svg(struct map *m, const char *path)
{
	struct picture p cleanup(picture_release) = {0};
	int r = draw(m, true, &p), bad;
	FILE *f;

	if (r < 0)
		return output_error("map", r);
	if (strcmp(path, "-") == 0) {
		picture_print_svg(&p, stdout);
		return STATUS_DONE;
	}
	f = fopen(path, "we");
	if (!f)
		return output_error(path, -errno);
	picture_print_svg(&p, f);
	bad = ferror(f);
	if (fclose(f) != 0 || bad)
		return output_error(path, -(errno ?: EIO));
	return STATUS_DONE;
}

static bool wants_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (!no || !*no) && term &&
	       strcmp(term, "dumb") != 0;
}

static int print_picture(const struct invocation *inv, struct map *m)
{
	struct picture p cleanup(picture_release) = {0};
	int r = draw(m, false, &p);

	if (r < 0)
		return output_error("map", r);
	if (inv->json)
		return print_json(inv, m, &p);
	picture_print(&p, stdout, wants_colour());
	if (!inv->quiet)
		picture_print_legend(&p, stdout, wants_colour());
	return STATUS_DONE;
}

static int print_all(const struct invocation *inv, struct map *m)
{
	const char *svg = parse_value(inv, OPTION_SVG);
	int status = svg ? write_svg(m, svg) : STATUS_DONE;

	if (status == STATUS_DONE && (!svg || inv->json))
		status = print_picture(inv, m);
	return status;
}

static int open_map(const struct invocation *inv, struct map *m)
{
	int r = store_open(inv->store, STORE_READ, &m->store);

	if (r == 0)
		r = snapshot_open(m->store, inv->operands[0], &m->snapshot);
	if (r < 0)
		return r;
	return sharing_new(image_of(m), look_read_node,
			   (void *)store_source(m->store), &m->sharing);
}

int look_map(const struct invocation *inv)
{
	const char *svg = parse_value(inv, OPTION_SVG);
	struct map m cleanup(map_release) = {0};
	int r, status, printed;

	if (inv->json && svg && strcmp(svg, "-") == 0)
		return output_usage(inv, "only one can go to standard output");
	r = open_map(inv, &m);
	if (r < 0)
		return output_error("map", r);
	status = add_others(&m);
	r = load_working(&m);
	printed = print_all(inv, &m);
	if (status == STATUS_DONE)
		status = r;
	return status == STATUS_DONE ? printed : status;
}
