/*
 * The store's folder: made, opened, locked.
 *
 * Init builds everything that a store has and gives the file `format` its
 * name last, so a folder with that file is a whole store and one without is
 * none. Locks are OFD locks on single bytes of one file: the kernel drops
 * them with the process, so there is no stale lock and no pid to be used
 * again; each is taken on a descriptor of its own, so it also excludes other
 * threads of this process.
 */
#include "fs/store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/file.h"
#include "fs/store/damage/damage.h"
#include "fs/store/folder.h"
#include "fs/store/pack/packset.h"
#include "fs/store/sequence.h"
#include "fs/store/superblock.h"

#define STORE_MAGIC UINT32_C(0x53544f52)
#define FORMAT_FILE "format"
#define LOCK_FILE   "lock"

struct store {
	uint32_t magic;
	_Atomic unsigned int refs;
	/* All else is written before the store is shared, then constant. */
	enum store_access access;
	char *path;
	int folders[STORE_FOLDER_COUNT];
	struct pager_superblock superblock;
	struct packset *packs;
	struct damage *damage;
	struct block_source source;
};

static const char *const folder_names[STORE_FOLDER_COUNT] = {
	[STORE_TOP] = ".",	 [STORE_PACKS] = "packs",
	[STORE_INDEX] = "index", [STORE_SNAPSHOTS] = "snapshots",
	[STORE_TMP] = "tmp",
};

/* Whoever may write the folder may put wrong bytes into a VM. */
static int check_owner(int fd, const char *path, const char *name)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(-EPERM,
			       "store %s: %s belongs to user %u: run as that "
			       "user, or change its owner",
			       path, name, st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(-EPERM,
			       "store %s: others may write to %s (mode %04o): "
			       "chmod go-w",
			       path, name, st.st_mode & 07777);
	return 0;
}

/* -EBUSY where somebody else holds it and `wait` is not set. */
static int lock_byte(int fd, enum store_lock which, short type, bool wait)
{
	struct flock byte = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)which,
		.l_len = 1,
	};
	int r;

	do {
		r = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &byte);
	} while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EAGAIN || errno == EACCES))
		return -EBUSY;
	return r < 0 ? -errno : 0;
}

/* -- init ---------------------------------------------------------------- */

/* What is looked at on the way through a folder that is to become a store. */
struct leftovers {
	int top;
	const char *path;
};

static int refuse_file(void *arg, const char *name)
{
	const struct leftovers *l = arg;

	return err_set(-ENOTEMPTY,
		       "%s holds '%s' of a store, but there is no file "
		       "`format`",
		       l->path, name);
}

/* What a crashed init may have left is fine; packs and manifests are not. */
static int check_leftover(void *arg, const char *name)
{
	const struct leftovers *l = arg;

	/* Another init has just won. */
	if (strcmp(name, FORMAT_FILE) == 0)
		return err_set(-EEXIST, "%s holds a store already", l->path);
	if (strcmp(name, LOCK_FILE) == 0 ||
	    strcmp(name, SEQUENCE_FILE_NAME) == 0 ||
	    strcmp(name, folder_names[STORE_TMP]) == 0)
		return 0;
	for (int i = STORE_PACKS; i < STORE_TMP; i++)
		if (strcmp(name, folder_names[i]) == 0)
			return folder_list(l->top, name, refuse_file, arg);
	return err_set(-ENOTEMPTY,
		       "%s is not empty (it has '%s'): a store needs a folder "
		       "of its own",
		       l->path, name);
}

static int check_free_folder(int top, const char *path)
{
	struct leftovers l = {.top = top, .path = path};
	int r;

	if (faccessat(top, FORMAT_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(-EEXIST, "%s holds a store already", path);
	r = check_owner(top, path, "the folder");
	if (r < 0)
		return r;
	return folder_list(top, ".", check_leftover, &l);
}

static int make_folders(int top)
{
	for (int i = STORE_PACKS; i < STORE_FOLDER_COUNT; i++)
		if (mkdirat(top, folder_names[i], 0700) < 0 && errno != EEXIST)
			return -errno;
	return 0;
}

static int random_bytes(uint8_t *to, size_t len)
{
	/* Up to 256 bytes come whole. */
	if (getrandom(to, len, 0) != (ssize_t)len)
		return -errno;
	return 0;
}

static int make_superblock(const struct store_init_options *options,
			   struct pager_superblock *sb)
{
	int r;

	*sb = (struct pager_superblock){.created = (uint64_t)time(NULL)};
	r = random_bytes(sb->store, sizeof(sb->store));
	if (r < 0)
		return r;
	if (options && options->secret)
		memcpy(sb->secret, options->secret, sizeof(sb->secret));
	else
		r = random_bytes(sb->secret, sizeof(sb->secret));
	superblock_seal(sb);
	return r;
}

/* The step that makes a store of the folder. */
static int write_format(int top, const struct store_init_options *options)
{
	char temp[FILE_TEMP_NAME_MAX];
	struct pager_superblock sb;
	_cleanup_close_ int tmp = -1, fd = -1;
	int r = make_superblock(options, &sb);

	if (r < 0)
		return r;
	tmp = openat(top, folder_names[STORE_TMP],
		     O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tmp < 0)
		return -errno;
	fd = file_create_temp(tmp, FORMAT_FILE, temp);
	if (fd < 0)
		return fd;
	r = file_pwrite(fd, &sb, sizeof(sb), 0, INJECT_POINT_COUNT);
	if (r == 0)
		r = file_sync(fd, INJECT_POINT_COUNT);
	/* All that stands in the folder is durable before it is a store. */
	if (r == 0)
		r = file_sync_dir(top);
	if (r == 0 &&
	    renameat2(tmp, temp, top, FORMAT_FILE, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(tmp, temp, 0); /* a sweep would do it, too */
	return r < 0 ? r : file_sync_dir(top);
}

/* One init at a time: a slow one must not set a used counter back to 1. */
static int lock_init_out(int top)
{
	_cleanup_close_ int fd =
		openat(top, LOCK_FILE,
		       O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = lock_byte(fd, STORE_LOCK_SEQUENCE, F_WRLCK, true);
	return r < 0 ? r : steal_fd(fd);
}

static int init_in(int top, const char *path,
		   const struct store_init_options *options)
{
	_cleanup_close_ int lock = -1;
	int r = check_free_folder(top, path);

	if (r < 0)
		return r;
	lock = lock_init_out(top);
	if (lock < 0)
		return lock;
	r = check_free_folder(top, path);
	if (r == 0)
		r = make_folders(top);
	if (r == 0)
		r = sequence_write(top, 1);
	if (r == 0)
		r = write_format(top, options);
	return r;
}

/* The folder's own name is durable only when its parent is. */
static int sync_parent(int top)
{
	_cleanup_close_ int parent =
		openat(top, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (parent < 0) /* not ours to read, and then not ours to sync */
		return errno == EACCES ? 0 : -errno;
	return file_sync_dir(parent);
}

int store_init(const char *path, const struct store_init_options *options)
{
	_cleanup_close_ int top = -1;
	int r;

	err_clear();
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set(-errno, "cannot make folder %s: %s", path,
			       strerror(errno));
	top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return err_set(-errno, "cannot open folder %s: %s", path,
			       strerror(errno));
	r = init_in(top, path, options);
	if (r == 0)
		r = sync_parent(top);
	if (r < 0 && r != -EEXIST && r != -ENOTEMPTY && r != -EPERM)
		return err_set(r, "cannot make a store in %s: %s", path,
			       strerror(-r));
	return r;
}

/* -- open ---------------------------------------------------------------- */

static int open_top(struct store *s)
{
	int fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		s->folders[STORE_TOP] = fd;
		return check_owner(fd, s->path, "the folder");
	}
	if (errno == ENOENT)
		return err_set(-ENOENT,
			       "there is no store at %s: make one with "
			       "pagerctl init",
			       s->path);
	if (errno == ENOTDIR)
		return err_set(-EMEDIUMTYPE,
			       "%s is not a pagerd store: it is no folder",
			       s->path);
	return err_set(-errno, "cannot open store %s: %s", s->path,
		       strerror(errno));
}

static int read_superblock(struct store *s)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t len;
	int r = file_read_all(s->folders[STORE_TOP], FORMAT_FILE, 1u << 20,
			      &bytes, &len);

	if (r == -ENOENT)
		return err_set(-EMEDIUMTYPE,
			       "%s is not a pagerd store (no file `format`): "
			       "make one with pagerctl init",
			       s->path);
	if (r == -EFBIG || r == -EINVAL)
		return err_set(-EMEDIUMTYPE,
			       "%s is not a pagerd store: its `format` is no "
			       "small file",
			       s->path);
	if (r < 0)
		return err_set(r, "cannot read %s/format: %s", s->path,
			       strerror(-r));
	return superblock_decode(s->path, bytes, len, &s->superblock);
}

static bool rebuildable(enum store_folder folder)
{
	return folder == STORE_INDEX || folder == STORE_TMP;
}

static int open_folder(struct store *s, enum store_folder folder)
{
	const char *name = folder_names[folder];
	int top = s->folders[STORE_TOP], fd;

	if (rebuildable(folder) && s->access == STORE_WRITE &&
	    mkdirat(top, name, 0700) < 0 && errno != EEXIST)
		return err_set(-errno, "cannot make %s/%s: %s", s->path, name,
			       strerror(errno));
	fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && rebuildable(folder) && s->access == STORE_READ)
		return 0;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(-EBADMSG, "store %s is damaged: no folder `%s`",
			       s->path, name);
	if (fd < 0)
		return err_set(-errno, "cannot open %s/%s: %s", s->path, name,
			       strerror(errno));
	s->folders[folder] = fd;
	return check_owner(fd, s->path, name);
}

/* Opening for writing says so at once where nothing can be written. */
static int check_writable(struct store *s)
{
	_cleanup_close_ int fd =
		openat(s->folders[STORE_TOP], LOCK_FILE,
		       O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_set(-errno, "store %s cannot be written: %s",
			       s->path, strerror(errno));
	return 0;
}

static int open_contents(struct store *s)
{
	int r = open_top(s);

	if (r == 0)
		r = read_superblock(s);
	if (r == 0 && s->access == STORE_WRITE)
		r = check_writable(s);
	for (int i = STORE_PACKS; r == 0 && i < STORE_FOLDER_COUNT; i++)
		r = open_folder(s, (enum store_folder)i);
	if (r == 0)
		r = packset_new(s->folders[STORE_PACKS], store_id(s), NULL,
				&s->packs);
	if (r == 0)
		r = damage_new(s, &s->damage);
	if (r == 0)
		s->source = (struct block_source){.ops = &damage_source_ops,
						  .ctx = s->damage};
	return r;
}

DEFINE_CLEANUP(store, struct store *, store_unref)

int store_open(const char *path, enum store_access access,
	       struct store **ret_store)
{
	struct store *s cleanup(cleanup_store) = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->magic = STORE_MAGIC;
	s->access = access;
	atomic_init(&s->refs, 1);
	for (int i = 0; i < STORE_FOLDER_COUNT; i++)
		s->folders[i] = -1;
	s->path = strdup(path);
	if (!s->path)
		return -ENOMEM;
	err_clear();
	r = open_contents(s);
	if (r < 0)
		return r;
	*ret_store = steal_ptr(s);
	return 0;
}

struct store *store_ref(struct store *s)
{
	assert(s->magic == STORE_MAGIC);
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void store_unref(struct store *s)
{
	if (!s)
		return;
	assert(s->magic == STORE_MAGIC);
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	damage_free(s->damage);
	packset_free(s->packs);
	for (int i = 0; i < STORE_FOLDER_COUNT; i++)
		close_quietly(s->folders[i]);
	explicit_bzero(&s->superblock, sizeof(s->superblock));
	free(s->path);
	s->magic = 0;
	free(s);
}

const char *store_path(const struct store *s)
{
	return s->path;
}

enum store_access store_access(const struct store *s)
{
	return s->access;
}

int store_folder_fd(const struct store *s, enum store_folder folder)
{
	return s->folders[folder];
}

const uint8_t *store_id(const struct store *s)
{
	return s->superblock.store;
}

const uint8_t *store_secret(const struct store *s)
{
	return s->superblock.secret;
}

struct packset *store_packs(struct store *s)
{
	return s->packs;
}

struct damage *store_damage(struct store *s)
{
	return s->damage;
}

const struct block_source *store_source(struct store *s)
{
	return &s->source;
}

void store_digest(const struct store *s, const uint8_t *page,
		  enum pager_kind kind, struct pager_digest *ret_digest)
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical,
				 XXH3_128bits_withSecret(page, PAGER_PAGE_SIZE,
							 store_secret(s),
							 PAGER_SECRET_SIZE));
	memcpy(ret_digest->bytes, canonical.digest, PAGER_DIGEST_SIZE);
	ret_digest->bytes[PAGER_DIGEST_SIZE - 1] ^= (uint8_t)kind;
}

/* -- locks --------------------------------------------------------------- */

int store_lock(struct store *s, enum store_lock which, bool exclusive,
	       bool wait)
{
	_cleanup_close_ int fd = -1;
	int r;

	assert(s->access == STORE_WRITE);
	fd = openat(s->folders[STORE_TOP], LOCK_FILE,
		    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(-errno, "cannot open %s/lock: %s", s->path,
			       strerror(errno));
	r = lock_byte(fd, which, exclusive ? F_WRLCK : F_RDLCK, wait);
	if (r == -EBUSY)
		return r;
	if (r < 0)
		return err_set(r, "cannot lock %s/lock: %s", s->path,
			       strerror(-r));
	return steal_fd(fd);
}

static int remove_leftover(void *arg, const char *name)
{
	const struct store *s = arg;

	if (unlinkat(s->folders[STORE_TMP], name, 0) < 0 && errno != ENOENT)
		return err_set(-errno, "cannot remove %s/tmp/%s: %s", s->path,
			       name, strerror(errno));
	return 0;
}

int store_sweep_tmp(struct store *s)
{
	_cleanup_close_ int lock =
		store_lock(s, STORE_LOCK_PUBLISH, true, false);

	if (lock < 0)
		return lock == -EBUSY ? 0 : lock;
	return folder_list(s->folders[STORE_TMP], ".", remove_leftover, s);
}

/* -- the counter of packs ------------------------------------------------ */

int store_next_pack(struct store *s, uint64_t *ret_pack)
{
	_cleanup_close_ int lock =
		store_lock(s, STORE_LOCK_SEQUENCE, true, true);
	int r;

	if (lock < 0)
		return lock;
	r = sequence_draw(s->folders[STORE_TOP], s->folders[STORE_PACKS],
			  ret_pack);
	if (r == -EOVERFLOW)
		return err_set(r, "store %s has used up its pack numbers",
			       s->path);
	if (r < 0)
		return err_set(r, "cannot draw a pack number in %s: %s",
			       s->path, strerror(-r));
	return 0;
}
