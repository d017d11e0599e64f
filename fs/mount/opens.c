#include "fs/mount/opens.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "fs/base/err.h"

void opens_init(struct opens *o, unsigned int most)
{
	o->files = 0;
	o->most = most ?: UINT_MAX;
	lock_init(&o->lock, "open files");
	list_init(&o->list);
}

static void free_opened(struct opened *opened)
{
	if (!opened)
		return;
	handle_close(opened->handle);
	listing_release(&opened->listing);
	free(opened);
}

DEFINE_CLEANUP(opened, struct opened *, free_opened)

void opens_release(struct opens *o)
{
	struct list_node *n;

	while ((n = list_pop(&o->list)))
		free_opened(container_of(n, struct opened, node));
	lock_release(&o->lock);
}

static void enter(struct opens *o, struct opened *opened)
{
	LOCK_GUARD(&o->lock);
	list_insert(&o->list, &opened->node);
}

/* A file's place, taken before it costs anything. */
static int reserve(struct opens *o)
{
	LOCK_GUARD(&o->lock);
	if (o->files == o->most)
		return err_set(-ENFILE, "%u files are open in the mount",
			       o->most);
	o->files++;
	return 0;
}

static void give_back(struct opens *o)
{
	LOCK_GUARD(&o->lock);
	o->files--;
}

int opens_file(struct opens *o, struct tree *t, const struct node *n,
	       struct opened **ret_opened)
{
	struct opened *opened cleanup(cleanup_opened) =
		calloc(1, sizeof(*opened));
	int r = reserve(o);

	if (r < 0)
		return r;
	r = opened ? handle_open(t, n, &opened->handle) : -ENOMEM;
	if (r < 0) {
		give_back(o);
		return r;
	}
	enter(o, opened);
	*ret_opened = steal_ptr(opened);
	return 0;
}

int opens_folder(struct opens *o, struct tree *t, const struct node *n,
		 struct opened **ret_opened)
{
	struct opened *opened cleanup(cleanup_opened) =
		calloc(1, sizeof(*opened));
	int r = opened ? listing_read(t, n, &opened->listing) : -ENOMEM;

	if (r < 0)
		return r;
	enter(o, opened);
	*ret_opened = steal_ptr(opened);
	return 0;
}

void opens_close(struct opens *o, struct opened *opened)
{
	lock_take(&o->lock);
	list_remove(&opened->node);
	o->files -= opened->handle != NULL;
	lock_drop(&o->lock);
	free_opened(opened);
}
