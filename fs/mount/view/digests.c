/*
 * The answer is kept until the folder of manifests changes. A folder's time
 * has the resolution of a clock tick, so a change just after we looked may
 * leave it as it was: an answer is kept only if the folder had been at rest
 * for a while when it was read.
 *
 * Snapshots whose manifest cannot be read are left out.
 */
#include "fs/mount/view/digests.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/base/lock.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/store.h"

#define REST_SECONDS 2

struct known {
	struct snap **list; /* by digest, then by name */
	size_t count;
};

struct digests {
	const struct view *view;
	struct snaps *snaps;
	struct lock lock;      /* taken before the lock of snaps */
	struct known known;    /* protected by lock */
	bool kept;	       /* likewise: `known` is of `folder` */
	struct timespec mtime; /* likewise: of the folder, when read */
};

int digests_new(const struct view *view, struct snaps *snaps,
		struct digests **ret_digests)
{
	struct digests *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->view = view;
	d->snaps = snaps;
	lock_init(&d->lock, "digests");
	*ret_digests = d;
	return 0;
}

static void known_release(struct known *k)
{
	for (size_t i = 0; i < k->count; i++)
		snap_unref(k->list[i]);
	free(k->list);
	*k = (struct known){0};
}

void digests_free(struct digests *d)
{
	if (!d)
		return;
	known_release(&d->known);
	lock_release(&d->lock);
	free(d);
}

static const struct pager_digest *digest_of(const struct snap *snap)
{
	return &snap->manifest.image.digest;
}

static int snap_order(const void *a, const void *b)
{
	const struct snap *p = *(struct snap *const *)a;
	const struct snap *q = *(struct snap *const *)b;
	int order =
		memcmp(digest_of(p), digest_of(q), sizeof(struct pager_digest));

	return order ? order : strcmp(p->name, q->name);
}

static int read_all(struct digests *d, struct known *ret_known)
{
	struct known k = {0};
	char **names;
	size_t count;
	int r = snapshot_list(d->view->store, &names, &count);

	if (r < 0)
		return r;
	k.list = calloc(count + 1, sizeof(struct snap *));
	for (size_t i = 0; k.list && i < count; i++)
		if (snaps_get(d->snaps, names[i], &k.list[k.count]) == 0)
			k.count++;
	snapshot_names_free(names, count);
	if (!k.list)
		return -ENOMEM;
	qsort(k.list, k.count, sizeof(struct snap *), snap_order);
	*ret_known = k;
	return 0;
}

/* The folder's time, and whether it was at rest by then. */
static int folder_time(const struct digests *d, struct timespec *ret_mtime,
		       bool *ret_rested)
{
	struct timespec now;
	struct stat st;

	if (clock_gettime(CLOCK_REALTIME, &now) < 0 ||
	    fstat(store_folder_fd(d->view->store, STORE_SNAPSHOTS), &st) < 0)
		return -errno;
	*ret_mtime = st.st_mtim;
	*ret_rested = st.st_mtim.tv_sec + REST_SECONDS < now.tv_sec;
	return 0;
}

/* Makes `known` be what the store has now. */
static int refresh(struct digests *d)
{
	struct known fresh;
	struct timespec mtime = {0};
	bool rested = false;
	int r = folder_time(d, &mtime, &rested);

	lock_assert_held(&d->lock);
	if (r < 0)
		return r;
	if (d->kept && mtime.tv_sec == d->mtime.tv_sec &&
	    mtime.tv_nsec == d->mtime.tv_nsec)
		return 0;
	r = read_all(d, &fresh);
	if (r < 0)
		return r;
	/* Only now: while they were referenced the old ones were cheap. */
	known_release(&d->known);
	d->known = fresh;
	d->mtime = mtime;
	d->kept = rested;
	return 0;
}

int digests_find(struct digests *d, const struct pager_digest *digest,
		 char **ret_name)
{
	size_t from = 0, to;
	int r;

	LOCK_GUARD(&d->lock);
	r = refresh(d);
	if (r < 0)
		return r;
	to = d->known.count;
	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (memcmp(digest_of(d->known.list[middle]), digest,
			   sizeof(*digest)) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	if (from == d->known.count || memcmp(digest_of(d->known.list[from]),
					     digest, sizeof(*digest)) != 0)
		return -ENOENT;
	*ret_name = strdup(d->known.list[from]->name);
	return *ret_name ? 0 : -ENOMEM;
}

int digests_list(struct digests *d, struct pager_digest **ret_digests,
		 size_t *ret_count)
{
	struct pager_digest *list;
	size_t count = 0;
	int r;

	LOCK_GUARD(&d->lock);
	r = refresh(d);
	if (r < 0)
		return r;
	list = calloc(d->known.count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < d->known.count; i++) {
		const struct pager_digest *one = digest_of(d->known.list[i]);

		if (count == 0 ||
		    memcmp(&list[count - 1], one, sizeof(*one)) != 0)
			list[count++] = *one;
	}
	*ret_digests = list;
	*ret_count = count;
	return 0;
}
