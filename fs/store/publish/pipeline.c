#include "fs/store/publish/pipeline.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/io/page.h"
#include "fs/store/publish/cancel.h"
#include "fs/store/snapshot/imagedigest.h"
#include "fs/store/snapshot/tablewriter.h"

#define THREADS_MAX 8

/* What the first phase found out about a page. */
enum fate {
	FATE_ZERO,
	FATE_TWIN,  /* equal to an earlier page of the unit */
	FATE_FOUND, /* in the store */
	FATE_FRESH, /* encoded, to be appended unless another worker was first
		     */
};

#define TWIN_BUCKETS (2 * INPUT_UNIT_PAGES)

/* Belongs to the worker that scans it, then to the committer. */
struct unit {
	struct input_unit in;
	struct unit *next_free;
	struct pager_digest digest;
	struct pager_digest digests[INPUT_UNIT_PAGES];
	struct dedup_item items[INPUT_UNIT_PAGES];
	uint64_t ids[INPUT_UNIT_PAGES];
	uint16_t twins[INPUT_UNIT_PAGES]; /* the page that it equals */
	uint8_t fates[INPUT_UNIT_PAGES];
	/* Pages by digest, + 1, for finding twins: open addressing. */
	uint16_t buckets[TWIN_BUCKETS];
	unsigned int nonzero;
	uint8_t *stored; /* encoded pages, back to back */
	size_t used;
};

struct worker {
	struct pipeline *pipeline;
	struct dedup_scratch *scratch;
	pthread_t thread;
};

struct pipeline {
	/* Constant while a file runs. */
	struct store *store;
	struct dedup *dedup;
	const struct publish_options *options;
	struct worker workers[THREADS_MAX];
	unsigned int worker_count;
	unsigned int unit_count;
	struct unit **units;
	struct input *in;
	uint64_t total; /* for progress */

	/* The committer's: whoever has set `committing`. */
	struct dedup_scratch *scratch;
	struct tablewriter *table;
	struct imagedigest *digest;
	uint64_t nonzero;     /* pages of this file */
	uint64_t done_before; /* bytes of the files before this one */
	struct pipeline_counts counts;

	struct lock lock;
	struct condition changed; /* a unit is free, or there is an error */
	/* All below is protected by lock. */
	struct unit *free;
	struct unit **ready;  /* by ticket modulo unit_count */
	uint64_t next_ticket; /* to be committed */
	bool committing;
	int error; /* the first */
	char error_text[ERR_TEXT_MAX];
};

/* -- the first phase: any number of units at a time ----------------------- */

static void free_unit(struct unit *u)
{
	if (!u)
		return;
	free(u->in.data);
	free(u->stored);
	free(u);
}

static struct unit *new_unit(void)
{
	struct unit *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->in.data = aligned_alloc(PAGER_PAGE_SIZE, INPUT_UNIT_SIZE);
	u->stored = malloc(INPUT_UNIT_SIZE);
	if (!u->in.data || !u->stored) {
		free_unit(u);
		return NULL;
	}
	return u;
}

/*
 * An earlier page of the unit with the same bytes: its number, else `page`,
 * which later ones will find. Of pages whose digests collide only the first
 * is found.
 */
static unsigned int find_twin(struct unit *u, unsigned int page)
{
	const struct pager_digest *digest = &u->digests[page];
	unsigned int at, other;
	uint16_t key;

	memcpy(&key, digest->bytes, sizeof(key));
	for (at = key % TWIN_BUCKETS; u->buckets[at];
	     at = (at + 1) % TWIN_BUCKETS) {
		other = u->buckets[at] - 1u;
		if (memcmp(&u->digests[other], digest, sizeof(*digest)) != 0)
			continue;
		return memcmp(u->items[other].plain, u->items[page].plain,
			      PAGER_PAGE_SIZE) == 0
			       ? other
			       : page;
	}
	u->buckets[at] = (uint16_t)(page + 1);
	return page;
}

static enum fate scan_page(struct pipeline *p, struct dedup_scratch *scratch,
			   struct unit *u, unsigned int i)
{
	struct dedup_item *item = &u->items[i];

	*item = (struct dedup_item){
		.plain = u->in.data + (size_t)i * PAGER_PAGE_SIZE,
		.digest = &u->digests[i],
		.kind = PAGER_KIND_PAGE,
	};
	if (page_is_zero(item->plain)) {
		u->digests[i] = (struct pager_digest){0};
		return FATE_ZERO;
	}
	u->nonzero++;
	store_digest(p->store, item->plain, item->kind, &u->digests[i]);
	u->twins[i] = (uint16_t)find_twin(u, i);
	if (u->twins[i] != i)
		return FATE_TWIN;
	if (dedup_find(p->dedup, scratch, item))
		return FATE_FOUND;
	u->used += dedup_encode(p->dedup, scratch, item, u->stored + u->used);
	return FATE_FRESH;
}

static void scan_unit(struct pipeline *p, struct dedup_scratch *scratch,
		      struct unit *u)
{
	u->used = 0;
	u->nonzero = 0;
	memset(u->buckets, 0, sizeof(u->buckets));
	for (unsigned int i = 0; i < u->in.pages; i++)
		u->fates[i] = (uint8_t)scan_page(p, scratch, u, i);
	if (u->nonzero)
		imagedigest_unit(p->store, u->digests, u->in.pages, &u->digest);
}

/* -- the second phase: one unit at a time, in order ----------------------- */

static int put_node(void *arg, enum pager_kind kind, const uint8_t *node,
		    uint64_t *ret_block)
{
	struct pipeline *p = arg;
	struct pager_digest digest;
	struct dedup_item item = {
		.plain = node, .digest = &digest, .kind = kind};
	int r = 0;

	store_digest(p->store, node, kind, &digest);
	if (!dedup_find(p->dedup, p->scratch, &item))
		r = dedup_store(p->dedup, p->scratch, &item);
	if (r < 0)
		return r;
	p->counts.new_blocks += (unsigned int)r;
	*ret_block = item.block;
	return 0;
}

/* The block id of a page that is not zero. */
static int place_page(struct pipeline *p, struct unit *u, unsigned int i,
		      uint64_t *ret_id)
{
	struct dedup_item *item = &u->items[i];
	int r = 0;

	if (u->fates[i] == FATE_TWIN) {
		*ret_id = u->ids[u->twins[i]];
		p->counts.shared_blocks++;
		return 0;
	}
	if (u->fates[i] == FATE_FRESH)
		r = dedup_store(p->dedup, p->scratch, item);
	if (r < 0)
		return r;
	if (r > 0)
		p->counts.new_blocks++;
	else
		p->counts.shared_blocks++;
	*ret_id = item->block;
	return 0;
}

static void tell_progress(struct pipeline *p, const struct unit *u)
{
	uint64_t done = p->done_before + u->in.number * INPUT_UNIT_SIZE +
			u->in.pages * (uint64_t)PAGER_PAGE_SIZE;

	if (!p->options->progress)
		return;
	/* The last page counts whole here, but not in the total. */
	if (p->total && done > p->total)
		done = p->total;
	p->options->progress(p->options->progress_arg, done, p->total);
}

static int commit_unit(struct pipeline *p, struct unit *u)
{
	int r;

	memset(u->ids, 0, sizeof(u->ids));
	for (unsigned int i = 0; i < u->in.pages; i++) {
		if (u->fates[i] == FATE_ZERO)
			continue;
		r = place_page(p, u, i, &u->ids[i]);
		if (r < 0)
			return r;
	}
	tell_progress(p, u);
	if (!u->nonzero)
		return 0;
	p->nonzero += u->nonzero;
	imagedigest_add(p->digest, u->in.number, &u->digest);
	return tablewriter_leaf(p->table, u->in.number, u->ids);
}

/* -- the workers ---------------------------------------------------------- */

/* The caller holds the lock. */
static void note_error(struct pipeline *p, int code)
{
	lock_assert_held(&p->lock);
	if (!p->error) {
		p->error = code;
		err_copy(code, p->error_text);
	}
	condition_wake_all(&p->changed);
}

/* A unit to fill; NULL when there is an error. */
static struct unit *take_unit(struct pipeline *p)
{
	struct unit *u;

	LOCK_GUARD(&p->lock);
	while (!p->free && !p->error)
		condition_wait(&p->changed, &p->lock);
	if (cancel_is_set(p->options->cancelled))
		note_error(p, err_set(-ECANCELED, "cancelled"));
	if (p->error)
		return NULL;
	u = p->free;
	p->free = u->next_free;
	return u;
}

static void give_unit(struct pipeline *p, struct unit *u)
{
	lock_assert_held(&p->lock);
	u->next_free = p->free;
	p->free = u;
	condition_wake_one(&p->changed);
}

/*
 * Commits the units that are due, until one is not ready. `ready` has a place
 * for every ticket in flight: each holds one of unit_count units, and the
 * oldest of them is next_ticket.
 */
static void commit_due(struct pipeline *p, struct dedup_scratch *scratch)
{
	struct unit *u;
	int r;

	lock_assert_held(&p->lock);
	p->committing = true;
	p->scratch = scratch;
	while (!p->error && (u = p->ready[p->next_ticket % p->unit_count])) {
		p->ready[p->next_ticket % p->unit_count] = NULL;
		lock_drop(&p->lock);
		r = commit_unit(p, u);
		lock_take(&p->lock);
		p->next_ticket++;
		give_unit(p, u);
		if (r < 0)
			note_error(p, r);
	}
	p->committing = false;
}

static void file_unit(struct pipeline *p, struct dedup_scratch *scratch,
		      struct unit *u)
{
	LOCK_GUARD(&p->lock);
	p->ready[u->in.ticket % p->unit_count] = u;
	if (!p->committing)
		commit_due(p, scratch);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct pipeline *p = w->pipeline;
	struct unit *u;
	int r = 1;

	while (r > 0 && (u = take_unit(p))) {
		r = input_next(p->in, &u->in);
		if (r > 0) {
			scan_unit(p, w->scratch, u);
			file_unit(p, w->scratch, u);
			continue;
		}
		LOCK_GUARD(&p->lock);
		give_unit(p, u);
		if (r < 0)
			note_error(p, r);
	}
	return NULL;
}

/* -- a file --------------------------------------------------------------- */

static int begin_file(struct pipeline *p, struct input *in)
{
	int r;

	p->in = in;
	p->nonzero = 0;
	p->next_ticket = 0;
	p->digest = imagedigest_new(p->store);
	if (!p->digest)
		return -ENOMEM;
	r = tablewriter_new(put_node, p, &p->table);
	if (r < 0)
		return r;
	p->scratch = p->workers[0].scratch;
	return 0;
}

/* No more threads than units; those that cannot be had are done without. */
static void run_workers(struct pipeline *p)
{
	uint64_t units = input_is_pipe(p->in)
				 ? UINT64_MAX
				 : input_size(p->in) / INPUT_UNIT_SIZE + 1;
	unsigned int started = 1;

	while (started < p->worker_count && started < units &&
	       pthread_create(&p->workers[started].thread, NULL, work,
			      &p->workers[started]) == 0)
		started++;
	(void)work(&p->workers[0]);
	while (started-- > 1)
		(void)pthread_join(p->workers[started].thread, NULL);
}

static int end_file(struct pipeline *p, struct manifest_file *f)
{
	struct manifest_file done = {.size = input_size(p->in)};
	int r;

	if (p->error)
		return err_restore(p->error, p->error_text);
	done.pages = page_count(done.size);
	done.zero_pages = done.pages - p->nonzero;
	imagedigest_finish(p->digest, done.size, &done.digest);
	r = tablewriter_finish(p->table, done.pages, &done.root, &done.levels);
	if (r < 0)
		return r;
	p->done_before += done.size;
	done.key = f->key;
	*f = done;
	return 0;
}

int pipeline_run(struct pipeline *p, struct input *in,
		 struct manifest_file *ret_file)
{
	int r = begin_file(p, in);

	if (r == 0) {
		run_workers(p);
		r = end_file(p, ret_file);
	}
	tablewriter_free(steal_ptr(p->table));
	imagedigest_free(steal_ptr(p->digest));
	return r;
}

/* -- life ----------------------------------------------------------------- */

static unsigned int choose_threads(const struct publish_options *options)
{
	long n = options->threads ? (long)options->threads
				  : sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 1)
		return 1;
	return n > THREADS_MAX ? THREADS_MAX : (unsigned int)n;
}

/*
 * A unit a worker, as many to wait for their turn, and one that is being
 * committed: about 4 MiB each.
 */
static int make_units(struct pipeline *p)
{
	p->unit_count = 2 * p->worker_count + 1;
	p->units = calloc(p->unit_count, sizeof(*p->units));
	p->ready = calloc(p->unit_count, sizeof(*p->ready));
	if (!p->units || !p->ready)
		return -ENOMEM;
	for (unsigned int i = 0; i < p->unit_count; i++) {
		p->units[i] = new_unit();
		if (!p->units[i])
			return -ENOMEM;
		p->units[i]->next_free = p->free;
		p->free = p->units[i];
	}
	return 0;
}

static int make_workers(struct pipeline *p)
{
	p->worker_count = choose_threads(p->options);
	for (unsigned int i = 0; i < p->worker_count; i++) {
		p->workers[i].pipeline = p;
		p->workers[i].scratch = dedup_scratch_new();
		if (!p->workers[i].scratch)
			return -ENOMEM;
	}
	return 0;
}

int pipeline_new(struct store *s, struct dedup *d,
		 const struct publish_options *options,
		 struct pipeline **ret_pipeline)
{
	struct pipeline *p cleanup(cleanup_pipeline) = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	lock_init(&p->lock, "publish");
	condition_init(&p->changed);
	p->store = s;
	p->dedup = d;
	p->options = options;
	r = make_workers(p);
	if (r == 0)
		r = make_units(p);
	if (r < 0)
		return r;
	*ret_pipeline = steal_ptr(p);
	return 0;
}

void pipeline_free(struct pipeline *p)
{
	if (!p)
		return;
	for (unsigned int i = 0; i < p->worker_count; i++)
		dedup_scratch_free(p->workers[i].scratch);
	for (unsigned int i = 0; p->units && i < p->unit_count; i++)
		free_unit(p->units[i]);
	free(p->units);
	free(p->ready);
	condition_release(&p->changed);
	lock_release(&p->lock);
	free(p);
}

void pipeline_expect(struct pipeline *p, uint64_t total_bytes)
{
	p->total = total_bytes;
}

struct pipeline_counts pipeline_counts(const struct pipeline *p)
{
	struct pipeline_counts c = p->counts;

	for (unsigned int i = 0; i < p->worker_count; i++)
		c.compares += dedup_compares(p->workers[i].scratch);
	return c;
}
