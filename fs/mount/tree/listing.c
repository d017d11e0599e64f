#include "fs/mount/tree/listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/io/text.h"
#include "fs/mount/view/blocks.h"
#include "fs/mount/view/wset.h"
#include "fs/store/snapshot/snapshot.h"

#define DIGEST_HEX (2 * PAGER_DIGEST_SIZE)

/* A listing in the making. */
struct maker {
	struct tree *tree;
	const struct node *folder;
	struct listing listing;
	size_t room;
};

static int add(struct maker *m, enum node_kind kind, const char *name)
{
	struct listing *l = &m->listing;
	struct listing_entry *e;

	if (l->count == m->room) {
		size_t room = m->room ? 2 * m->room : 16;
		void *grown = reallocarray(l->entries, room, sizeof(*e));

		if (!grown)
			return -ENOMEM;
		l->entries = grown;
		m->room = room;
	}
	e = &l->entries[l->count];
	e->name = strdup(name);
	if (!e->name)
		return -ENOMEM;
	e->ino = node_ino(tree_common(m->tree), kind, m->folder->snap, name);
	e->kind = kind;
	l->count++;
	return 0;
}

static int add_fixed(struct maker *m, enum node_kind kind)
{
	return add(m, kind, node_fixed_name(kind));
}

static int list_top(struct maker *m)
{
	int r = add_fixed(m, NODE_SNAPSHOTS);

	if (r == 0)
		r = add_fixed(m, NODE_DIGESTS);
	if (r == 0)
		r = add_fixed(m, NODE_BLOCKS);
	if (r == 0 && tree_status(m->tree)->count)
		r = add_fixed(m, NODE_STATUS_DIR);
	return r;
}

static int list_snapshots(struct maker *m)
{
	char **names;
	size_t count;
	int r = snapshot_list(tree_view(m->tree)->store, &names, &count);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = add(m, NODE_SNAPSHOT, names[i]);
	snapshot_names_free(names, count);
	return r;
}

static int list_hex(struct maker *m, enum node_kind kind,
		    const struct pager_digest *digests, size_t count)
{
	char hex[DIGEST_HEX + 1];
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		text_to_hex(digests[i].bytes, sizeof(digests[i].bytes), hex);
		r = add(m, kind, hex);
	}
	return r;
}

static int list_digests(struct maker *m)
{
	_cleanup_free_ struct pager_digest *digests = NULL;
	size_t count;
	int r = digests_list(tree_digests(m->tree), &digests, &count);

	return r < 0 ? r : list_hex(m, NODE_DIGEST, digests, count);
}

static int list_block_dirs(struct maker *m)
{
	char name[4];
	int r = 0;

	for (unsigned int byte = 0; r == 0 && byte < 256; byte++) {
		(void)snprintf(name, sizeof(name), "%02x", byte);
		r = add(m, NODE_BLOCK_DIR, name);
	}
	return r;
}

static int list_blocks(struct maker *m)
{
	_cleanup_free_ struct pager_digest *digests = NULL;
	size_t count;
	uint8_t first;
	int r = text_from_hex(m->folder->name, 1, &first);

	if (r == 0)
		r = blocks_list(tree_view(m->tree), first, &digests, &count);
	return r < 0 ? r : list_hex(m, NODE_BLOCK, digests, count);
}

static int list_status(struct maker *m)
{
	const struct tree_status *s = tree_status(m->tree);
	char name[NODE_NAME_MAX + 1];
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < s->count; i++) {
		(void)snprintf(name, sizeof(name), "%s" NODE_STATUS_TAIL,
			       s->names[i]);
		r = add(m, NODE_STATUS, name);
	}
	return r;
}

static int list_inside(struct maker *m)
{
	const struct manifest *manifest = &m->folder->snap->manifest;
	int r = add(m, NODE_FILE, manifest->image.key);

	for (unsigned int i = 0; r == 0 && i < manifest->file_count; i++)
		r = add(m, NODE_FILE, manifest->files[i].key);
	if (r == 0)
		r = add_fixed(m, NODE_MANIFEST);
	if (r == 0)
		r = add_fixed(m, NODE_PAGES);
	if (r == 0 && wset_exists(tree_view(m->tree), m->folder->snap))
		r = add_fixed(m, NODE_WORKING_SET);
	return r;
}

static int list_any(struct maker *m)
{
	switch (m->folder->kind) {
	case NODE_ROOT:
		return list_top(m);
	case NODE_SNAPSHOTS:
		return list_snapshots(m);
	case NODE_DIGESTS:
		return list_digests(m);
	case NODE_BLOCKS:
		return list_block_dirs(m);
	case NODE_BLOCK_DIR:
		return list_blocks(m);
	case NODE_STATUS_DIR:
		return list_status(m);
	case NODE_SNAPSHOT:
		return list_inside(m);
	default:
		return -ENOTDIR;
	}
}

int listing_read(struct tree *t, const struct node *folder,
		 struct listing *ret_listing)
{
	struct maker m = {.tree = t, .folder = folder};
	int r = list_any(&m);

	if (r < 0)
		listing_release(&m.listing);
	else
		*ret_listing = m.listing;
	return r;
}

void listing_release(struct listing *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->entries[i].name);
	free(l->entries);
	*l = (struct listing){0};
}
