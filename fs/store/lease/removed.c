#include "fs/store/lease/removed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/store/folder.h"
#include "fs/store/lease/lease.h"

#define TRIES 16

/* Returns the folder's fd; notes no line, see removed_sweep(). */
static int open_folder(const struct store *s)
{
	return folder_open_private(store_folder_fd(s, STORE_TOP),
				   REMOVED_FOLDER);
}

/* Durable before anything is moved there. */
static int make_folder(const struct store *s)
{
	int top = store_folder_fd(s, STORE_TOP);

	if (mkdirat(top, REMOVED_FOLDER, 0700) == 0) {
		int r = file_sync_dir(top);

		if (r < 0)
			return r;
	} else if (errno != EEXIST) {
		return -errno;
	}
	return open_folder(s);
}

/* Under a name that says nothing: it may be used again, that of the file not.
 */
static int move(const struct store *s, const char *name, int folder)
{
	int from = store_folder_fd(s, STORE_SNAPSHOTS);
	char to[17];
	uint64_t number;

	for (int i = 0; i < TRIES; i++) {
		if (getrandom(&number, sizeof(number), 0) !=
		    (ssize_t)sizeof(number))
			return -errno;
		(void)snprintf(to, sizeof(to), "%016" PRIx64, number);
		if (renameat2(from, name, folder, to, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

int removed_put(struct store *s, const char *name)
{
	_cleanup_close_ int folder = make_folder(s);
	int r;

	if (folder == -EPERM)
		return err_set(-EPERM,
			       "store %s: others may write to %s: chmod go-w, "
			       "or change its owner",
			       store_path(s), REMOVED_FOLDER);
	if (folder < 0)
		return folder;
	r = move(s, name, folder);
	/* First where it is to be found. */
	if (r == 0)
		r = file_sync_dir(folder);
	return r < 0 ? r : file_sync_dir(store_folder_fd(s, STORE_SNAPSHOTS));
}

/* A folder_name_fn: the folder's fd comes as the argument. */
static int sweep_one(void *arg, const char *name)
{
	int folder = *(const int *)arg;
	_cleanup_close_ int fd = openat(
		folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0 && lease_take(fd, LEASE_ALL) == 0)
		(void)unlinkat(folder, name, 0);
	return 0;
}

/* Runs where an error is on its way up, whose line must stay. */
void removed_sweep(struct store *s)
{
	_cleanup_close_ int folder = open_folder(s);

	/* Not synced: what comes back is swept again. */
	if (folder >= 0)
		(void)folder_list(folder, ".", sweep_one, &folder);
}
