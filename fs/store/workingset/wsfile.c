/*
 * A new working set is written to DIGEST.new and renamed. That name is the
 * same for every writer, and the file's lock says who it belongs to: so what
 * a dead writer leaves behind is one file, which the next one takes over, and
 * nothing has to be swept.
 */
#include "fs/store/workingset/wsfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/io/text.h"
#include "fs/store/folder.h"

#define NAME_MAX_HERE (2 * PAGER_DIGEST_SIZE + sizeof(".new"))

#define FILE_MAX                                  \
	(sizeof(struct pager_workingset_header) + \
	 PAGER_WORKINGSET_ENTRIES_MAX * sizeof(struct pager_workingset_entry))

static void name_of(const struct pager_digest *image, const char *suffix,
		    char name[NAME_MAX_HERE])
{
	text_to_hex(image->bytes, sizeof(image->bytes), name);
	memcpy(name + 2 * sizeof(image->bytes), suffix, strlen(suffix) + 1);
}

/* Returns the folder's fd. */
static int open_folder(const struct store *s)
{
	int fd = folder_open_private(store_folder_fd(s, STORE_TOP),
				     WSFILE_FOLDER);

	/* Who may write here decides what a VM gets first, no more; even so. */
	if (fd == -EPERM)
		return err_set(-EPERM,
			       "store %s: others may write to %s: chmod go-w, "
			       "or change its owner",
			       store_path(s), WSFILE_FOLDER);
	return fd;
}

static int make_folder(const struct store *s)
{
	int top = store_folder_fd(s, STORE_TOP);

	if (mkdirat(top, WSFILE_FOLDER, 0700) < 0 && errno != EEXIST)
		return err_set(-errno, "store %s: cannot make %s: %m",
			       store_path(s), WSFILE_FOLDER);
	return open_folder(s);
}

int wsfile_load(struct store *s, const struct pager_digest *image,
		uint64_t pages, struct workingset *ret_set)
{
	_cleanup_close_ int folder = open_folder(s);
	_cleanup_free_ uint8_t *bytes = NULL;
	char name[NAME_MAX_HERE];
	size_t len;
	int r;

	if (folder < 0)
		return folder;
	name_of(image, "", name);
	r = file_read_all(folder, name, FILE_MAX, &bytes, &len);
	if (r == -EFBIG)
		return err_set(-EBADMSG, "damaged working set: too long");
	if (r < 0)
		return r;
	return workingset_decode(bytes, len, store_id(s), image, pages,
				 ret_set);
}

int wsfile_stat(struct store *s, const struct pager_digest *image,
		struct stat *ret_stat)
{
	_cleanup_close_ int folder = open_folder(s);
	char name[NAME_MAX_HERE];
	struct stat st;

	if (folder < 0)
		return folder;
	name_of(image, "", name);
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	*ret_stat = st;
	return 0;
}

/*
 * The file to write into, locked; returns its fd. Its name may have become
 * another file's between open and lock: then its last writer has renamed it.
 */
static int open_new(int folder, const char *name)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	for (;;) {
		_cleanup_close_ int fd =
			openat(folder, name,
			       O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat ours, named;

		if (fd < 0)
			return -errno;
		if (fcntl(fd, F_OFD_SETLK, &whole) < 0)
			return errno == EACCES || errno == EAGAIN ? -EBUSY
								  : -errno;
		if (fstat(fd, &ours) < 0)
			return -errno;
		if (fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		    ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
			return steal_fd(fd);
	}
}

static int write_new(int folder, const char *temp, const char *name,
		     const uint8_t *bytes, size_t len)
{
	_cleanup_close_ int fd = open_new(folder, temp);
	int r = 0;

	if (fd < 0)
		return fd;
	if (ftruncate(fd, 0) < 0)
		r = -errno;
	if (r == 0)
		r = file_pwrite(fd, bytes, len, 0, INJECT_POINT_COUNT);
	if (r == 0)
		r = file_sync(fd, INJECT_POINT_COUNT);
	if (r == 0 && renameat(folder, temp, folder, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(folder, temp, 0);
	return r;
}

int wsfile_save(struct store *s, const struct workingset *w)
{
	_cleanup_close_ int folder = make_folder(s);
	_cleanup_free_ uint8_t *bytes = NULL;
	char name[NAME_MAX_HERE], temp[NAME_MAX_HERE];
	size_t len;
	int r;

	if (folder < 0)
		return folder;
	r = workingset_encode(w, store_id(s), &bytes, &len);
	if (r < 0)
		return r;
	name_of(&w->image, "", name);
	name_of(&w->image, ".new", temp);
	r = write_new(folder, temp, name, bytes, len);
	if (r < 0)
		return err_set(r, "cannot write the working set %s: %s", name,
			       strerrordesc_np(-r));
	return file_sync_dir(folder);
}
