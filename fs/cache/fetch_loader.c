#include "fs/cache/fetch_loader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "pager/block.h"

struct worker {
	struct fetch_loader *loader;
	pthread_t thread;
	uint64_t pack; /* being prepared, 0: none; protected by lock */
};

struct fetch_loader {
	const struct block_source *source;
	struct worker workers[FETCH_LOADER_THREADS];
	unsigned int started; /* of the workers; the creating thread's */
	struct lock lock;
	struct condition changed; /* queue or stopping */
	struct list_node queue;	  /* fetch_load; protected by lock */
	bool stopping;		  /* protected by lock */
};

static bool in_preparation(const struct fetch_loader *l, uint64_t pack)
{
	for (unsigned int i = 0; i < l->started; i++)
		if (l->workers[i].pack == pack)
			return true;
	return false;
}

/* The first load of a pack that no thread is at, taken out; or NULL. */
static struct fetch_load *next_load(struct fetch_loader *l)
{
	list_foreach (n, &l->queue) {
		struct fetch_load *load =
			container_of(n, struct fetch_load, node);

		if (in_preparation(l, pager_block_pack(load->block)))
			continue;
		list_remove(n);
		return load;
	}
	return NULL;
}

/* Moves what waits for the same pack to `same`. */
static void take_same(struct fetch_loader *l, uint64_t pack,
		      struct list_node *same)
{
	list_foreach_safe (n, &l->queue) {
		struct fetch_load *load =
			container_of(n, struct fetch_load, node);

		if (load->rescue || pager_block_pack(load->block) != pack)
			continue;
		list_remove(n);
		list_append(same, n);
	}
}

/* Called and left with the lock held, dropped in between. */
static void serve(struct worker *w, struct fetch_load *load)
{
	struct fetch_loader *l = w->loader;
	struct list_node same = LIST_INIT(same), *n;
	int r;

	w->pack = pager_block_pack(load->block);
	list_append(&same, &load->node);
	lock_drop(&l->lock);
	err_clear();
	if (load->rescue)
		r = l->source->ops->rescue(l->source->ctx, load->block);
	else
		r = l->source->ops->prepare(l->source->ctx, load->block);
	lock_take(&l->lock);
	if (!load->rescue)
		take_same(l, w->pack, &same);
	w->pack = 0;
	lock_drop(&l->lock);
	while ((n = list_pop(&same))) {
		load = container_of(n, struct fetch_load, node);
		load->loaded(load, r);
	}
	lock_take(&l->lock);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct fetch_loader *l = w->loader;

	LOCK_GUARD(&l->lock);
	while (!l->stopping) {
		struct fetch_load *load = next_load(l);

		if (load)
			serve(w, load);
		else
			condition_wait(&l->changed, &l->lock);
	}
	return NULL;
}

static int start(struct fetch_loader *l)
{
	LOCK_GUARD(&l->lock);
	for (; l->started < FETCH_LOADER_THREADS; l->started++) {
		struct worker *w = &l->workers[l->started];
		int r;

		w->loader = l;
		r = pthread_create(&w->thread, NULL, work, w);
		if (r)
			return err_set(-r, "cannot start a loader's thread");
	}
	return 0;
}

int fetch_loader_new(const struct block_source *source,
		     struct fetch_loader **ret_loader)
{
	struct fetch_loader *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(-ENOMEM, "loader: out of memory");
	l->source = source;
	lock_init(&l->lock, "loader");
	condition_init(&l->changed);
	list_init(&l->queue);
	r = start(l);
	if (r < 0) {
		fetch_loader_free(l);
		return r;
	}
	*ret_loader = l;
	return 0;
}

void fetch_loader_free(struct fetch_loader *l)
{
	if (!l)
		return;
	lock_take(&l->lock);
	assert(list_empty(&l->queue));
	l->stopping = true;
	condition_wake_all(&l->changed);
	lock_drop(&l->lock);
	for (unsigned int i = 0; i < l->started; i++)
		if (pthread_join(l->workers[i].thread, NULL))
			abort(); /* it is ours, and joined once */
	condition_release(&l->changed);
	lock_release(&l->lock);
	free(l);
}

void fetch_loader_add(struct fetch_loader *l, struct fetch_load *load)
{
	LOCK_GUARD(&l->lock);
	list_append(&l->queue, &load->node);
	condition_wake_one(&l->changed);
}
