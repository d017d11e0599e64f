#include "pagerd/ctl/run/snapshots.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/text.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/store.h"
#include "pagerd/ctl/run/service.h"
#include "pagerd/ctl/term/output.h"
#include "pagerd/ctl/term/table.h"

DEFINE_CLEANUP(store, struct store *, store_unref)
DEFINE_CLEANUP(json, json_t *, json_decref)

int snapshots_init(const struct invocation *inv)
{
	struct store_init_options options = {.secret = NULL};
	int r = store_init(inv->store, &options);

	if (r < 0)
		return output_error("init", r);
	if (inv->json)
		return output_json(inv,
				   json_pack("{s:s}", "store", inv->store));
	if (!inv->quiet)
		output_line("made an empty store in %s", inv->store);
	return STATUS_DONE;
}

/* A snapshot whose manifest cannot be read is told, and the others listed. */
static int open_listed(const struct invocation *inv, struct store *s,
		       const char *name, struct snapshot **ret_snapshot)
{
	int r = snapshot_open(s, name, ret_snapshot);

	/* Removed since the names were read. */
	if (r == -ENOENT)
		return STATUS_NOT_FOUND;
	return r < 0 ? output_error(inv->command->name, r) : STATUS_DONE;
}

static void print_time(uint64_t created_ns, char buf[32])
{
	time_t seconds = (time_t)(created_ns / 1000000000);
	struct tm tm;

	if (!localtime_r(&seconds, &tm) ||
	    strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		(void)snprintf(buf, 32, "-");
}

static int add_row(struct table *t, const struct snapshot *snap)
{
	const struct manifest *m = snapshot_manifest(snap);
	uint64_t pages = m->image.pages - m->image.zero_pages;
	char size[TEXT_SIZE_MAX], non_zero[TEXT_SIZE_MAX], created[32];

	print_time(m->created, created);
	return table_add(t, snapshot_name(snap), text_size(m->image.size, size),
			 text_size(pages * PAGER_PAGE_SIZE, non_zero), created,
			 m->parent ?: "-");
}

/* One snapshot in the form that was asked for. */
static int list_one(const struct invocation *inv, const struct snapshot *snap,
		    struct table *t, json_t *array)
{
	int r = 0;

	if (inv->json)
		r = json_array_append_new(
			array, manifest_to_json(snapshot_manifest(snap),
						snapshot_name(snap)));
	else if (inv->quiet)
		output_line("%s", snapshot_name(snap));
	else
		r = add_row(t, snap);
	return r < 0 ? output_error("list", -ENOMEM) : STATUS_DONE;
}

static int list_names(const struct invocation *inv, struct store *s,
		      char **names, size_t count)
{
	struct table *t cleanup(cleanup_table) = table_new(5, 0x6);
	json_t *array cleanup(cleanup_json) = json_array();
	int status = STATUS_DONE;

	if (!t || !array ||
	    table_add(t, "NAME", "SIZE", "NON-ZERO", "CREATED", "PARENT") < 0)
		return output_error("list", -ENOMEM);
	for (size_t i = 0; i < count; i++) {
		struct snapshot *snap cleanup(cleanup_snapshot) = NULL;
		int one = open_listed(inv, s, names[i], &snap);

		if (one == STATUS_NOT_FOUND)
			continue;
		if (one == STATUS_DONE)
			one = list_one(inv, snap, t, array);
		if (status == STATUS_DONE)
			status = one;
	}
	if (inv->json)
		(void)output_json(inv, steal_ptr(array));
	else if (!inv->quiet)
		table_print(t, stdout);
	return status;
}

int snapshots_list(const struct invocation *inv)
{
	struct store *s cleanup(cleanup_store) = NULL;
	char **names = NULL;
	size_t count = 0;
	int r = store_open(inv->store, STORE_READ, &s), status;

	if (r == 0)
		r = snapshot_list(s, &names, &count);
	if (r < 0)
		return output_error("list", r);
	status = list_names(inv, s, names, count);
	snapshot_names_free(names, count);
	return status;
}

int snapshots_show(const struct invocation *inv)
{
	struct store *s cleanup(cleanup_store) = NULL;
	struct snapshot *snap cleanup(cleanup_snapshot) = NULL;
	json_t *document cleanup(cleanup_json) = NULL;
	int r = store_open(inv->store, STORE_READ, &s);

	if (r == 0)
		r = snapshot_open(s, inv->operands[0], &snap);
	if (r < 0)
		return output_error("show", r);
	document =
		manifest_to_json(snapshot_manifest(snap), snapshot_name(snap));
	if (inv->json)
		return output_json(inv, steal_ptr(document));
	return document ? output_fields(inv, document)
			: output_error("show", -ENOMEM);
}

static bool is_of(const json_t *one, const char *name)
{
	const char *of = json_string_value(json_object_get(one, "snapshot"));

	return of && strcmp(of, name) == 0;
}

/* "session a, session b, a pin": what a daemon that runs has it for. */
static char *uses_of(const struct invocation *inv, const char *name)
{
	json_t *sessions cleanup(cleanup_json) = NULL;
	json_t *cache cleanup(cleanup_json) = NULL;
	const char *comma = "";
	char *text = NULL;
	const json_t *one;
	size_t size, i;
	FILE *out;

	if (service_call(inv, "GET", "/v1/sessions", NULL, &sessions) < 0 ||
	    service_call(inv, "GET", "/v1/cache", NULL, &cache) < 0 ||
	    !(out = open_memstream(&text, &size)))
		return NULL;
	json_array_foreach(json_object_get(sessions, "sessions"), i, one)
	{
		if (!is_of(one, name))
			continue;
		(void)fprintf(out, "%ssession %s", comma,
			      json_string_value(json_object_get(one, "id")));
		comma = ", ";
	}
	json_array_foreach(json_object_get(cache, "pins"), i, one)
	{
		if (is_of(one, name))
			(void)fprintf(out, "%sa pin", comma);
	}
	return fclose(out) == 0 ? text : NULL;
}

/* The line for one that is in use, with the way out. */
static int print_in_use(const struct invocation *inv, const char *name)
{
	_cleanup_free_ char *uses = NULL;
	const char *way = "";
	char why[ERR_TEXT_MAX];

	err_copy(-EBUSY, why);
	uses = uses_of(inv, name);
	if (uses && strstr(uses, "session "))
		way = "; see 'pagerctl session close'";
	else if (inv->command->options->name &&
		 !parse_count(inv, OPTION_WHEN_UNUSED))
		way = "; --when-unused hides it now, and frees it after them";
	(void)err_set(-EBUSY, "%s%s%s%s", why, uses && *uses ? ", for " : "",
		      uses ?: "", way);
	return output_error(name, -EBUSY);
}

static int print_failed(const struct invocation *inv, const char *name, int r)
{
	return r == -EBUSY ? print_in_use(inv, name) : output_error(name, r);
}

/* The names that are gone, and of these the ones that are read on. */
struct removed {
	json_t *names, *in_use;
};

static int remove_one(const struct invocation *inv, struct store *s,
		      const char *name, const struct removed *removed)
{
	bool read = false;
	int r;

	err_clear();
	if (parse_count(inv, OPTION_WHEN_UNUSED))
		r = snapshot_remove_when_unused(s, name, &read);
	else
		r = snapshot_remove(s, name);
	if (r < 0)
		return print_failed(inv, name, r);
	(void)json_array_append_new(removed->names, json_string(name));
	if (read)
		(void)json_array_append_new(removed->in_use, json_string(name));
	if (read && !inv->json && !inv->quiet)
		output_line("%s: out of sight; freed after its last reader",
			    name);
	return STATUS_DONE;
}

int snapshots_rm(const struct invocation *inv)
{
	struct store *s cleanup(cleanup_store) = NULL;
	json_t *names cleanup(cleanup_json) = json_array();
	json_t *in_use cleanup(cleanup_json) = json_array();
	const struct removed removed = {names, in_use};
	int r = store_open(inv->store, STORE_WRITE, &s), status = STATUS_DONE;

	if (r < 0)
		return output_error("rm", r);
	for (unsigned int i = 0; i < inv->operand_count; i++) {
		int one = remove_one(inv, s, inv->operands[i], &removed);

		if (status == STATUS_DONE)
			status = one;
	}
	if (inv->json)
		(void)output_json(inv, json_pack("{s:O, s:O}", "removed", names,
						 "in_use", in_use));
	return status;
}

int snapshots_rename(const struct invocation *inv)
{
	struct store *s cleanup(cleanup_store) = NULL;
	const char *from = inv->operands[0], *to = inv->operands[1];
	int r = store_open(inv->store, STORE_WRITE, &s);

	if (r == 0)
		r = snapshot_rename(s, from, to);
	if (r < 0)
		return print_failed(inv, from, r);
	if (inv->json)
		return output_json(
			inv, json_pack("{s:s, s:s}", "from", from, "name", to));
	return STATUS_DONE;
}
