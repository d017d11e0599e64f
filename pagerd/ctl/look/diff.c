#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/text.h"
#include "fs/store/compare/tablediff.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/store.h"
#include "pagerd/ctl/look/look.h"
#include "pagerd/ctl/term/output.h"

DEFINE_CLEANUP(store, struct store *, store_unref)

/* One file by its key, in one or both of the snapshots. */
struct compared {
	const char *key;
	const struct manifest_file *sides[2]; /* NULL: it is not there */
	struct tablediff_run *runs;	      /* owned */
	size_t run_count, room;
	uint64_t pages; /* that differ */
};

struct diff {
	struct snapshot *snapshots[2];
	struct compared *files; /* the memory first, then by key */
	size_t file_count;
	/* For the rows of the document: */
	size_t file, run;
};

static void diff_release(struct diff *d)
{
	for (size_t i = 0; i < d->file_count; i++)
		free(d->files[i].runs);
	free(d->files);
	snapshot_unref(d->snapshots[0]);
	snapshot_unref(d->snapshots[1]);
}

/* A tablediff_fn. */
static int add_run(void *arg, const struct tablediff_run *run)
{
	struct compared *c = arg;

	if (c->run_count == c->room) {
		size_t room = c->room ? 2 * c->room : 64;
		void *grown = reallocarray(c->runs, room, sizeof(*c->runs));

		if (!grown)
			return err_set(-ENOMEM, "no memory for %zu page runs",
				       room);
		c->runs = grown;
		c->room = room;
	}
	c->runs[c->run_count++] = *run;
	c->pages += run->count;
	return 0;
}

static int compare_file(struct diff *d, struct compared *c)
{
	struct store *s = snapshot_store(d->snapshots[0]);
	const struct tablediff diff = {
		.a = c->sides[0],
		.b = c->sides[1],
		.read = look_read_node,
		.read_arg = (void *)store_source(s),
		.run = add_run,
		.run_arg = c,
	};
	int r;

	if (!c->sides[0] || !c->sides[1])
		return 0;
	r = tablediff_run(&diff);
	return r == -EBADMSG ? err_wrap(r, "%s", c->key) : r;
}

static const struct manifest *manifest_of(const struct diff *d, int side)
{
	return snapshot_manifest(d->snapshots[side]);
}

static void add_file(struct diff *d, const char *key)
{
	struct compared *c = &d->files[d->file_count++];

	c->key = key;
	for (int side = 0; side < 2; side++)
		c->sides[side] = manifest_find(manifest_of(d, side), key);
}

/* Both lists are sorted by key: they are merged. */
static int list_files(struct diff *d)
{
	const struct manifest *a = manifest_of(d, 0), *b = manifest_of(d, 1);
	unsigned int i = 0, j = 0;

	d->files = calloc(1 + (size_t)a->file_count + b->file_count,
			  sizeof(*d->files));
	if (!d->files)
		return -ENOMEM;
	add_file(d, "memory");
	while (i < a->file_count || j < b->file_count) {
		int order;

		if (i == a->file_count)
			order = 1;
		else if (j == b->file_count)
			order = -1;
		else
			order = strcmp(a->files[i].key, b->files[j].key);
		add_file(d, order <= 0 ? a->files[i].key : b->files[j].key);
		i += order <= 0;
		j += order >= 0;
	}
	return 0;
}

static const char *verdict(const struct compared *c)
{
	if (!c->sides[0])
		return "only-b";
	if (!c->sides[1])
		return "only-a";
	return c->run_count || c->sides[0]->size != c->sides[1]->size
		       ? "differs"
		       : "same";
}

static bool is_same(const struct compared *c)
{
	return strcmp(verdict(c), "same") == 0;
}

static json_t *side_value(const struct manifest_file *f, bool pages)
{
	if (!f)
		return json_null();
	return json_integer((json_int_t)(pages ? f->pages : f->size));
}

static json_t *file_document(const struct compared *c)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:I}", "key",
			 c->key, "verdict", verdict(c), "size_a",
			 side_value(c->sides[0], false), "size_b",
			 side_value(c->sides[1], false), "pages_a",
			 side_value(c->sides[0], true), "pages_b",
			 side_value(c->sides[1], true), "differing_pages",
			 (json_int_t)c->pages, "differing_runs",
			 (json_int_t)c->run_count);
}

/* An output_row_fn: the runs of one file after the other. */
static json_t *next_run(void *arg)
{
	struct diff *d = arg;
	const struct tablediff_run *run;

	while (d->file < d->file_count &&
	       d->run == d->files[d->file].run_count) {
		d->file++;
		d->run = 0;
	}
	if (d->file == d->file_count)
		return NULL;
	run = &d->files[d->file].runs[d->run++];
	return json_pack("{s:s, s:I, s:I, s:s}", "file", d->files[d->file].key,
			 "first", (json_int_t)run->first, "count",
			 (json_int_t)run->count, "change",
			 tablediff_change_name(run->change));
}

static int print_json(const struct invocation *inv, struct diff *d)
{
	json_t *files = json_array();
	bool same = true;

	for (size_t i = 0; i < d->file_count; i++) {
		same = same && is_same(&d->files[i]);
		(void)json_array_append_new(files, file_document(&d->files[i]));
	}
	return output_json_rows(inv,
				json_pack("{s:s, s:s, s:b, s:o}", "a",
					  snapshot_name(d->snapshots[0]), "b",
					  snapshot_name(d->snapshots[1]),
					  "same", same, "files", files),
				"runs", next_run, d);
}

static void print_runs(const struct diff *d)
{
	bool head = true;

	for (size_t i = 0; i < d->file_count; i++)
		for (size_t n = 0; n < d->files[i].run_count; n++) {
			const struct tablediff_run *run = &d->files[i].runs[n];

			if (head)
				output_line("%-16s %13s %13s  %s", "FILE",
					    "FIRST PAGE", "PAGES", "CHANGE");
			head = false;
			output_line("%-16s %13" PRIu64 " %13" PRIu64 "  %s",
				    d->files[i].key, run->first, run->count,
				    tablediff_change_name(run->change));
		}
	if (!head)
		output_line("%s", "");
}

static void print_differing(const struct compared *c)
{
	const struct manifest_file *a = c->sides[0], *b = c->sides[1];
	uint64_t most = a->pages > b->pages ? a->pages : b->pages;
	char sizes[64] = "", bytes[TEXT_SIZE_MAX];

	if (a->size != b->size)
		(void)snprintf(sizes, sizeof(sizes),
			       "; %" PRIu64 " and %" PRIu64 " bytes", a->size,
			       b->size);
	output_line("%s: %" PRIu64 " of %" PRIu64 " pages differ (%s), in %zu "
		    "run%s%s",
		    c->key, c->pages, most,
		    text_size(c->pages * PAGER_PAGE_SIZE, bytes), c->run_count,
		    c->run_count == 1 ? "" : "s", sizes);
}

static void print_file(const struct diff *d, const struct compared *c)
{
	if (is_same(c))
		output_line("%s: same", c->key);
	else if (c->sides[0] && c->sides[1])
		print_differing(c);
	else
		output_line("%s: only in %s", c->key,
			    snapshot_name(d->snapshots[c->sides[0] ? 0 : 1]));
}

static void print_text(const struct invocation *inv, const struct diff *d)
{
	if (!inv->quiet)
		print_runs(d);
	for (size_t i = 0; i < d->file_count; i++) {
		if (!inv->quiet)
			print_file(d, &d->files[i]);
		else if (!is_same(&d->files[i]))
			output_line("%s", d->files[i].key);
	}
}

static int diff_open(const struct invocation *inv, struct store *s,
		     struct diff *d)
{
	int r = 0;

	for (int side = 0; r == 0 && side < 2; side++)
		r = snapshot_open(s, inv->operands[side], &d->snapshots[side]);
	if (r == 0)
		r = list_files(d);
	for (size_t i = 0; r == 0 && i < d->file_count; i++)
		r = compare_file(d, &d->files[i]);
	return r;
}

int look_diff(const struct invocation *inv)
{
	struct store *s cleanup(cleanup_store) = NULL;
	struct diff d cleanup(diff_release) = {0};
	int r = store_open(inv->store, STORE_READ, &s);

	if (r == 0)
		r = diff_open(inv, s, &d);
	if (r < 0)
		return output_error("diff", r);
	if (inv->json)
		return print_json(inv, &d);
	print_text(inv, &d);
	return STATUS_DONE;
}
