/*
 * Publishing.
 *
 * A file is cut into units of 512 pages (2 MiB): what one leaf node of the
 * page table maps. Units run through two phases.
 *
 * The first does the work, on all workers at once, a unit a worker: read it
 * (holes are skipped by the input, whole-hole units are never seen), find the
 * zero pages, digest the others, find those that repeat within the unit, look
 * the rest up in the store and compare bytes, and encode what was not found.
 *
 * The second is short and goes unit by unit in the order of the file: look
 * the encoded pages up once more, since another unit may have stored them in
 * between, append those that still are new, then make the leaf node, which is
 * looked up or appended in the same way, and feed the page table and the
 * image's digest. So a pack holds blocks in the order of the image, and the
 * same input gives the same packs however many threads there are.
 *
 * Nobody waits for its turn: a worker files its scanned unit under its ticket
 * and takes the next. Whoever files the unit that is due becomes the committer
 * and commits it and all that are ready behind it, while the others scan on.
 * There are two units a worker and one more; with all of them waiting for a
 * slow one the workers wait for a free unit. That, the open pack's tables and
 * the coders are all the memory there is: it does not grow with the image.
 *
 * The memory of a publish:
 *   units    (2 * threads + 1) * 4.1 MiB: 20 MiB on 2 threads, 70 MiB on 8
 *   packs    up to 64 MiB, see packwriter.c
 *   table    24 KiB, one open node a level
 *
 * Order of what becomes durable: packs as they fill, each with its name only
 * after its data (packwriter); the folder of packs once more, for names that
 * another publisher gave to packs that we share; then the manifest, whose
 * rename is the commit. A failure or a crash before that leaves the list of
 * snapshots as it was. Packs that were sealed before it stay: nothing refers
 * to them, the next publish of the same content shares them, and garbage
 * collection reclaims them. What had no name is in tmp/ and goes at once, or
 * after a crash with the next publisher's sweep.
 *
 * Two publishers hold STORE_LOCK_PUBLISH shared and otherwise do not see each
 * other: of one image both may store the same page, and of one name the
 * second to commit loses.
 */
#include "fs/store/lease/removed.h"
#include "fs/store/publish/publish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/io/text.h"
#include "fs/io/page.h"
#include "fs/store/pack/codec.h"
#include "fs/store/publish/cancel.h"
#include "fs/store/publish/dedup.h"
#include "fs/store/publish/input.h"
#include "fs/store/publish/pipeline.h"
#include "fs/store/snapshot/name.h"
#include "fs/store/snapshot/snapshot.h"

/* One publish under way. */
struct job {
	struct store *store;
	const struct publish_options *options;
	struct dedup *dedup;
	struct pipeline *pipeline;
	struct input *memory;
	struct input *files[PAGER_FILES_MAX]; /* as options->files */
	struct manifest manifest;
	struct manifest_origin origin; /* before the first read */
	bool settled;		       /* it can stand for what is read */
	int lock;		       /* STORE_LOCK_PUBLISH */
};

static void release_job(struct job *j)
{
	manifest_release(&j->manifest);
	pipeline_free(j->pipeline);
	dedup_close(j->dedup);
	input_free(j->memory);
	for (unsigned int i = 0; i < PAGER_FILES_MAX; i++)
		input_free(j->files[i]);
	close_quietly(j->lock);
}

/* -- what the user gave --------------------------------------------------- */

static int check_files(const struct publish_options *o)
{
	if (o->file_count > PAGER_FILES_MAX)
		return err_set(-EINVAL, "more than %u attached files",
			       PAGER_FILES_MAX);
	for (unsigned int i = 0; i < o->file_count; i++) {
		const struct publish_file *f = &o->files[i];
		int r = manifest_check_key(f->key);

		if (r < 0)
			return r;
		if (strcmp(f->path, "-") == 0)
			return err_set(-EINVAL,
				       "only the memory is read from "
				       "standard input, not '%s'",
				       f->key);
		for (unsigned int k = 0; k < i; k++)
			if (strcmp(o->files[k].key, f->key) == 0)
				return err_set(-EINVAL,
					       "'%s' is attached twice",
					       f->key);
	}
	return 0;
}

static int check_labels(const struct publish_options *o)
{
	if (o->label_count > PAGER_LABELS_MAX)
		return err_set(-EINVAL, "more than %u labels",
			       PAGER_LABELS_MAX);
	for (unsigned int i = 0; i < o->label_count; i++) {
		const struct publish_label *l = &o->labels[i];
		int r = manifest_check_label(l->key, l->value);

		if (r < 0)
			return r;
		for (unsigned int k = 0; k < i; k++)
			if (strcmp(o->labels[k].key, l->key) == 0)
				return err_set(-EINVAL,
					       "label '%s' is given twice",
					       l->key);
	}
	return 0;
}

static int check_parent(const struct job *j)
{
	const char *parent = j->options->parent;
	int r = parent ? name_check("the parent's name", parent) : 0;

	if (r < 0 || !parent)
		return r;
	r = snapshot_check_free(j->store, parent);
	if (r == 0)
		return err_set(-ENOENT, "no parent snapshot '%s'", parent);
	return r == -ENOTUNIQ ? 0 : r;
}

static int check_options(const struct job *j)
{
	int r;

	if (store_access(j->store) != STORE_WRITE)
		return err_set(-EROFS, "the store was opened for reading");
	r = snapshot_check_free(j->store, j->options->name);
	if (r == 0)
		r = check_files(j->options);
	if (r == 0)
		r = check_labels(j->options);
	if (r == 0)
		r = check_parent(j);
	return r;
}

static int empty_memory(const struct job *j)
{
	return err_set(-EINVAL, "memory file '%s' is empty",
		       j->options->memory.path);
}

/* Opens all files before any work, and adds up what there is to do. */
static int open_inputs(struct job *j, uint64_t *ret_total)
{
	const struct publish_options *o = j->options;
	uint64_t total;
	bool known;
	int r = input_open(&o->memory, o->cancelled, &j->memory);

	if (r < 0)
		return r;
	j->settled = input_origin(j->memory, &j->origin) == 0 &&
		     origin_settle(&j->origin);
	known = !input_is_pipe(j->memory);
	total = input_size(j->memory);
	if (known && total == 0)
		return empty_memory(j);
	for (unsigned int i = 0; i < o->file_count; i++) {
		r = input_open(&o->files[i], o->cancelled, &j->files[i]);
		if (r < 0)
			return r;
		known = known && !input_is_pipe(j->files[i]);
		total += input_size(j->files[i]);
	}
	*ret_total = known ? total : 0;
	return 0;
}

/* -- the work ------------------------------------------------------------- */

static int prepare(struct job *j)
{
	uint64_t total = 0;
	int r = open_inputs(j, &total);

	if (r == 0)
		r = store_sweep_tmp(j->store);
	if (r < 0)
		return r;
	removed_sweep(j->store);
	j->lock = store_lock(j->store, STORE_LOCK_PUBLISH, false, true);
	if (j->lock < 0)
		return j->lock;
	r = dedup_open(j->store, j->options->codec, &j->dedup);
	if (r == 0)
		r = pipeline_new(j->store, j->dedup, j->options, &j->pipeline);
	if (r == 0)
		pipeline_expect(j->pipeline, total);
	return r;
}

static int run_file(struct job *j, const char *key, struct input *in,
		    struct manifest_file *ret_file)
{
	ret_file->key = strdup(key);
	if (!ret_file->key)
		return -ENOMEM;
	return pipeline_run(j->pipeline, in, ret_file);
}

static int file_order(const void *a, const void *b)
{
	const struct manifest_file *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static int run_files(struct job *j)
{
	const struct publish_options *o = j->options;
	struct manifest *m = &j->manifest;
	int r = run_file(j, "memory", j->memory, &m->image);

	if (r < 0)
		return r;
	if (m->image.size == 0)
		return empty_memory(j);
	m->files = calloc(o->file_count + 1, sizeof(*m->files));
	if (!m->files)
		return -ENOMEM;
	for (unsigned int i = 0; i < o->file_count; i++) {
		m->file_count++;
		r = run_file(j, o->files[i].key, j->files[i], &m->files[i]);
		if (r < 0)
			return r;
	}
	qsort(m->files, m->file_count, sizeof(*m->files), file_order);
	return 0;
}

static int label_order(const void *a, const void *b)
{
	const struct manifest_label *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static int note_labels(struct job *j)
{
	const struct publish_options *o = j->options;
	struct manifest *m = &j->manifest;

	m->labels = calloc(o->label_count + 1, sizeof(*m->labels));
	if (!m->labels)
		return -ENOMEM;
	for (unsigned int i = 0; i < o->label_count; i++) {
		struct manifest_label *l = &m->labels[m->label_count++];

		l->key = strdup(o->labels[i].key);
		l->value = strdup(o->labels[i].value);
		if (!l->key || !l->value)
			return -ENOMEM;
	}
	qsort(m->labels, m->label_count, sizeof(*m->labels), label_order);
	return 0;
}

static void note_origin(struct job *j)
{
	struct manifest_origin now;

	if (!j->settled || input_origin(j->memory, &now) < 0 ||
	    !origin_equal(&now, &j->origin) ||
	    now.size != j->manifest.image.size)
		return;
	j->manifest.origin = now;
	j->manifest.has_origin = true;
}

/* All that the manifest says beside its files. */
static int note_facts(struct job *j)
{
	const struct publish_options *o = j->options;
	struct manifest *m = &j->manifest;
	struct pipeline_counts counts = pipeline_counts(j->pipeline);
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	m->created = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	m->new_blocks = counts.new_blocks;
	m->shared_blocks = counts.shared_blocks;
	m->stored_bytes = dedup_stored_bytes(j->dedup);
	m->codec = strdup(codec_name(o->codec));
	m->parent = o->parent ? strdup(o->parent) : NULL;
	m->regions = calloc(1, sizeof(*m->regions));
	if (!m->codec || (o->parent && !m->parent) || !m->regions)
		return -ENOMEM;
	m->regions[0].size = m->image.size;
	m->region_count = 1;
	note_origin(j);
	return note_labels(j);
}

/* The packs that we share may have got their names a moment ago. */
static int sync_packs(const struct job *j)
{
	int r = file_sync_dir(store_folder_fd(j->store, STORE_PACKS));

	if (r < 0)
		return err_set(r, "cannot sync the folder of packs: %s",
			       strerrordesc_np(-r));
	return 0;
}

static int do_job(struct job *j)
{
	int r = check_options(j);

	if (r == 0)
		r = prepare(j);
	if (r == 0)
		r = run_files(j);
	if (r == 0)
		r = dedup_finish(j->dedup);
	if (r == 0)
		r = sync_packs(j);
	if (r == 0)
		r = note_facts(j);
	if (r == 0 && cancel_is_set(j->options->cancelled))
		r = err_set(-ECANCELED, "cancelled");
	if (r < 0)
		return r;
	return snapshot_commit(j->store, j->options->name, &j->manifest);
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) +
	       (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

int publish(struct store *s, const struct publish_options *options,
	    struct publish_result *ret_result)
{
	struct job j cleanup(release_job) = {
		.store = s, .options = options, .lock = -1};
	const struct manifest *m = &j.manifest;
	struct timespec start;
	int r;

	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	err_clear();
	r = do_job(&j);
	if (r < 0)
		return r;
	*ret_result = (struct publish_result){
		.pages = m->image.pages,
		.zero_pages = m->image.zero_pages,
		.new_blocks = m->new_blocks,
		.shared_blocks = m->shared_blocks,
		.stored_bytes = m->stored_bytes,
		.compares = pipeline_counts(j.pipeline).compares,
		.seconds = seconds_since(&start),
		.image_digest = m->image.digest,
	};
	return 0;
}

json_t *publish_to_json(const char *name, const struct publish_result *result)
{
	char digest[2 * PAGER_DIGEST_SIZE + 1];

	text_to_hex(result->image_digest.bytes, PAGER_DIGEST_SIZE, digest);
	return json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f}", "name", name,
		"image_digest", digest, "pages", (json_int_t)result->pages,
		"zero_pages", (json_int_t)result->zero_pages, "new_blocks",
		(json_int_t)result->new_blocks, "shared_blocks",
		(json_int_t)result->shared_blocks, "stored_bytes",
		(json_int_t)result->stored_bytes, "seconds", result->seconds);
}
