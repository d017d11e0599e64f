#include "fs/store/snapshot/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/store/folder.h"
#include "fs/store/snapshot/name.h"

/*
 * A lease is a shared OFD lock on the manifest itself, so it follows the file,
 * not the name, and dies with its holder. Whoever locks a manifest that was
 * opened by its name checks afterwards that the name still is that file: it
 * may have been removed, or published anew, while the lock was waited for.
 */

#define SNAPSHOT_MAGIC UINT32_C(0x534e4150)

struct snapshot {
	uint32_t magic;
	_Atomic unsigned int refs;
	/* All else is written before the snapshot is shared, then constant. */
	struct store *store;
	char *name;
	int fd; /* of the manifest: holds the lease */
	struct manifest manifest;
};

static int no_such(const char *name)
{
	return err_set(-ENOENT, "no snapshot '%s'", name);
}

static int lock_manifest(int fd, short type, bool wait)
{
	struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
	int r;

	do {
		r = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &whole);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
	return 0;
}

/* 1: the name is this file; 0: it is none or another by now. */
static int still_named(int folder, const char *name, int fd)
{
	struct stat by_fd, by_name;

	if (fstat(fd, &by_fd) < 0)
		return -errno;
	if (fstatat(folder, name, &by_name, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return by_fd.st_ino == by_name.st_ino && by_fd.st_dev == by_name.st_dev;
}

/*
 * The manifest's fd, locked. A shared lock waits for a removal that is under
 * way; an exclusive one fails with -EBUSY while there is a lease.
 */
static int open_locked(struct store *s, const char *name, bool exclusive)
{
	int folder = store_folder_fd(s, STORE_SNAPSHOTS);

	for (;;) {
		_cleanup_close_ int fd =
			openat(folder, name,
			       (exclusive ? O_RDWR : O_RDONLY) | O_CLOEXEC |
				       O_NOFOLLOW | O_NONBLOCK);
		int r;

		if (fd < 0)
			return errno == ENOENT ? no_such(name) : -errno;
		r = lock_manifest(fd, exclusive ? F_WRLCK : F_RDLCK,
				  !exclusive);
		if (r < 0)
			return r;
		r = still_named(folder, name, fd);
		if (r < 0)
			return r;
		if (r > 0)
			return steal_fd(fd);
	}
}

static int read_manifest(struct store *s, int fd, struct manifest *ret_manifest)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	const size_t most =
		sizeof(struct pager_manifest_header) + PAGER_MANIFEST_BODY_MAX;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > most)
		return err_set(-EBADMSG, "damaged manifest: no file of ours");
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		return -ENOMEM;
	r = file_pread(fd, bytes, (size_t)st.st_size, 0, INJECT_POINT_COUNT);
	if (r < 0)
		return r;
	return manifest_decode(bytes, (size_t)st.st_size, store_id(s),
			       ret_manifest);
}

static void free_snapshot(struct snapshot *snap)
{
	manifest_release(&snap->manifest);
	close_quietly(snap->fd);
	store_unref(snap->store);
	free(snap->name);
	snap->magic = 0;
	free(snap);
}

int snapshot_open(struct store *s, const char *name,
		  struct snapshot **ret_snapshot)
{
	struct snapshot *snap cleanup(cleanup_snapshot) = NULL;
	int r = name_check("the snapshot's name", name);

	if (r < 0)
		return r;
	snap = calloc(1, sizeof(*snap));
	if (!snap)
		return -ENOMEM;
	snap->magic = SNAPSHOT_MAGIC;
	atomic_init(&snap->refs, 1);
	snap->fd = -1;
	snap->store = store_ref(s);
	snap->name = strdup(name);
	if (!snap->name)
		return -ENOMEM;
	r = open_locked(s, name, false);
	if (r < 0)
		return r;
	snap->fd = r;
	r = read_manifest(s, snap->fd, &snap->manifest);
	if (r < 0)
		return err_wrap(r, "snapshot '%s'", name);
	*ret_snapshot = steal_ptr(snap);
	return 0;
}

struct snapshot *snapshot_ref(struct snapshot *snap)
{
	assert(snap->magic == SNAPSHOT_MAGIC);
	atomic_fetch_add(&snap->refs, 1);
	return snap;
}

void snapshot_unref(struct snapshot *snap)
{
	if (!snap)
		return;
	assert(snap->magic == SNAPSHOT_MAGIC);
	if (atomic_fetch_sub(&snap->refs, 1) == 1)
		free_snapshot(snap);
}

const char *snapshot_name(const struct snapshot *snap)
{
	return snap->name;
}

const struct manifest *snapshot_manifest(const struct snapshot *snap)
{
	return &snap->manifest;
}

struct store *snapshot_store(const struct snapshot *snap)
{
	return snap->store;
}

int snapshot_check_free(struct store *s, const char *name)
{
	int r = name_check("the snapshot's name", name);

	if (r < 0)
		return r;
	if (faccessat(store_folder_fd(s, STORE_SNAPSHOTS), name, F_OK,
		      AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(-ENOTUNIQ, "there is a snapshot '%s' already",
			       name);
	return errno == ENOENT ? 0 : -errno;
}

static int write_temp(struct store *s, const uint8_t *bytes, size_t len,
		      char temp[FILE_TEMP_NAME_MAX])
{
	_cleanup_close_ int fd = file_create_temp(store_folder_fd(s, STORE_TMP),
						  "manifest", temp);
	int r;

	if (fd < 0)
		return fd;
	r = file_pwrite(fd, bytes, len, 0, INJECT_MANIFEST_WRITE);
	if (r == 0)
		r = file_sync(fd, INJECT_MANIFEST_SYNC);
	if (r < 0)
		(void)unlinkat(store_folder_fd(s, STORE_TMP), temp, 0);
	return r;
}

/* Gives the manifest its name, and takes it away where that is not durable. */
static int name_manifest(struct store *s, const char *temp, const char *name)
{
	int tmp = store_folder_fd(s, STORE_TMP);
	int folder = store_folder_fd(s, STORE_SNAPSHOTS);
	int r = inject_pass(INJECT_MANIFEST_RENAME, NULL);

	if (r == 0 && renameat2(tmp, temp, folder, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(tmp, temp, 0);
		return r;
	}
	r = inject_pass(INJECT_MANIFEST_COMMIT, NULL);
	if (r == 0)
		r = file_sync_dir(folder);
	if (r < 0)
		(void)unlinkat(folder, name, 0);
	return r;
}

int snapshot_commit(struct store *s, const char *name, const struct manifest *m)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	char temp[FILE_TEMP_NAME_MAX];
	size_t len;
	int r = snapshot_check_free(s, name);

	if (r < 0)
		return r;
	r = manifest_encode(m, store_id(s), &bytes, &len);
	if (r < 0)
		return r;
	r = write_temp(s, bytes, len, temp);
	if (r == 0)
		r = name_manifest(s, temp, name);
	if (r == -EEXIST)
		return err_set(-ENOTUNIQ, "there is a snapshot '%s' already",
			       name);
	if (r < 0)
		return err_set(r, "cannot write the manifest of '%s': %s", name,
			       strerrordesc_np(-r));
	return 0;
}

int snapshot_remove(struct store *s, const char *name)
{
	int folder = store_folder_fd(s, STORE_SNAPSHOTS);
	_cleanup_close_ int fd = -1;
	int r = name_check("the snapshot's name", name);

	if (r < 0)
		return r;
	fd = open_locked(s, name, true);
	if (fd == -EBUSY)
		return err_set(-EBUSY, "snapshot '%s' is in use", name);
	if (fd == -ENOENT)
		return fd;
	if (fd < 0 || unlinkat(folder, name, 0) < 0) {
		r = fd < 0 ? fd : -errno;
		return err_set(r, "cannot remove snapshot '%s': %s", name,
			       strerrordesc_np(-r));
	}
	return file_sync_dir(folder);
}

struct names {
	char **list;
	size_t count, room;
};

static void names_release(struct names *n)
{
	snapshot_names_free(n->list, n->count);
}

/* A folder_name_fn. What is no name is left alone. */
static int names_add(void *arg, const char *name)
{
	struct names *n = arg;

	if (name_check("a name", name) < 0)
		return 0;
	if (n->count == n->room) {
		size_t room = n->room ? 2 * n->room : 64;
		void *grown = realloc(n->list, room * sizeof(*n->list));

		if (!grown)
			return -ENOMEM;
		n->list = grown;
		n->room = room;
	}
	n->list[n->count] = strdup(name);
	if (!n->list[n->count])
		return -ENOMEM;
	n->count++;
	return 0;
}

static int name_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int snapshot_list(struct store *s, char ***ret_names, size_t *ret_count)
{
	struct names n cleanup(names_release) = {0};
	int r = folder_list(store_folder_fd(s, STORE_SNAPSHOTS), ".", names_add,
			    &n);

	if (r < 0)
		return r;
	if (n.count)
		qsort(n.list, n.count, sizeof(*n.list), name_order);
	*ret_names = n.list;
	*ret_count = n.count;
	n = (struct names){0};
	return 0;
}

void snapshot_names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}
