/*
 * A mount with rdwr_open is not read-only to the kernel, which would refuse
 * O_RDWR itself. What then keeps every byte from changing:
 *
 * 1. Each request that changes something is answered EROFS, here.
 * 2. A file opened O_RDWR gets direct I/O: write(2) comes to us before any
 *    page of the cache is touched, and a shared mapping is refused by the
 *    kernel (ENODEV). Only a private mapping is left, whose writes are copies.
 *    The price: mapping such a file drops its cached pages, once.
 *
 * The clean pages of such mappings are the page cache's own and shared.
 */
#include "fs/mount/ops.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/io/text.h"
#include "fs/store/store.h"

static _Thread_local struct gather *thread_gather;

void ops_enter_thread(struct gather *g)
{
	thread_gather = g;
}

static struct ops_context *context(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct tree *tree_of(fuse_req_t req)
{
	return context(req)->tree;
}

/* What a program may see of an error: damage, to it, is EIO. */
static int visible(int r)
{
	switch (r) {
	case -ENOENT:
	case -ENOTDIR:
	case -EISDIR:
	case -ELOOP:
	case -ENAMETOOLONG:
	case -ENOMEM:
	case -ENFILE:
	case -EMFILE:
	case -EACCES:
	case -EINVAL:
	case -ENXIO:
	case -ESTALE:
	case -EROFS:
	case -EINTR:
	case -ENODATA:
	case -ERANGE:
		return -r;
	default:
		return EIO;
	}
}

/* Our reply is all that can be done; the kernel may be gone. */
static void fail(fuse_req_t req, int r)
{
	(void)fuse_reply_err(req, r < 0 ? visible(r) : 0);
}

/* For errors that somebody has to look after, told once with their text. */
static void fail_and_tell(fuse_req_t req, const struct node *n, int r)
{
	if (visible(r) == EIO)
		log_error("mount: %s: %s snapshot=%s", n->name, err_text(r),
			  n->snap ? n->snap->name : "-");
	fail(req, r);
}

static struct opens *opens_of(fuse_req_t req)
{
	return &context(req)->opens;
}

static struct opened *opened_of(const struct fuse_file_info *fi)
{
	return (struct opened *)(uintptr_t)fi->fh;
}

static const struct node *node_of(fuse_req_t req, fuse_ino_t id)
{
	return tree_node(tree_of(req), id);
}

static void init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	/* Content never changes under a number: nothing to re-check. */
	conn->want &= ~(unsigned int)FUSE_CAP_AUTO_INVAL_DATA;
	/* Readers' buffers are ours: no pipes between. */
	conn->want &=
		~(unsigned int)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				FUSE_CAP_SPLICE_MOVE);
	/* libfuse derives the largest read from this. */
	conn->max_write = GATHER_READ_MAX;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
}

static struct fuse_entry_param entry_of(fuse_req_t req, const struct node *n)
{
	struct fuse_entry_param e = {
		.ino = n->id,
		.generation = n->generation,
		.attr_timeout = node_stat_timeout(n),
		.entry_timeout = node_name_timeout(n),
	};

	node_stat(tree_common(tree_of(req)), n, &e.attr);
	return e;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct node *p = node_of(req, parent), *n;
	struct fuse_entry_param e;
	int r;

	err_clear();
	r = p ? tree_lookup(tree_of(req), p, name, &n) : -ESTALE;
	if (r < 0) {
		if (visible(r) == EIO)
			log_error("mount: cannot show '%s': %s", name,
				  err_text(r));
		fail(req, r);
		return;
	}
	e = entry_of(req, n);
	/* Not told to the kernel, so not to be counted. */
	if (fuse_reply_entry(req, &e) < 0)
		tree_forget(tree_of(req), e.ino, 1);
}

static void do_forget(fuse_req_t req, fuse_ino_t id, uint64_t lookups)
{
	tree_forget(tree_of(req), id, lookups);
	fuse_reply_none(req);
}

static void do_forget_multi(fuse_req_t req, size_t count,
			    struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		tree_forget(tree_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void do_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	const struct node *n = node_of(req, id);
	struct stat st;

	(void)fi;
	if (!n) {
		fail(req, -ESTALE);
		return;
	}
	node_stat(tree_common(tree_of(req)), n, &st);
	(void)fuse_reply_attr(req, &st, node_stat_timeout(n));
}

static void do_readlink(fuse_req_t req, fuse_ino_t id)
{
	const struct node *n = node_of(req, id);
	char *path;

	if (!n || n->kind != NODE_DIGEST) {
		fail(req, n ? -EINVAL : -ESTALE);
		return;
	}
	if (asprintf(&path, NODE_LINK_HEAD "%s", n->target) < 0) {
		fail(req, -ENOMEM);
		return;
	}
	(void)fuse_reply_readlink(req, path);
	free(path);
}

/* Files */

static bool may_open(const struct ops_context *c, const struct node *n,
		     int flags)
{
	if (flags & O_TRUNC)
		return false;
	if ((flags & O_ACCMODE) == O_RDONLY)
		return true;
	return c->rdwr_open && n->kind == NODE_FILE &&
	       (flags & O_ACCMODE) == O_RDWR;
}

static void do_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	const struct node *n = node_of(req, id);
	struct opened *o;
	bool live;
	int r;

	if (!n || !may_open(context(req), n, fi->flags)) {
		fail(req, n ? -EROFS : -ESTALE);
		return;
	}
	err_clear();
	r = opens_file(opens_of(req), tree_of(req), n, &o);
	if (r < 0) {
		fail_and_tell(req, n, r);
		return;
	}
	live = handle_is_live(o->handle);
	fi->fh = (uintptr_t)o;
	fi->direct_io = live || (fi->flags & O_ACCMODE) != O_RDONLY;
	fi->keep_cache = !live;
	fi->noflush = 1;
	if (fuse_reply_open(req, fi) < 0)
		opens_close(opens_of(req), o); /* no release will come */
}

/* Of a file or a folder. */
static void do_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	opens_close(opens_of(req), opened_of(fi));
	fail(req, 0);
}

static void read_failed(fuse_req_t req, fuse_ino_t id, struct handle *h,
			off_t offset, int r)
{
	const struct node *n = node_of(req, id);

	if (visible(r) == EIO && n && handle_tell_failure(h))
		log_error("mount: read of %s at %lld: %s snapshot=%s", n->name,
			  (long long)offset, err_text(r),
			  n->snap ? n->snap->name : "-");
	fail(req, r);
}

static void do_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	const uint8_t *data;
	size_t len;
	int r;

	if (fuse_req_interrupted(req)) {
		fail(req, -EINTR);
		return;
	}
	err_clear();
	r = handle_read(opened_of(fi)->handle, thread_gather, (uint64_t)offset,
			size, &data, &len);
	if (r < 0)
		read_failed(req, id, opened_of(fi)->handle, offset, r);
	else
		(void)fuse_reply_buf(req, (const char *)data, len);
}

static void do_lseek(fuse_req_t req, fuse_ino_t id, off_t offset, int whence,
		     struct fuse_file_info *fi)
{
	uint64_t found;
	int r = -ENXIO;

	err_clear();
	if (offset >= 0)
		r = handle_seek(opened_of(fi)->handle, whence, (uint64_t)offset,
				&found);
	if (r < 0)
		read_failed(req, id, opened_of(fi)->handle, offset, r);
	else
		(void)fuse_reply_lseek(req, (off_t)found);
}

/* Folders */

static void do_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	const struct node *n = node_of(req, id);
	struct opened *o;
	int r;

	if (!n) {
		fail(req, -ESTALE);
		return;
	}
	err_clear();
	r = opens_folder(opens_of(req), tree_of(req), n, &o);
	if (r < 0) {
		fail_and_tell(req, n, r);
		return;
	}
	fi->fh = (uintptr_t)o;
	if (fuse_reply_open(req, fi) < 0)
		opens_close(opens_of(req), o); /* no release will come */
}

static int rewind_folder(fuse_req_t req, const struct node *n, struct opened *o)
{
	struct listing fresh;
	int r = listing_read(tree_of(req), n, &fresh);

	if (r < 0)
		return r;
	listing_release(&o->listing);
	o->listing = fresh;
	return 0;
}

/* A reply in the making: entries of a folder, each with the next's offset. */
struct dirents {
	fuse_req_t req;
	char *buf;
	size_t size, used;
	bool plus;
};

/* False where it does not fit any more. */
static bool put_plain(struct dirents *d, const char *name,
		      const struct stat *st, off_t next)
{
	size_t n = fuse_add_direntry(d->req, d->buf + d->used,
				     d->size - d->used, name, st, next);

	if (n > d->size - d->used)
		return false;
	d->used += n;
	return true;
}

static bool put_plus(struct dirents *d, const char *name,
		     const struct fuse_entry_param *e, off_t next)
{
	size_t n = fuse_add_direntry_plus(d->req, d->buf + d->used,
					  d->size - d->used, name, e, next);

	if (n > d->size - d->used)
		return false;
	d->used += n;
	return true;
}

/* With an `ino` of 0 the kernel takes the name alone and looks up itself. */
static bool put_name(struct dirents *d, const char *name, uint64_t ino,
		     mode_t type, off_t next)
{
	struct fuse_entry_param e = {.attr = {.st_ino = ino, .st_mode = type}};

	return d->plus ? put_plus(d, name, &e, next)
		       : put_plain(d, name, &e.attr, next);
}

static bool put_entry(struct dirents *d, const struct node *folder,
		      const struct listing_entry *l, off_t next)
{
	struct fuse_entry_param e;
	const struct node *n;

	if (!d->plus || node_is_costly(l->kind) ||
	    tree_lookup(tree_of(d->req), folder, l->name, &n) < 0)
		return put_name(d, l->name, l->ino, node_type(l->kind), next);
	e = entry_of(d->req, n);
	if (put_plus(d, l->name, &e, next))
		return true;
	tree_forget(tree_of(d->req), e.ino, 1);
	return false;
}

static void put_all(struct dirents *d, const struct node *n,
		    const struct listing *l, off_t offset)
{
	static const char *const dots[] = {".", ".."};
	bool fits = true;

	for (; fits && offset < 2; offset++)
		fits = put_name(d, dots[offset], n->ino, S_IFDIR, offset + 1);
	for (; fits && (size_t)offset - 2 < l->count; offset++)
		fits = put_entry(d, n, &l->entries[offset - 2], offset + 1);
}

/*
 * The listing changes only from its start on, so that offsets stay good while
 * a folder is read. The kernel reads an open folder with one thread at a time.
 */
static void read_folder(fuse_req_t req, const struct node *n, struct opened *o,
			struct dirents *d, off_t offset)
{
	int r = n ? 0 : -ESTALE;

	if (d->size > GATHER_BUFFER_SIZE || offset < 0)
		r = -EINVAL;
	if (r == 0 && offset == 0 && o->begun)
		r = rewind_folder(req, n, o);
	if (r < 0) {
		fail(req, r);
		return;
	}
	o->begun = true;
	d->buf = (char *)gather_buffer(thread_gather);
	put_all(d, n, &o->listing, offset);
	/* Should it not arrive, its nodes stay until the mount ends. */
	(void)fuse_reply_buf(req, d->buf, d->used);
}

static void do_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
		       struct fuse_file_info *fi)
{
	struct dirents d = {.req = req, .size = size};

	read_folder(req, node_of(req, id), opened_of(fi), &d, offset);
}

static void do_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size,
			   off_t offset, struct fuse_file_info *fi)
{
	struct dirents d = {.req = req, .size = size, .plus = true};

	read_folder(req, node_of(req, id), opened_of(fi), &d, offset);
}

/* Facts about the file system and its files */

/* That of the store below, in which the snapshots take their room. */
static void do_statfs(fuse_req_t req, fuse_ino_t id)
{
	const struct view *v = tree_view(tree_of(req));
	struct statvfs st;

	(void)id;
	if (fstatvfs(store_folder_fd(v->store, STORE_TOP), &st) < 0) {
		fail(req, -EIO);
		return;
	}
	st.f_namemax = 255;
	(void)fuse_reply_statfs(req, &st);
}

#define ATTR_PREFIX "user.pager."

/* The digest of what is behind a node, in hex. */
static int attr_digest(const struct node *n, char *buf, size_t size)
{
	const struct manifest *m = &n->snap->manifest;
	const struct manifest_file *f = &m->image;

	if (n->kind == NODE_FILE)
		f = manifest_find(m, n->name);
	if (!f || size <= 2 * sizeof(f->digest.bytes))
		return -ENODATA;
	text_to_hex(f->digest.bytes, sizeof(f->digest.bytes), buf);
	return 0;
}

static int attr_parent(const struct node *n, char *buf, size_t size)
{
	if (!n->snap->manifest.parent)
		return -ENODATA;
	(void)snprintf(buf, size, "%s", n->snap->manifest.parent);
	return 0;
}

static int attr_codec(const struct node *n, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s", n->snap->manifest.codec);
	return 0;
}

/* Of a snapshot's folder and of the files that were published with it. */
static const struct attr {
	const char *name;
	int (*get)(const struct node *n, char *buf, size_t size);
} attrs[] = {
	{ATTR_PREFIX "digest", attr_digest},
	{ATTR_PREFIX "parent", attr_parent},
	{ATTR_PREFIX "codec", attr_codec},
};

#define ATTRS	       (sizeof(attrs) / sizeof(attrs[0]))
#define ATTR_VALUE_MAX (PAGER_NAME_MAX + 1)

static bool has_attrs(const struct node *n)
{
	return n && (n->kind == NODE_SNAPSHOT || n->kind == NODE_FILE);
}

/* As getxattr(2): size 0 asks how much it is. */
static void reply_attr_bytes(fuse_req_t req, const char *bytes, size_t len,
			     size_t size)
{
	if (size == 0)
		(void)fuse_reply_xattr(req, len);
	else if (len > size)
		fail(req, -ERANGE);
	else
		(void)fuse_reply_buf(req, bytes, len);
}

static void do_getxattr(fuse_req_t req, fuse_ino_t id, const char *name,
			size_t size)
{
	const struct node *n = node_of(req, id);
	char value[ATTR_VALUE_MAX];

	for (size_t i = 0; has_attrs(n) && i < ATTRS; i++)
		if (strcmp(name, attrs[i].name) == 0 &&
		    attrs[i].get(n, value, sizeof(value)) == 0) {
			reply_attr_bytes(req, value, strlen(value), size);
			return;
		}
	fail(req, -ENODATA);
}

static void do_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
	const struct node *n = node_of(req, id);
	char names[ATTRS * 32], value[ATTR_VALUE_MAX];
	size_t used = 0;

	for (size_t i = 0; has_attrs(n) && i < ATTRS; i++)
		if (attrs[i].get(n, value, sizeof(value)) == 0) {
			size_t len = strlen(attrs[i].name) + 1;

			assert(len <= sizeof(names) - used);
			memcpy(names + used, attrs[i].name, len);
			used += len;
		}
	reply_attr_bytes(req, names, used, size);
}

static void do_access(fuse_req_t req, fuse_ino_t id, int mask)
{
	const struct node *n = node_of(req, id);
	struct stat st;

	if (!n) {
		fail(req, -ESTALE);
		return;
	}
	node_stat(tree_common(tree_of(req)), n, &st);
	if (mask & W_OK)
		fail(req, -EROFS);
	else
		fail(req, mask & X_OK && !S_ISDIR(st.st_mode) ? -EACCES : 0);
}

/* All that would change something */

static void refuse_name(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	(void)name;
	fail(req, -EROFS);
}

static void refuse_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
			 mode_t mode)
{
	(void)mode;
	refuse_name(req, parent, name);
}

static void refuse_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
			 mode_t mode, dev_t rdev)
{
	(void)mode;
	(void)rdev;
	refuse_name(req, parent, name);
}

static void refuse_symlink(fuse_req_t req, const char *link, fuse_ino_t parent,
			   const char *name)
{
	(void)link;
	refuse_name(req, parent, name);
}

static void refuse_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
			  fuse_ino_t newparent, const char *newname,
			  unsigned int flags)
{
	(void)newparent;
	(void)newname;
	(void)flags;
	refuse_name(req, parent, name);
}

static void refuse_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t newparent,
			const char *newname)
{
	(void)id;
	refuse_name(req, newparent, newname);
}

static void refuse_create(fuse_req_t req, fuse_ino_t parent, const char *name,
			  mode_t mode, struct fuse_file_info *fi)
{
	(void)mode;
	(void)fi;
	refuse_name(req, parent, name);
}

static void refuse_setattr(fuse_req_t req, fuse_ino_t id, struct stat *attr,
			   int to_set, struct fuse_file_info *fi)
{
	(void)id;
	(void)attr;
	(void)to_set;
	(void)fi;
	fail(req, -EROFS);
}

static void refuse_write(fuse_req_t req, fuse_ino_t id, const char *buf,
			 size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)id;
	(void)buf;
	(void)size;
	(void)offset;
	(void)fi;
	fail(req, -EROFS);
}

static void refuse_setxattr(fuse_req_t req, fuse_ino_t id, const char *name,
			    const char *value, size_t size, int flags)
{
	(void)value;
	(void)size;
	(void)flags;
	refuse_name(req, id, name);
}

static void refuse_fallocate(fuse_req_t req, fuse_ino_t id, int mode,
			     off_t offset, off_t length,
			     struct fuse_file_info *fi)
{
	(void)id;
	(void)mode;
	(void)offset;
	(void)length;
	(void)fi;
	fail(req, -EROFS);
}

static void refuse_copy(fuse_req_t req, fuse_ino_t in, off_t in_offset,
			struct fuse_file_info *in_fi, fuse_ino_t out,
			off_t out_offset, struct fuse_file_info *out_fi,
			size_t len, int flags)
{
	(void)in;
	(void)in_offset;
	(void)in_fi;
	(void)out;
	(void)out_offset;
	(void)out_fi;
	(void)len;
	(void)flags;
	fail(req, -EROFS);
}

const struct fuse_lowlevel_ops ops_table = {
	.init = init,
	.lookup = do_lookup,
	.forget = do_forget,
	.forget_multi = do_forget_multi,
	.getattr = do_getattr,
	.readlink = do_readlink,
	.open = do_open,
	.read = do_read,
	.release = do_release,
	.lseek = do_lseek,
	.opendir = do_opendir,
	.readdir = do_readdir,
	.readdirplus = do_readdirplus,
	.releasedir = do_release,
	.statfs = do_statfs,
	.getxattr = do_getxattr,
	.listxattr = do_listxattr,
	.access = do_access,
	.setattr = refuse_setattr,
	.mknod = refuse_mknod,
	.mkdir = refuse_mkdir,
	.unlink = refuse_name,
	.rmdir = refuse_name,
	.symlink = refuse_symlink,
	.rename = refuse_rename,
	.link = refuse_link,
	.create = refuse_create,
	.write = refuse_write,
	.setxattr = refuse_setxattr,
	.removexattr = refuse_name,
	.fallocate = refuse_fallocate,
	.copy_file_range = refuse_copy,
};
