#include "pagerd/control/snapshot/snapshotapi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/pack/codec.h"
#include "fs/store/publish/publish.h"
#include "fs/store/snapshot/snapshot.h"
#include "pagerd/control/http/body.h"
#include "pagerd/control/import/importer.h"

DEFINE_CLEANUP(json, json_t *, json_decref)

/* A damaged manifest is told in its place: the list is for finding it. */
static json_t *show_snapshot(struct store *store, const char *name)
{
	struct snapshot *snapshot;
	json_t *json;
	int r = snapshot_open(store, name, &snapshot);

	if (r < 0)
		return json_pack("{s:s, s:s}", "name", name, "error",
				 err_text(r));
	json = manifest_to_json(snapshot_manifest(snapshot), name);
	snapshot_unref(snapshot);
	return json;
}

int snapshotapi_list(const struct request *rq, struct reply *rp)
{
	struct store *store = rq->daemon->store;
	json_t *list;
	char **names;
	size_t count;
	int r = snapshot_list(store, &names, &count);

	if (r < 0)
		return r;
	list = json_array();
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(list,
					    show_snapshot(store, names[i]));
	snapshot_names_free(names, count);
	return reply_json(rp, 200, json_pack("{s:o}", "snapshots", list));
}

struct publish_body {
	const char *name, *memory, *vmstate, *base, *codec;
	const json_t *attach, *labels;
};

#define FIELD(name, type, required)                                        \
	{                                                                  \
#name, type, required, offsetof(struct publish_body, name) \
	}
static const struct body_field publish_fields[] = {
	FIELD(name, BODY_STRING, true),	    FIELD(memory, BODY_STRING, true),
	FIELD(vmstate, BODY_STRING, false), FIELD(base, BODY_STRING, false),
	FIELD(codec, BODY_STRING, false),   FIELD(attach, BODY_TABLE, false),
	FIELD(labels, BODY_TABLE, false),   {0},
};
#undef FIELD

/* What a body asks for; borrows its strings. */
struct asked {
	struct publish_options options;
	struct publish_file *files;
	struct publish_label *labels;
};

static void asked_release(struct asked *a)
{
	free(a->files);
	free(a->labels);
}

static void take_tables(const struct publish_body *b, struct asked *a)
{
	struct publish_options *o = &a->options;
	const json_t *value;
	const char *key;

	if (b->vmstate)
		a->files[o->file_count++] =
			(struct publish_file){"vmstate", b->vmstate};
	json_object_foreach((json_t *)b->attach, key, value)
	{
		a->files[o->file_count++] =
			(struct publish_file){key, json_string_value(value)};
	}
	json_object_foreach((json_t *)b->labels, key, value)
	{
		a->labels[o->label_count++] =
			(struct publish_label){key, json_string_value(value)};
	}
	o->files = a->files;
	o->labels = a->labels;
}

static int fill_asked(const struct publish_body *b, struct asked *a)
{
	a->files = calloc(json_object_size(b->attach) + 2, sizeof(*a->files));
	a->labels = calloc(json_object_size(b->labels) + 1, sizeof(*a->labels));
	if (!a->files || !a->labels)
		return -ENOMEM;
	a->options.name = b->name;
	a->options.memory = (struct publish_file){"memory", b->memory};
	a->options.parent = b->base;
	take_tables(b, a);
	if (b->codec && codec_from_name(b->codec, &a->options.codec) < 0)
		return err_set(-EINVAL, "'codec' must be zstd, lz4 or none");
	return 0;
}

int snapshotapi_publish(const struct request *rq, struct reply *rp)
{
	struct asked a cleanup(asked_release) = {.options =
							 PUBLISH_OPTIONS_INIT};
	json_t *object cleanup(cleanup_json) = NULL;
	struct publish_body b = {0};
	struct publish_result result;
	int r = body_read(rq->body, rq->length, publish_fields, &b, &object);

	if (r == 0)
		r = fill_asked(&b, &a);
	if (r == 0)
		r = importer_publish(rq->daemon->importer, &a.options, &result);
	return r < 0 ? r
		     : reply_json(rp, 201, publish_to_json(b.name, &result));
}

/* "session a, session b": those that serve it. */
static void tell_sessions(FILE *out, struct registry *r, const char *name)
{
	struct session **sessions;
	size_t count;

	if (registry_list(r, &sessions, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (strcmp(session_snapshot_name(sessions[i]), name) == 0)
			(void)fprintf(out, "%ssession %s",
				      ftell(out) ? ", " : "",
				      session_id(sessions[i]));
	registry_list_free(sessions, count);
}

static int refuse_in_use(const struct daemon *d, const char *name)
{
	_cleanup_free_ char *who = NULL;
	char why[ERR_TEXT_MAX];
	size_t size;
	FILE *out;

	err_copy(-EBUSY, why);
	out = open_memstream(&who, &size);
	if (!out)
		return -ENOMEM;
	tell_sessions(out, d->registry, name);
	if (fclose(out) != 0)
		return -ENOMEM;
	return err_set(-EBUSY, "%s%s%s", why, *who ? ", for " : "", who);
}

static int read_when_unused(const char *text, bool *ret_when_unused)
{
	if (text && strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
		return err_set(-EINVAL, "'when_unused' must be 0 or 1");
	*ret_when_unused = text && *text == '1';
	return 0;
}

int snapshotapi_delete(const struct request *rq, struct reply *rp)
{
	const struct daemon *d = rq->daemon;
	bool when_unused = false, read = false;
	int r = read_when_unused(rq->when_unused, &when_unused);

	if (r < 0)
		return r;
	r = when_unused ? snapshot_remove_when_unused(d->store, rq->parameter,
						      &read)
			: snapshot_remove(d->store, rq->parameter);
	if (r == -EBUSY)
		return refuse_in_use(d, rq->parameter);
	if (r < 0)
		return r;
	if (read)
		return reply_json(rp, 202,
				  json_pack("{s:s, s:s}", "name", rq->parameter,
					    "state", "in_use"));
	reply_nothing(rp);
	return 0;
}
