#include "fs/store/publish/export.h"

#include <errno.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/store.h"
#include "pagerd/ctl/run/snapshots.h"
#include "pagerd/ctl/term/interrupt.h"
#include "pagerd/ctl/term/output.h"
#include "pagerd/ctl/term/progress.h"

DEFINE_CLEANUP(store, struct store *, store_unref)
DEFINE_CLEANUP(json, json_t *, json_decref)

/* What can be exported: an option, and the key of the file it names. */
static const struct {
	enum option_id id;
	const char *key;
} kinds[] = {
	{OPTION_MEMORY, "memory"},
	{OPTION_VMSTATE, "vmstate"},
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

/* With a lease wherever one can be had, so that nothing is taken away. */
static int open_store(const char *path, struct store **ret_store)
{
	int r = store_open(path, STORE_WRITE, ret_store);

	if (r == -EROFS || r == -EACCES)
		r = store_open(path, STORE_READ, ret_store);
	return r;
}

/* All are looked for before the first is written. */
static int check_all(const struct invocation *inv, const struct snapshot *snap)
{
	for (size_t i = 0; i < KIND_COUNT; i++)
		if (parse_value(inv, kinds[i].id) &&
		    !manifest_find(snapshot_manifest(snap), kinds[i].key))
			return err_set(-ENOENT, "snapshot '%s' has no %s",
				       snapshot_name(snap), kinds[i].key);
	return 0;
}

static int export_one(const struct invocation *inv, struct snapshot *snap,
		      const char *key, const char *path)
{
	struct export_options options = {.key = key, .path = path};
	struct progress progress;
	int r;

	progress_init(&progress, "export", inv->quiet);
	options.progress = progress_report;
	options.progress_arg = &progress;
	options.cancelled = interrupt_watch();
	r = export_file(snap, &options);
	progress_release(&progress);
	return r;
}

static int export_all(const struct invocation *inv, struct snapshot *snap)
{
	json_t *document cleanup(cleanup_json) =
		json_pack("{s:s}", "name", snapshot_name(snap));
	int r = check_all(inv, snap);

	for (size_t i = 0; r == 0 && i < KIND_COUNT; i++) {
		const char *path = parse_value(inv, kinds[i].id);

		if (!path)
			continue;
		r = export_one(inv, snap, kinds[i].key, path);
		(void)json_object_set_new(document, kinds[i].key,
					  json_string(path));
	}
	if (r == -ECANCELED) {
		(void)output_error("export",
				   err_set(r, "cancelled, no file was changed "
					      "that was not complete"));
		return interrupt_status();
	}
	if (r < 0)
		return output_error("export", r);
	return inv->json ? output_json(inv, steal_ptr(document)) : STATUS_DONE;
}

static bool is_stdout(const char *path)
{
	return path && strcmp(path, "-") == 0;
}

int snapshots_export(const struct invocation *inv)
{
	struct store *s cleanup(cleanup_store) = NULL;
	struct snapshot *snap cleanup(cleanup_snapshot) = NULL;
	bool memory_out = is_stdout(parse_value(inv, OPTION_MEMORY));
	bool vmstate_out = is_stdout(parse_value(inv, OPTION_VMSTATE));
	int r;

	if (inv->value_count == 0)
		return output_usage(inv, "--memory or --vmstate is missing");
	if (memory_out + vmstate_out + inv->json > 1)
		return output_usage(inv, "only one can go to standard output");
	r = open_store(inv->store, &s);
	if (r == 0)
		r = snapshot_open(s, inv->operands[0], &snap);
	return r < 0 ? output_error("export", r) : export_all(inv, snap);
}
