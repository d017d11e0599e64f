#include "pagerd/control/import/importer.h"

#include <errno.h>
#include <mntent.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/store/origin/origin.h"
#include "fs/store/publish/publish.h"
#include "fs/store/snapshot/snapshot.h"

#define MOUNT_TYPE     "fuse.pagerfs"
#define MOUNT_LINE_MAX 8192
#define IN_SNAPSHOTS   "/snapshots/"
#define IN_MEMORY      "/memory"
#define NAME_PREFIX    "import-"
#define IMPORT_THREADS 2 /* the processors are for faults */

DEFINE_CLEANUP(store, struct store *, store_unref)

struct importer {
	struct store *store;
	const struct confine *allowed;
	char *store_path; /* with no symbolic link in it */
	struct lock lock; /* held while something is imported */
	volatile int cancelled;
};

int importer_new(struct store *store, const struct confine *allowed,
		 struct importer **ret_importer)
{
	struct importer *im = calloc(1, sizeof(*im));

	if (!im)
		return -ENOMEM;
	lock_init(&im->lock, "importer");
	im->store = store;
	im->allowed = allowed;
	im->store_path = realpath(store_path(store), NULL);
	if (!im->store_path) {
		importer_free(im);
		return -ENOMEM;
	}
	*ret_importer = im;
	return 0;
}

void importer_free(struct importer *im)
{
	if (!im)
		return;
	lock_release(&im->lock);
	free(im->store_path);
	free(im);
}

void importer_cancel(struct importer *im)
{
	__atomic_store_n(&im->cancelled, 1, __ATOMIC_RELAXED);
}

/* "/snapshots/NAME/memory": NAME. */
static int name_within(const char *rest, char ret_name[PAGER_NAME_MAX + 1])
{
	const char *name = rest + sizeof(IN_SNAPSHOTS) - 1;
	size_t len;

	if (strncmp(rest, IN_SNAPSHOTS, sizeof(IN_SNAPSHOTS) - 1) != 0)
		return -ENOENT;
	len = strcspn(name, "/");
	if (len == 0 || len > PAGER_NAME_MAX ||
	    strcmp(name + len, IN_MEMORY) != 0)
		return -ENOENT;
	memcpy(ret_name, name, len);
	ret_name[len] = '\0';
	return 0;
}

static bool is_ours(const struct importer *im, const struct mntent *e)
{
	return strcmp(e->mnt_type, MOUNT_TYPE) == 0 &&
	       (strcmp(e->mnt_fsname, im->store_path) == 0 ||
		strcmp(e->mnt_fsname, store_path(im->store)) == 0);
}

static int find_mounted(const struct importer *im, const char *path,
			char ret_name[PAGER_NAME_MAX + 1])
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mounts", "re");
	_cleanup_free_ char *line = malloc(MOUNT_LINE_MAX);
	struct mntent e;

	if (!f || !line)
		return f ? -ENOMEM : -errno;
	while (getmntent_r(f, &e, line, MOUNT_LINE_MAX)) {
		size_t len = strlen(e.mnt_dir);

		if (is_ours(im, &e) && strncmp(e.mnt_dir, path, len) == 0 &&
		    name_within(path + len, ret_name) == 0)
			return 0;
	}
	return -ENOENT;
}

static int find_published(struct importer *im, const char *path,
			  char ret_name[PAGER_NAME_MAX + 1])
{
	_cleanup_close_ int fd = -1;
	struct manifest_origin o;
	int r = confine_look(path, &fd);

	if (r < 0)
		return r == -ENOMEM ? r : -ENOENT;
	r = origin_of(fd, &o);
	return r < 0 ? -ENOENT : origin_find(im->store, &o, ret_name);
}

/* The name says which file it was, so that one file has one. */
static void name_import(const struct manifest_origin *o,
			char ret_name[PAGER_NAME_MAX + 1])
{
	(void)snprintf(
		ret_name, PAGER_NAME_MAX + 1, NAME_PREFIX "%llx-%llx-%llx-%llx",
		(unsigned long long)o->device, (unsigned long long)o->inode,
		(unsigned long long)o->size, (unsigned long long)o->mtime);
}

static int publish_here(const struct importer *im,
			const struct publish_options *options,
			struct publish_result *ret_result)
{
	struct store *store cleanup(cleanup_store) = NULL;
	struct publish_options o = *options;
	int r = store_open(store_path(im->store), STORE_WRITE, &store);

	o.threads = IMPORT_THREADS;
	o.cancelled = &im->cancelled;
	return r < 0 ? r : publish(store, &o, ret_result);
}

/* A file that a client names, as publish() is to open it. */
struct opened {
	int fd;
	char path[32];
};

static int open_allowed(const struct importer *im, const char *path,
			struct opened *ret_opened)
{
	int r = confine_open(im->allowed, path, &ret_opened->fd);

	/* The very file that was allowed, whatever its path is by now. */
	if (r == 0)
		(void)snprintf(ret_opened->path, sizeof(ret_opened->path),
			       "/proc/self/fd/%d", ret_opened->fd);
	return r;
}

/* Those of a publish: its memory, then the others. */
struct files {
	struct opened *opened;
	struct publish_file *list;
	unsigned int count;
};

static void files_release(struct files *f)
{
	for (unsigned int i = 0; i < f->count; i++)
		close_quietly(f->opened[i].fd);
	free(f->opened);
	free(f->list);
}

static int open_files(const struct importer *im,
		      const struct publish_options *o, struct files *f)
{
	f->opened = calloc(o->file_count + 1, sizeof(*f->opened));
	f->list = calloc(o->file_count + 1, sizeof(*f->list));
	if (!f->opened || !f->list)
		return -ENOMEM;
	for (unsigned int i = 0; i <= o->file_count; i++) {
		const struct publish_file *from = i ? &o->files[i - 1]
						    : &o->memory;
		int r = open_allowed(im, from->path, &f->opened[i]);

		if (r < 0)
			return r;
		f->count++;
		f->list[i] =
			(struct publish_file){from->key, f->opened[i].path};
	}
	return 0;
}

int importer_publish(struct importer *im, const struct publish_options *options,
		     struct publish_result *ret_result)
{
	struct publish_options o = *options;
	struct files files cleanup(files_release) = {0};
	int r = open_files(im, options, &files);

	if (r < 0)
		return r;
	o.memory = files.list[0];
	o.files = files.list + 1;
	LOCK_GUARD(&im->lock);
	r = publish_here(im, &o, ret_result);
	if (r == 0)
		log_info("published snapshot=%s pages=%llu stored_bytes=%llu",
			 o.name, (unsigned long long)ret_result->pages,
			 (unsigned long long)ret_result->stored_bytes);
	return r;
}

static int publish_file(const struct importer *im, int fd, const char *path,
			const char *name)
{
	struct publish_options o = PUBLISH_OPTIONS_INIT;
	const struct publish_label label = {"path", path};
	struct publish_result result;
	char again[32];
	int r;

	/* The very file that was allowed, whatever its path is by now. */
	(void)snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
	o.name = name;
	o.memory = (struct publish_file){"memory", again};
	o.labels = &label;
	o.label_count = strlen(path) <= PAGER_LABEL_MAX;
	r = publish_here(im, &o, &result);
	if (r == 0)
		log_info("imported '%s' as snapshot=%s pages=%llu "
			 "stored_bytes=%llu",
			 path, name, (unsigned long long)result.pages,
			 (unsigned long long)result.stored_bytes);
	return r;
}

static int import(struct importer *im, const char *path,
		  char ret_name[PAGER_NAME_MAX + 1])
{
	char name[PAGER_NAME_MAX + 1];
	_cleanup_close_ int fd = -1;
	struct manifest_origin o;
	int r = confine_open(im->allowed, path, &fd);

	if (r == 0 && origin_of(fd, &o) < 0)
		r = -EINVAL;
	if (r < 0)
		return r;
	if (!origin_settle(&o))
		return err_set(-EINVAL,
			       "'%.256s' was changed in the future: a later "
			       "change would not show",
			       path);
	name_import(&o, name);
	LOCK_GUARD(&im->lock);
	/* Somebody may have imported it while we waited. */
	if (origin_find(im->store, &o, ret_name) == 0)
		return 0;
	if (__atomic_load_n(&im->cancelled, __ATOMIC_RELAXED))
		return -ECANCELED;
	r = publish_file(im, fd, path, name);
	if (r < 0)
		return r;
	/* What it was while it was read must be what it was when it came. */
	if (origin_find(im->store, &o, ret_name) == 0)
		return 0;
	(void)snapshot_remove(im->store, name);
	return err_set(-EBUSY, "'%.256s' changed while it was read", path);
}

int importer_resolve(struct importer *im, const char *path,
		     char ret_name[PAGER_NAME_MAX + 1])
{
	int r;

	if (path[0] != '/')
		return err_set(-EINVAL, "'%.256s' is no absolute path", path);
	if (find_mounted(im, path, ret_name) == 0)
		return 0;
	r = find_published(im, path, ret_name);
	if (r == -ENOENT)
		r = import(im, path, ret_name);
	if (r == -EXDEV || r == -ENOENT)
		return err_set(-ENOENT,
			       "'%.256s': not in a mount of the store, not "
			       "published as it stands, and no file below a "
			       "folder of --import",
			       path);
	return r;
}
