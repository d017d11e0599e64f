/*
 * Units of 512 pages, which one leaf node maps, are taken by number from a
 * counter: by two workers where the target is a file, since a file takes them
 * in any order, and by one where it is a stream.
 */
#include "fs/store/publish/export.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/io/file.h"
#include "fs/io/page.h"
#include "fs/store/publish/cancel.h"
#include "fs/store/snapshot/pagetable.h"

#define UNIT_SIZE (PAGER_NODE_ENTRIES * (uint64_t)PAGER_PAGE_SIZE)
#define WORKERS	  2

struct target {
	int fd;
	bool stream;
	int folder;		       /* of a file; -1 else */
	char temp[FILE_TEMP_NAME_MAX]; /* its name until the end; "" else */
	char path[PATH_MAX];	       /* without symbolic links */
};

struct export
{
	/* Constant. */
	const struct export_options *options;
	struct snapshot *snap;
	const struct manifest_file *file;
	struct pagetable *table;
	struct target target;

	_Atomic uint64_t next; /* unit; counter, any worker */

	struct lock lock;
	/* All below is protected by lock. */
	uint64_t done; /* bytes */
	int error;     /* the first */
	char error_text[ERR_TEXT_MAX];
};

/* -- the target ----------------------------------------------------------- */

static int cannot_write(const struct export *e, int code)
{
	return err_set(code, "cannot write '%s': %s", e->options->path,
		       strerrordesc_np(-code));
}

static int open_temp(struct target *t)
{
	char copy[PATH_MAX];

	memcpy(copy, t->path, sizeof(copy));
	t->folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->folder < 0)
		return -errno;
	t->fd = file_create_temp(t->folder, ".pager-export", t->temp);
	return t->fd < 0 ? t->fd : 0;
}

/* What is there and no regular file is written as it is. */
static int open_stream(struct target *t, const char *path)
{
	t->stream = true;
	t->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	return t->fd < 0 ? -errno : 0;
}

static int open_target(struct target *t, const char *path)
{
	struct stat st;

	if (strcmp(path, "-") == 0) {
		t->stream = true;
		t->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		return t->fd < 0 ? -errno : 0;
	}
	if (strlen(path) >= sizeof(t->path))
		return -ENAMETOOLONG;
	if (stat(path, &st) < 0) {
		if (errno != ENOENT)
			return -errno;
		(void)snprintf(t->path, sizeof(t->path), "%s", path);
		return open_temp(t);
	}
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return open_stream(t, path);
	/* A link to a file stays a link. */
	if (!realpath(path, t->path))
		return -errno;
	return open_temp(t);
}

/* All is written: the file gets its name. */
static int name_target(struct target *t)
{
	char copy[PATH_MAX];
	int r;

	if (t->stream)
		return 0;
	r = file_sync(t->fd, INJECT_POINT_COUNT);
	if (r < 0)
		return r;
	memcpy(copy, t->path, sizeof(copy));
	if (renameat(t->folder, t->temp, t->folder, basename(copy)) < 0)
		return -errno;
	t->temp[0] = '\0';
	return 0;
}

static void release_target(struct target *t)
{
	if (t->temp[0])
		(void)unlinkat(t->folder, t->temp, 0);
	close_quietly(t->fd);
	close_quietly(t->folder);
}

static int write_stream(int fd, const uint8_t *from, size_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	while (len) {
		size_t want = len;
		ssize_t n = inject_pass(INJECT_EXPORT_WRITE, &want);

		if (n == 0) {
			n = write(fd, from, want);
			if (n < 0)
				n = -errno;
		}
		if (n == -EAGAIN)
			(void)poll(&p, 1, -1);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			return (int)n;
		from += n;
		len -= (size_t)n;
	}
	return 0;
}

/* -- a unit --------------------------------------------------------------- */

struct unit {
	uint64_t first; /* page */
	unsigned int pages;
	size_t bytes; /* the exact end of the file cuts the last page */
	bool zero[PAGER_NODE_ENTRIES];
	uint8_t *data;
};

static int read_page(struct export *e, uint64_t block, uint8_t *to)
{
	uint8_t kind;
	int r = block_source_read(store_source(snapshot_store(e->snap)), block,
				  to, &kind);

	if (r == 0 && kind != PAGER_KIND_PAGE)
		r = err_set(-EBADMSG,
			    "damaged page table: a page of kind %u (block "
			    "%#llx)",
			    kind, (unsigned long long)block);
	return r;
}

static int read_pages(struct export *e, struct unit *u, const uint8_t *leaf,
		      uint8_t kind)
{
	for (unsigned int i = 0; i < u->pages; i++) {
		uint8_t *to = u->data + (size_t)i * PAGER_PAGE_SIZE;
		uint64_t block;
		int r = pagetable_entry(leaf, kind, u->first + i, &block);

		if (r < 0)
			return r;
		u->zero[i] = block == 0;
		if (block)
			r = read_page(e, block, to);
		else
			memset(to, 0, PAGER_PAGE_SIZE);
		if (r < 0)
			return r;
	}
	return 0;
}

/* 1: it has data; 0: it is zeros and `data` was not touched. */
static int read_unit(struct export *e, struct unit *u)
{
	uint64_t block = pagetable_leaf(e->table, u->first);
	uint8_t leaf[PAGER_PAGE_SIZE], kind;
	int r;

	if (!block)
		return 0;
	r = block_source_read(store_source(snapshot_store(e->snap)), block,
			      leaf, &kind);
	if (r == 0)
		r = read_pages(e, u, leaf, kind);
	if (r < 0)
		return err_wrap(r, "snapshot '%s', %s, pages from %llu",
				snapshot_name(e->snap), e->file->key,
				(unsigned long long)u->first);
	return 1;
}

/* Zero pages stay holes of the file, which has its size already. */
static int write_sparse(struct export *e, const struct unit *u)
{
	unsigned int from, to;

	for (from = 0; from < u->pages; from = to) {
		size_t start = (size_t)from * PAGER_PAGE_SIZE, end;
		int r;

		to = from + 1;
		if (u->zero[from])
			continue;
		while (to < u->pages && !u->zero[to])
			to++;
		end = (size_t)to * PAGER_PAGE_SIZE;
		if (end > u->bytes)
			end = u->bytes;
		r = file_pwrite(e->target.fd, u->data + start, end - start,
				u->first * PAGER_PAGE_SIZE + start,
				INJECT_EXPORT_WRITE);
		if (r < 0)
			return cannot_write(e, r);
	}
	return 0;
}

static int write_whole(struct export *e, struct unit *u, bool has_data)
{
	int r;

	if (!has_data)
		memset(u->data, 0, u->bytes);
	r = write_stream(e->target.fd, u->data, u->bytes);
	return r < 0 ? cannot_write(e, r) : 0;
}

static int export_unit(struct export *e, struct unit *u, uint64_t number)
{
	uint64_t left = e->file->size - number * UNIT_SIZE;
	int r;

	u->first = number * PAGER_NODE_ENTRIES;
	u->bytes = left < UNIT_SIZE ? (size_t)left : UNIT_SIZE;
	u->pages = (unsigned int)page_count(u->bytes);
	r = read_unit(e, u);
	if (r < 0)
		return r;
	if (e->target.stream)
		return write_whole(e, u, r > 0);
	return r > 0 ? write_sparse(e, u) : 0;
}

/* -- the workers ---------------------------------------------------------- */

/* Notes what became of a unit; true to go on. */
static bool account(struct export *e, const struct unit *u, int result)
{
	const struct export_options *o = e->options;

	LOCK_GUARD(&e->lock);
	if (result < 0 && !e->error) {
		e->error = result;
		err_copy(result, e->error_text);
	}
	if (e->error)
		return false;
	e->done += u->bytes;
	if (o->progress)
		o->progress(o->progress_arg, e->done, e->file->size);
	return true;
}

static void *work(void *arg)
{
	struct export *e = arg;
	uint64_t units = pagetable_leaves(e->table);
	struct unit u = {0};
	int r = 0;

	u.data = malloc(UNIT_SIZE);
	if (!u.data) {
		(void)account(e, &u, -ENOMEM);
		return NULL;
	}
	for (;;) {
		uint64_t number = atomic_fetch_add(&e->next, 1);

		if (number >= units)
			break;
		r = cancel_is_set(e->options->cancelled)
			    ? err_set(-ECANCELED, "cancelled")
			    : export_unit(e, &u, number);
		if (!account(e, &u, r))
			break;
	}
	free(u.data);
	return NULL;
}

/* A thread that cannot be had is done without. */
static int run_workers(struct export *e)
{
	pthread_t other[WORKERS];
	unsigned int want = e->target.stream ? 1 : WORKERS, started = 1;

	while (started < want && started < pagetable_leaves(e->table) &&
	       pthread_create(&other[started], NULL, work, e) == 0)
		started++;
	(void)work(e);
	while (started-- > 1)
		(void)pthread_join(other[started], NULL);
	return e->error ? err_restore(e->error, e->error_text) : 0;
}

static int write_target(struct export *e)
{
	int r = open_target(&e->target, e->options->path);

	if (r == 0 && !e->target.stream &&
	    ftruncate(e->target.fd, (off_t)e->file->size) < 0)
		r = -errno;
	if (r < 0)
		return cannot_write(e, r);
	r = run_workers(e);
	if (r < 0)
		return r;
	r = name_target(&e->target);
	return r < 0 ? cannot_write(e, r) : 0;
}

int export_file(struct snapshot *snap, const struct export_options *options)
{
	struct export e = {
		.options = options,
		.snap = snap,
		.file = manifest_find(snapshot_manifest(snap), options->key),
		.target = {.fd = -1, .folder = -1},
	};
	int r;

	err_clear();
	if (!e.file)
		return err_set(-ENOENT, "snapshot '%s' has no file '%s'",
			       snapshot_name(snap), options->key);
	r = pagetable_open(
		e.file, pagetable_read_source,
		(void *)(uintptr_t)store_source(snapshot_store(snap)),
		&e.table);
	if (r < 0)
		return err_wrap(r, "snapshot '%s', %s", snapshot_name(snap),
				options->key);
	lock_init(&e.lock, "export");
	r = write_target(&e);
	release_target(&e.target);
	lock_release(&e.lock);
	pagetable_free(e.table);
	return r;
}
