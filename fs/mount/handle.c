#include "fs/mount/handle.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/cache/fetch_read.h"
#include "fs/mount/read/image.h"
#include "fs/mount/read/pages.h"
#include "fs/mount/view/wset.h"

/* One of the three is set. */
struct handle {
	struct image *image;
	struct pages *pages;
	char *text; /* whole, of `text_len` bytes */
	uint64_t text_len;
	bool live;
	atomic_bool failed;
};

static int open_block(const struct view *v, const struct node *n,
		      struct handle *h)
{
	h->text = malloc(PAGER_PAGE_SIZE);
	h->text_len = PAGER_PAGE_SIZE;
	if (!h->text)
		return -ENOMEM;
	return fetch_read(v->cache, v->source, n->block, CACHE_MOUNT,
			  (uint8_t *)h->text, NULL);
}

/* Between two opens the text may change, so its size is not known before. */
static int open_status(const struct tree *t, const struct node *n,
		       struct handle *h)
{
	const struct tree_status *s = tree_status(t);
	char *name =
		strndup(n->name, strlen(n->name) - strlen(NODE_STATUS_TAIL));
	json_t *json = name ? s->get(s->arg, name) : NULL;

	free(name);
	h->live = true;
	h->text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	json_decref(json);
	if (!h->text)
		return -ENOMEM;
	h->text_len = strlen(h->text);
	h->text[h->text_len++] = '\n';
	return 0;
}

static int open_pages(const struct view *v, const struct node *n,
		      struct handle *h)
{
	struct image *img;
	int r = image_open(v, n->snap, "memory", &img);

	return r < 0 ? r : pages_open(img, &h->pages);
}

/* Another text is another node, which the kernel asks for on -ESTALE. */
static int open_working_set(const struct view *v, const struct node *n,
			    struct handle *h)
{
	struct wset w;
	int r = wset_read(v, n->snap, &w);

	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	h->text = w.text;
	h->text_len = w.len;
	return w.hash == n->text ? 0 : -ESTALE;
}

static int open_any(struct tree *t, const struct node *n, struct handle *h)
{
	const struct view *v = tree_view(t);

	switch (n->kind) {
	case NODE_FILE:
		return image_open(v, n->snap, n->name, &h->image);
	case NODE_PAGES:
		return open_pages(v, n, h);
	case NODE_WORKING_SET:
		return open_working_set(v, n, h);
	case NODE_MANIFEST:
		return node_manifest_text(n->snap, &h->text, &h->text_len);
	case NODE_BLOCK:
		return open_block(v, n, h);
	case NODE_STATUS:
		return open_status(t, n, h);
	case NODE_DIGEST:
		return -ELOOP;
	default:
		return -EISDIR;
	}
}

int handle_open(struct tree *t, const struct node *n,
		struct handle **ret_handle)
{
	struct handle *h cleanup(cleanup_handle) = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	r = open_any(t, n, h);
	if (r < 0)
		return r;
	*ret_handle = steal_ptr(h);
	return 0;
}

void handle_close(struct handle *h)
{
	if (!h)
		return;
	image_close(h->image);
	pages_close(h->pages);
	free(h->text);
	free(h);
}

bool handle_is_live(const struct handle *h)
{
	return h->live;
}

/* A copy: the reader may close the file while its reply is being sent. */
static void read_text(const struct handle *h, struct gather *g, uint64_t offset,
		      size_t size, const uint8_t **ret_data, size_t *ret_len)
{
	uint8_t *data = gather_buffer(g);

	if (offset > h->text_len)
		offset = h->text_len;
	if (size > h->text_len - offset)
		size = (size_t)(h->text_len - offset);
	if (size > GATHER_READ_MAX)
		size = GATHER_READ_MAX;
	memcpy(data, h->text + offset, size);
	*ret_data = data;
	*ret_len = size;
}

int handle_read(const struct handle *h, struct gather *g, uint64_t offset,
		size_t size, const uint8_t **ret_data, size_t *ret_len)
{
	if (h->image)
		return image_read(h->image, g, offset, size, ret_data, ret_len);
	if (h->pages)
		return pages_read(h->pages, g, offset, size, ret_data, ret_len);
	read_text(h, g, offset, size, ret_data, ret_len);
	return 0;
}

/* A text is all data, with the hole that every file has at its end. */
static int seek_text(uint64_t size, int whence, uint64_t offset,
		     uint64_t *ret_offset)
{
	if (offset >= size)
		return -ENXIO;
	*ret_offset = whence == SEEK_DATA ? offset : size;
	return 0;
}

int handle_seek(const struct handle *h, int whence, uint64_t offset,
		uint64_t *ret_offset)
{
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (!h->image)
		return seek_text(h->pages ? pages_size(h->pages) : h->text_len,
				 whence, offset, ret_offset);
	if (whence == SEEK_DATA)
		return image_seek_data(h->image, offset, ret_offset);
	return image_seek_hole(h->image, offset, ret_offset);
}

bool handle_tell_failure(struct handle *h)
{
	return !atomic_exchange(&h->failed, true);
}
