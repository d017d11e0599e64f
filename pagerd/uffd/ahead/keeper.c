#include "pagerd/uffd/ahead/keeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/list.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/store/workingset/wsfile.h"

#define ROOM_FIRST 1024u

struct job {
	struct list_node node;
	struct touches *touches;
};

struct claim {
	struct list_node node;
	const struct touches *of;
	struct pager_digest image;
};

struct keeper {
	pthread_t thread;
	struct lock lock;
	struct condition changed;
	struct list_node jobs;	 /* protected by lock */
	struct list_node claims; /* likewise */
	bool stopping;		 /* likewise */
};

struct touches *touches_new(const struct snapshot *snapshot, size_t most)
{
	const struct manifest_file *image = &snapshot_manifest(snapshot)->image;
	struct touches *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->snapshot = strdup(snapshot_name(snapshot));
	if (!t->snapshot) {
		free(t);
		return NULL;
	}
	t->store = store_ref(snapshot_store(snapshot));
	t->image = image->digest;
	t->image_pages = image->pages;
	t->most = most;
	return t;
}

void touches_free(struct touches *t)
{
	if (!t)
		return;
	store_unref(t->store);
	free(t->snapshot);
	free(t->pages);
	free(t);
}

bool touches_add(struct touches *t, uint64_t page)
{
	if (t->count == t->most)
		return false;
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : ROOM_FIRST;
		void *grown = realloc(t->pages, room * sizeof(*t->pages));

		if (!grown)
			return false;
		t->pages = grown;
		t->room = room;
	}
	t->pages[t->count++] = page;
	return true;
}

static int save(const struct touches *t, size_t *ret_pages)
{
	struct workingset old cleanup(workingset_release) = {0};
	struct workingset set cleanup(workingset_release) = {0};
	int r = wsfile_load(t->store, &t->image, t->image_pages, &old);

	/* What cannot be read is replaced. */
	if (r < 0) {
		old.image = t->image;
		old.pages = t->image_pages;
	}
	r = workingset_merge(&old, t->pages, t->count, t->most, &set);
	if (r < 0 || set.count == 0)
		return r;
	*ret_pages = set.count;
	return wsfile_save(t->store, &set);
}

static void save_and_tell(const struct touches *t)
{
	size_t pages = 0;
	int r = save(t, &pages);

	if (r == -EROFS || r == -EACCES || r == -EBUSY)
		log_debug("the working set is not kept: %s snapshot=%s",
			  err_text(r), t->snapshot);
	else if (r < 0)
		log_warn("the working set is not kept: %s snapshot=%s",
			 err_text(r), t->snapshot);
	else if (pages)
		log_info("working set recorded snapshot=%s touched=%zu "
			 "pages=%zu",
			 t->snapshot, t->count, pages);
}

/* The next job; NULL when there will be none. */
static struct job *next_job(struct keeper *k)
{
	struct list_node *n;

	LOCK_GUARD(&k->lock);
	while (!(n = list_pop(&k->jobs)) && !k->stopping)
		condition_wait(&k->changed, &k->lock);
	return n ? container_of(n, struct job, node) : NULL;
}

static void *run(void *arg)
{
	struct keeper *k = arg;
	struct job *job;

	while ((job = next_job(k))) {
		save_and_tell(job->touches);
		keeper_drop(k, job->touches);
		free(job);
	}
	return NULL;
}

int keeper_new(struct keeper **ret_keeper)
{
	struct keeper *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	lock_init(&k->lock, "keeper");
	condition_init(&k->changed);
	list_init(&k->jobs);
	list_init(&k->claims);
	r = pthread_create(&k->thread, NULL, run, k);
	if (r != 0) {
		condition_release(&k->changed);
		lock_release(&k->lock);
		free(k);
		return err_set(-r, "cannot start a thread: %s",
			       strerrordesc_np(r));
	}
	(void)pthread_setname_np(k->thread, "pager-keeper");
	*ret_keeper = k;
	return 0;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	lock_take(&k->lock);
	k->stopping = true;
	condition_wake_all(&k->changed);
	lock_drop(&k->lock);
	(void)pthread_join(k->thread, NULL);
	condition_release(&k->changed);
	lock_release(&k->lock);
	free(k);
}

bool keeper_claim(struct keeper *k, const struct touches *t)
{
	struct claim *claim = calloc(1, sizeof(*claim));

	if (!claim)
		return false;
	claim->of = t;
	claim->image = t->image;
	LOCK_GUARD(&k->lock);
	list_foreach (n, &k->claims) {
		const struct claim *c = container_of(n, struct claim, node);

		if (memcmp(&c->image, &claim->image, sizeof(c->image)) == 0) {
			free(claim);
			return false;
		}
	}
	list_append(&k->claims, &claim->node);
	return true;
}

void keeper_save(struct keeper *k, struct touches *t)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		keeper_drop(k, t);
		return;
	}
	job->touches = t;
	LOCK_GUARD(&k->lock);
	list_append(&k->jobs, &job->node);
	condition_wake_one(&k->changed);
}

static void drop_claim(struct keeper *k, const struct touches *t)
{
	LOCK_GUARD(&k->lock);
	list_foreach (n, &k->claims) {
		struct claim *c = container_of(n, struct claim, node);

		if (c->of == t) {
			list_remove(&c->node);
			free(c);
			return;
		}
	}
}

void keeper_drop(struct keeper *k, struct touches *t)
{
	drop_claim(k, t);
	touches_free(t);
}
