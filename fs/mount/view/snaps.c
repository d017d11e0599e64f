/*
 * A snapshot is looked up far more often than it changes: the kernel asks
 * again at each step of a path, because names have to come and go at once. So
 * a lookup costs one fstatat() of the manifest; only a file that differs in
 * inode, size or times from the one that was read is read again.
 *
 * The stamp could be fooled by a name that is removed and published within one
 * tick of the file system's clock. Nothing rests on it but what a listing
 * shows: image_open() compares with the manifest that it leases.
 *
 * The table holds no reference. The last one to drop a snap takes it out,
 * under the lock, so a snap in the table always has a reference that lasts
 * until the lock is dropped.
 */
#include "fs/mount/view/snaps.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fs/base/err.h"
#include "fs/base/list.h"
#include "fs/base/lock.h"
#include "fs/io/file.h"
#include "fs/store/store.h"

#define BUCKETS 4096u

/* Which file a manifest was read from. */
struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct entry {
	struct snap snap;
	struct snaps *table;
	struct stamp stamp;
	unsigned int refs;     /* protected by table->lock */
	struct list_node node; /* likewise; in no list once it is outdated */
};

struct snaps {
	const struct view *view;
	struct lock lock; /* innermost: nothing is taken under it */
	struct list_node buckets[BUCKETS]; /* protected by lock */
};

int snaps_new(const struct view *view, struct snaps **ret_snaps)
{
	struct snaps *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->view = view;
	lock_init(&s->lock, "mounted snapshots");
	for (unsigned int i = 0; i < BUCKETS; i++)
		list_init(&s->buckets[i]);
	*ret_snaps = s;
	return 0;
}

void snaps_free(struct snaps *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < BUCKETS; i++)
		assert(list_empty(&s->buckets[i]));
	lock_release(&s->lock);
	free(s);
}

static struct entry *entry_of(struct snap *snap)
{
	return container_of(snap, struct entry, snap);
}

static struct list_node *bucket_of(struct snaps *s, const char *name)
{
	return &s->buckets[XXH3_64bits(name, strlen(name)) % BUCKETS];
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime);
}

static struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = st->st_size,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim,
	};
}

static void free_entry(struct entry *e)
{
	if (!e)
		return;
	free(e->snap.name);
	manifest_release(&e->snap.manifest);
	free(e);
}

DEFINE_CLEANUP(entry, struct entry *, free_entry)

static void identify(const struct store *store, struct snap *snap)
{
	const struct manifest *m = &snap->manifest;
	struct {
		XXH128_canonical_t name; /* fixed width, whatever its length */
		uint64_t created, root, size;
		struct pager_digest digest;
	} all = {
		.created = m->created,
		.root = m->image.root,
		.size = m->image.size,
		.digest = m->image.digest,
	};
	const uint8_t *secret = store_secret(store);
	XXH128_canonical_t identity;

	XXH128_canonicalFromHash(
		&all.name,
		XXH3_128bits_withSecret(snap->name, strlen(snap->name), secret,
					PAGER_SECRET_SIZE));
	XXH128_canonicalFromHash(
		&identity, XXH3_128bits_withSecret(&all, sizeof(all), secret,
						   PAGER_SECRET_SIZE));
	memcpy(snap->identity, &identity, sizeof(snap->identity));
}

/* The manifest and the stamp of one and the same open file. */
static int read_entry(const struct store *store, const char *name,
		      struct entry *e)
{
	_cleanup_close_ int fd =
		openat(store_folder_fd(store, STORE_SNAPSHOTS), name,
		       O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ uint8_t *bytes = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) ||
	    st.st_size > (off_t)(sizeof(struct pager_manifest_header) +
				 PAGER_MANIFEST_BODY_MAX))
		return err_set(-EBADMSG, "damaged manifest: no file of ours");
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		return -ENOMEM;
	r = file_pread(fd, bytes, (size_t)st.st_size, 0, INJECT_POINT_COUNT);
	if (r < 0)
		return r;
	e->stamp = stamp_of(&st);
	return manifest_decode(bytes, (size_t)st.st_size, store_id(store),
			       &e->snap.manifest);
}

static int load_entry(struct snaps *s, const char *name,
		      struct entry **ret_entry)
{
	struct entry *e cleanup(cleanup_entry) = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	e->table = s;
	e->refs = 1;
	list_init(&e->node);
	e->snap.name = strdup(name);
	if (!e->snap.name)
		return -ENOMEM;
	r = read_entry(s->view->store, name, e);
	if (r < 0)
		return r;
	identify(s->view->store, &e->snap);
	*ret_entry = steal_ptr(e);
	return 0;
}

/* Referenced for the caller, or NULL; one that is outdated leaves. */
static struct entry *find_locked(struct snaps *s, const char *name,
				 const struct stamp *now)
{
	lock_assert_held(&s->lock);
	list_foreach (n, bucket_of(s, name)) {
		struct entry *e = container_of(n, struct entry, node);

		if (strcmp(e->snap.name, name) != 0)
			continue;
		if (same_stamp(&e->stamp, now)) {
			e->refs++;
			return e;
		}
		list_remove(&e->node);
		return NULL;
	}
	return NULL;
}

static struct entry *find_entry(struct snaps *s, const char *name,
				const struct stamp *now)
{
	LOCK_GUARD(&s->lock);
	return find_locked(s, name, now);
}

/* Two threads may have read the same manifest: the first one stays. */
static struct entry *enter(struct snaps *s, struct entry *e)
{
	struct entry *before;

	lock_take(&s->lock);
	before = find_locked(s, e->snap.name, &e->stamp);
	if (!before)
		list_insert(bucket_of(s, e->snap.name), &e->node);
	lock_drop(&s->lock);
	if (!before)
		return e;
	free_entry(e);
	return before;
}

int snaps_get(struct snaps *s, const char *name, struct snap **ret_snap)
{
	struct stat st;
	struct stamp now;
	struct entry *e;
	int r;

	if (fstatat(store_folder_fd(s->view->store, STORE_SNAPSHOTS), name, &st,
		    AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	now = stamp_of(&st);
	e = find_entry(s, name, &now);
	if (!e) {
		r = load_entry(s, name, &e);
		if (r < 0)
			return r;
		e = enter(s, e);
	}
	*ret_snap = &e->snap;
	return 0;
}

struct snap *snap_ref(struct snap *snap)
{
	struct entry *e = entry_of(snap);

	LOCK_GUARD(&e->table->lock);
	assert(e->refs);
	e->refs++;
	return snap;
}

void snap_unref(struct snap *snap)
{
	struct entry *e;
	unsigned int left;

	if (!snap)
		return;
	e = entry_of(snap);
	lock_take(&e->table->lock);
	left = --e->refs;
	if (left == 0)
		list_remove(&e->node);
	lock_drop(&e->table->lock);
	if (left == 0)
		free_entry(e);
}
