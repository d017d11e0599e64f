#include "fs/cache/admin/jobs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/cache/admin/resize.h"
#include "fs/cache/fetch_read.h"

#define NICE	 10
#define SECOND	 UINT64_C(1000000000)
#define RATE_MAX (UINT64_C(1) << 40) /* beyond is as fast as it goes */

struct job {
	struct list_node node; /* in the list; protected by the jobs' lock */
	uint64_t id;
	struct snapshot *snap; /* referenced while it is under way */
	char *name;
	uint64_t rate;
	bool is_pin;
	struct blockset set; /* of a warm; the thread's while under way */
	size_t at;	     /* likewise */
	size_t charged;	     /* bytes, for it */
	uint64_t began_ns;

	/* Protected by the jobs' lock. */
	enum job_state state;
	uint64_t blocks, done, found;
	uint64_t due_ns; /* when it is its turn */
	uint64_t ended_ns;
	bool cancelled; /* it is to end */
	char *error;
};

struct jobs {
	struct cache *cache;
	struct pins *pins;
	pthread_t thread;
	struct lock lock;
	struct condition changed;
	bool stopping; /* protected by lock, as all below */
	uint64_t last_id;
	struct list_node list; /* by id */
	unsigned int active;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail */
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

const char *jobs_state_name(enum job_state state)
{
	static const char *const names[JOB_STATE_COUNT] = {
		[JOB_RUNNING] = "running",
		[JOB_DONE] = "done",
		[JOB_FAILED] = "failed",
		[JOB_CANCELLED] = "cancelled",
	};

	assert(state < JOB_STATE_COUNT);
	return names[state];
}

/* The list of a warm counts within the cache's limit. */
static void drop_list(struct cache *c, struct job *job)
{
	if (job->charged)
		resize_uncharge(c, CACHE_CHARGE_LISTS, job->charged);
	job->charged = 0;
	blockset_release(&job->set);
}

static void job_free(struct cache *c, struct job *job)
{
	snapshot_unref(job->snap);
	drop_list(c, job);
	free(job->name);
	free(job->error);
	free(job);
}

/* The next block of a warm: 1 and whether it was there, or as jobs do. */
static int warm_step(struct jobs *j, struct job *job, bool *ret_found)
{
	const struct block_source *source =
		store_source(snapshot_store(job->snap));
	uint8_t page[PAGER_PAGE_SIZE];
	struct cache_ref ref;
	uint64_t block;
	int r;

	if (job->at == job->set.count)
		return 0;
	block = job->set.blocks[job->at++];
	if (cache_peek(j->cache, block, &ref) == 0) {
		cache_unpin(&ref);
		*ret_found = true;
		return 1;
	}
	r = fetch_read(j->cache, source, block, CACHE_PREFETCH, page, NULL);
	/* So it goes on to the main queue, which is what was asked for. */
	if (r == 0)
		cache_note_use(j->cache, block);
	return r < 0 ? r : 1;
}

/* 1: a block was dealt with; 0: there is none left; else the error. */
static int step(struct jobs *j, struct job *job, bool *ret_found)
{
	int r;

	if (!job->is_pin)
		return warm_step(j, job, ret_found);
	if (job->at++ == job->blocks)
		return 0;
	r = pins_load(j->pins, job->name);
	return r < 0 ? r : 1;
}

/* Forgets the oldest that have ended, but for JOBS_KEPT. */
static void forget_old(struct jobs *j)
{
	unsigned int ended = 0;

	list_foreach (n, &j->list)
		ended += container_of(n, struct job, node)->state !=
			 JOB_RUNNING;
	list_foreach_safe (n, &j->list) {
		struct job *job = container_of(n, struct job, node);

		if (ended <= JOBS_KEPT)
			return;
		if (job->state == JOB_RUNNING)
			continue;
		list_remove(&job->node);
		job_free(j->cache, job);
		ended--;
	}
}

/* With the lock held. */
static void end_job(struct jobs *j, struct job *job, enum job_state state)
{
	job->state = state;
	job->ended_ns = now_ns();
	snapshot_unref(steal_ptr(job->snap));
	drop_list(j->cache, job);
	j->active--;
	forget_old(j);
}

static void note_step(struct jobs *j, struct job *job, int result, bool found)
{
	if (result < 0)
		job->error = strdup(err_text(result));
	if (result <= 0) {
		end_job(j, job, result ? JOB_FAILED : JOB_DONE);
		return;
	}
	job->done++;
	job->found += found;
	if (job->rate)
		job->due_ns = job->began_ns +
			      (uint64_t)((double)job->done * PAGER_PAGE_SIZE *
					 (double)SECOND / (double)job->rate);
}

/*
 * The running job whose turn came first; one that is to end does not wait for
 * its turn. One that has no rate is always due: it goes to the end of its kind
 * by being told the present.
 */
static struct job *next_job(struct jobs *j)
{
	struct job *first = NULL;

	list_foreach (n, &j->list) {
		struct job *job = container_of(n, struct job, node);

		if (job->state != JOB_RUNNING)
			continue;
		if (job->cancelled)
			return job;
		if (!first || job->due_ns < first->due_ns)
			first = job;
	}
	return first;
}

static void run_step(struct jobs *j, struct job *job)
{
	bool found = false;
	int r;

	if (!job->rate)
		job->due_ns = now_ns();
	lock_drop(&j->lock);
	err_clear();
	r = step(j, job, &found);
	lock_take(&j->lock);
	note_step(j, job, r, found);
}

/* With the lock held, which is dropped meanwhile. */
static void stop_job(struct jobs *j, struct job *job)
{
	if (job->is_pin) {
		lock_drop(&j->lock);
		/* Somebody may have unpinned it before. */
		(void)pins_remove(j->pins, job->name);
		lock_take(&j->lock);
	}
	end_job(j, job, JOB_CANCELLED);
}

static void *work(void *arg)
{
	struct jobs *j = arg;

	/* If it may not be nicer it is as nice as the others. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	LOCK_GUARD(&j->lock);
	while (!j->stopping) {
		struct job *job = next_job(j);

		if (!job)
			condition_wait(&j->changed, &j->lock);
		else if (job->cancelled)
			stop_job(j, job);
		else if (job->due_ns > now_ns())
			(void)condition_wait_until(&j->changed, &j->lock,
						   job->due_ns);
		else
			run_step(j, job);
	}
	return NULL;
}

int jobs_new(struct cache *c, struct pins *pins, struct jobs **ret_jobs)
{
	struct jobs *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return err_set(-ENOMEM, "jobs: out of memory");
	j->cache = c;
	j->pins = pins;
	lock_init(&j->lock, "cache jobs");
	condition_init(&j->changed);
	list_init(&j->list);
	r = pthread_create(&j->thread, NULL, work, j);
	if (r) {
		condition_release(&j->changed);
		lock_release(&j->lock);
		free(j);
		return err_set(-r, "cannot start the thread of cache jobs");
	}
	*ret_jobs = j;
	return 0;
}

void jobs_free(struct jobs *j)
{
	struct list_node *n;

	if (!j)
		return;
	lock_take(&j->lock);
	j->stopping = true;
	condition_wake_all(&j->changed);
	lock_drop(&j->lock);
	if (pthread_join(j->thread, NULL))
		abort(); /* it is ours, and joined once */
	while ((n = list_pop(&j->list)))
		job_free(j->cache, container_of(n, struct job, node));
	condition_release(&j->changed);
	lock_release(&j->lock);
	free(j);
}

/* Takes the job over, also on failure. */
static int start(struct jobs *j, struct job *job, uint64_t *ret_id)
{
	LOCK_GUARD(&j->lock);
	if (j->active == JOBS_ACTIVE) {
		job_free(j->cache, job);
		return err_set(-EBUSY, "%d cache jobs are under way already",
			       JOBS_ACTIVE);
	}
	job->id = ++j->last_id;
	job->began_ns = job->due_ns = now_ns();
	j->active++;
	list_append(&j->list, &job->node);
	condition_wake_all(&j->changed);
	*ret_id = job->id;
	return 0;
}

static struct job *job_new(struct snapshot *snap,
			   const struct jobs_options *options)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	list_init(&job->node);
	job->rate = options->rate < RATE_MAX ? options->rate : 0;
	job->snap = snapshot_ref(snap);
	job->name = strdup(snapshot_name(snap));
	if (!job->name) {
		snapshot_unref(job->snap);
		free(job);
		return NULL;
	}
	return job;
}

static int charge_list(struct cache *c, struct job *job)
{
	size_t bytes = job->set.count * sizeof(uint64_t);
	int r = resize_charge(c, CACHE_CHARGE_LISTS, bytes);

	if (r == 0)
		job->charged = bytes;
	return r;
}

int jobs_warm(struct jobs *j, struct snapshot *snap,
	      const struct jobs_options *options, uint64_t *ret_id)
{
	struct job *job = job_new(snap, options);
	int r;

	if (!job)
		return -ENOMEM;
	r = options->working_set
		    ? blockset_of_working_set(j->cache, snap, &job->set)
		    : blockset_of_snapshot(j->cache, snap, &job->set);
	if (r == 0)
		r = charge_list(j->cache, job);
	if (r < 0) {
		job_free(j->cache, job);
		return r;
	}
	job->blocks = job->set.count;
	return start(j, job, ret_id);
}

int jobs_pin(struct jobs *j, struct snapshot *snap,
	     const struct jobs_options *options, uint64_t *ret_id)
{
	struct job *job = job_new(snap, options);
	int r;

	if (!job)
		return -ENOMEM;
	job->is_pin = true;
	r = pins_begin(j->pins, snap, &job->blocks);
	if (r < 0) {
		job_free(j->cache, job);
		return r;
	}
	r = start(j, job, ret_id);
	if (r < 0)
		(void)pins_remove(j->pins, snapshot_name(snap));
	return r;
}

int jobs_cancel(struct jobs *j, uint64_t id)
{
	LOCK_GUARD(&j->lock);
	list_foreach (n, &j->list) {
		struct job *job = container_of(n, struct job, node);

		if (job->id != id)
			continue;
		job->cancelled = true;
		condition_wake_all(&j->changed);
		return 0;
	}
	return err_set(-ENOENT, "%llu: no such cache job",
		       (unsigned long long)id);
}

static int copy_status(const struct job *job, struct job_status *ret_status)
{
	struct job_status s = {
		.id = job->id,
		.kind = job->is_pin ? "pin" : "warm",
		.snapshot = strdup(job->name),
		.state = job->state,
		.blocks = job->blocks,
		.done = job->done,
		.found = job->found,
		.elapsed_ns = (job->ended_ns ? job->ended_ns : now_ns()) -
			      job->began_ns,
		.error = job->error ? strdup(job->error) : NULL,
	};

	*ret_status = s;
	return s.snapshot && !s.error == !job->error ? 0 : -ENOMEM;
}

int jobs_list(struct jobs *j, struct job_status **ret_list, size_t *ret_count)
{
	struct job_status *list;
	size_t count = 0;
	int r = 0;

	LOCK_GUARD(&j->lock);
	list_foreach (n, &j->list)
		count++;
	list = calloc(count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	count = 0;
	list_foreach (n, &j->list)
		if (r == 0)
			r = copy_status(container_of(n, struct job, node),
					&list[count++]);
	if (r < 0) {
		jobs_list_free(list, count);
		return r;
	}
	*ret_list = list;
	*ret_count = count;
	return 0;
}

void jobs_list_free(struct job_status *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free((char *)list[i].snapshot);
		free((char *)list[i].error);
	}
	free(list);
}
