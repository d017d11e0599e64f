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
#include "fs/store/lease/holders.h"
#include "fs/store/lease/lease.h"
#include "fs/store/lease/removed.h"
#include "fs/store/snapshot/name.h"

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

/* One that has lost its name may be waiting for us alone: see removed.h. */
static void drop_lease(struct snapshot *snap)
{
	bool named =
		snap->fd < 0 ||
		lease_still_named(store_folder_fd(snap->store, STORE_SNAPSHOTS),
				  snap->name, snap->fd) != 0;

	lease_drop(snap->fd);
	if (!named)
		removed_sweep(snap->store);
}

static void free_snapshot(struct snapshot *snap)
{
	manifest_release(&snap->manifest);
	drop_lease(snap);
	store_unref(snap->store);
	free(snap->name);
	snap->magic = 0;
	free(snap);
}

static int open_leased(struct store *s, const char *name, enum lease kind,
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
	r = lease_open(s, name, kind);
	if (r < 0)
		return r;
	snap->fd = r;
	r = read_manifest(s, snap->fd, &snap->manifest);
	if (r < 0)
		return err_wrap(r, "snapshot '%s'", name);
	*ret_snapshot = steal_ptr(snap);
	return 0;
}

int snapshot_open(struct store *s, const char *name,
		  struct snapshot **ret_snapshot)
{
	return open_leased(s, name, LEASE_READ, ret_snapshot);
}

int snapshot_open_lasting(struct store *s, const char *name,
			  struct snapshot **ret_snapshot)
{
	return open_leased(s, name, LEASE_LASTING, ret_snapshot);
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

int snapshot_lease_fd(const struct snapshot *snap)
{
	return snap->fd;
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

/* The line for a change of a snapshot's name that failed. */
static int refused(struct store *s, const char *name, const char *what, int r)
{
	char who[HOLDERS_TEXT_MAX];

	if (r == -ENOENT || r == -EPERM)
		return r;
	if (r != -EBUSY)
		return err_set(r, "cannot %s snapshot '%s': %s", what, name,
			       strerrordesc_np(-r));
	holders_find(s, name, who);
	return err_set(-EBUSY, "snapshot '%s' is in use%s%s", name,
		       *who ? " by " : "", who);
}

static int unlink_named(struct store *s, const char *name)
{
	int folder = store_folder_fd(s, STORE_SNAPSHOTS);

	return unlinkat(folder, name, 0) < 0 ? -errno : file_sync_dir(folder);
}

int snapshot_remove(struct store *s, const char *name)
{
	_cleanup_close_ int fd = -1;
	int r = name_check("the snapshot's name", name);

	if (r < 0)
		return r;
	removed_sweep(s);
	fd = lease_open(s, name, LEASE_ALL);
	r = fd < 0 ? fd : unlink_named(s, name);
	return r < 0 ? refused(s, name, "remove", r) : 0;
}

int snapshot_remove_when_unused(struct store *s, const char *name,
				bool *ret_read)
{
	bool read = false;
	int r = name_check("the snapshot's name", name), fd;

	if (r < 0)
		return r;
	fd = lease_open(s, name, LEASE_NAME);
	r = fd < 0 ? fd : lease_take(fd, LEASE_ALL);
	if (r == 0) {
		r = unlink_named(s, name);
	} else if (fd >= 0 && r == -EBUSY) {
		read = true;
		r = removed_put(s, name);
	}
	close_quietly(fd);
	if (r < 0)
		return refused(s, name, "remove", r);
	/* The last reader may have gone before it was there to be swept. */
	removed_sweep(s);
	*ret_read = read;
	return 0;
}

int snapshot_rename(struct store *s, const char *from, const char *to)
{
	int folder = store_folder_fd(s, STORE_SNAPSHOTS);
	_cleanup_close_ int fd = -1;
	int r = snapshot_check_free(s, to);

	if (r == 0)
		r = name_check("the snapshot's name", from);
	if (r < 0)
		return r;
	fd = lease_open(s, from, LEASE_NAME);
	r = fd < 0 ? fd : 0;
	if (r == 0 && renameat2(folder, from, folder, to, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == -EEXIST)
		return err_set(-ENOTUNIQ, "there is a snapshot '%s' already",
			       to);
	if (r == 0)
		r = file_sync_dir(folder);
	return r < 0 ? refused(s, from, "rename", r) : 0;
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
