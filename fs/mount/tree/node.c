#include "fs/mount/tree/node.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <xxhash.h>

#include "fs/io/page.h"
#include "fs/mount/read/gather.h"
#include "fs/store/store.h"

#define SECTOR	 512
#define CONSTANT 86400.0 /* seconds */

/* Ids and numbers below are those of the fixed nodes: kind + 1. */
#define HASHED_FROM 4096u

static const struct kind {
	mode_t type;
	bool inside;	     /* its place is within a snapshot */
	double name_timeout; /* see node.h */
	double stat_timeout;
	bool costly;
	const char *name; /* where it is fixed */
} kinds[NODE_KIND_COUNT] = {
	[NODE_ROOT] = {S_IFDIR, false, CONSTANT, CONSTANT, false, ""},
	[NODE_SNAPSHOTS] = {S_IFDIR, false, CONSTANT, 0, false, "snapshots"},
	[NODE_DIGESTS] = {S_IFDIR, false, CONSTANT, 0, false, "digests"},
	[NODE_BLOCKS] = {S_IFDIR, false, CONSTANT, 0, false, "blocks"},
	[NODE_STATUS_DIR] = {S_IFDIR, false, CONSTANT, CONSTANT, false,
			     ".pager"},
	[NODE_SNAPSHOT] = {S_IFDIR, false, 0, CONSTANT, false, NULL},
	[NODE_FILE] = {S_IFREG, true, CONSTANT, CONSTANT, false, NULL},
	[NODE_MANIFEST] = {S_IFREG, true, CONSTANT, CONSTANT, false,
			   "manifest.json"},
	[NODE_PAGES] = {S_IFREG, true, CONSTANT, CONSTANT, true, "pages"},
	[NODE_WORKING_SET] = {S_IFREG, true, 0, CONSTANT, true, "working-set"},
	[NODE_DIGEST] = {S_IFLNK, false, 0, CONSTANT, false, NULL},
	[NODE_BLOCK_DIR] = {S_IFDIR, false, CONSTANT, 0, false, NULL},
	[NODE_BLOCK] = {S_IFREG, false, 0, CONSTANT, true, NULL},
	[NODE_STATUS] = {S_IFREG, false, CONSTANT, 0, false, NULL},
};

mode_t node_type(enum node_kind kind)
{
	return kinds[kind].type;
}

const char *node_fixed_name(enum node_kind kind)
{
	return kinds[kind].name;
}

bool node_is_costly(enum node_kind kind)
{
	return kinds[kind].costly;
}

double node_name_timeout(const struct node *n)
{
	return kinds[n->kind].name_timeout;
}

double node_stat_timeout(const struct node *n)
{
	return kinds[n->kind].stat_timeout;
}

static XXH128_hash_t hash(const struct node_common *c, const void *data,
			  size_t len)
{
	return XXH3_128bits_withSecret(data, len, store_secret(c->store),
				       PAGER_SECRET_SIZE);
}

static uint64_t usable(uint64_t number)
{
	return number < HASHED_FROM ? number + HASHED_FROM : number;
}

uint64_t node_next_id(uint64_t id)
{
	return usable(id + 1);
}

uint64_t node_ino(const struct node_common *c, enum node_kind kind,
		  const struct snap *snap, const char *name)
{
	struct {
		uint64_t kind;
		XXH128_hash_t name;
		uint8_t identity[16];
	} place = {.kind = kind, .name = hash(c, name, strlen(name))};

	if (kind < NODE_FIXED_COUNT)
		return (uint64_t)kind + 1;
	if (kinds[kind].inside)
		memcpy(place.identity, snap->identity, sizeof(place.identity));
	return usable(hash(c, &place, sizeof(place)).low64);
}

void node_number(const struct node_common *c, struct node *n)
{
	const char *target = n->target ? n->target : "";
	struct {
		uint64_t kind, block, text;
		XXH128_hash_t name, target;
		uint8_t identity[16];
	} all = {
		.kind = n->kind,
		.block = n->block,
		.text = n->text,
		.name = hash(c, n->name, strlen(n->name)),
		.target = hash(c, target, strlen(target)),
	};
	XXH128_hash_t of_all;

	n->ino = node_ino(c, n->kind, n->snap, n->name);
	if (n->kind < NODE_FIXED_COUNT) {
		n->id = n->ino;
		return;
	}
	if (n->snap)
		memcpy(all.identity, n->snap->identity, sizeof(all.identity));
	of_all = hash(c, &all, sizeof(all));
	n->id = usable(of_all.low64);
	n->generation = of_all.high64;
}

static struct timespec folder_time(const struct node_common *c,
				   enum store_folder folder)
{
	struct stat st;

	if (fstat(store_folder_fd(c->store, folder), &st) < 0)
		return c->born;
	return st.st_mtim;
}

static struct timespec node_time(const struct node_common *c,
				 const struct node *n)
{
	switch (n->kind) {
	case NODE_SNAPSHOTS:
	case NODE_DIGESTS:
		return folder_time(c, STORE_SNAPSHOTS);
	case NODE_BLOCKS:
	case NODE_BLOCK_DIR:
		return folder_time(c, STORE_PACKS);
	case NODE_WORKING_SET:
		return n->recorded;
	default:
		break;
	}
	if (!n->snap)
		return c->born;
	return (struct timespec){
		.tv_sec = (time_t)(n->snap->manifest.created / 1000000000),
		.tv_nsec = (long)(n->snap->manifest.created % 1000000000),
	};
}

/* Of what is not zero only, so that tools see that a file is sparse. */
static blkcnt_t sectors(const struct node *n)
{
	const struct manifest_file *f = NULL;
	uint64_t pages = page_count(n->size);

	if (n->kind == NODE_FILE)
		f = manifest_find(&n->snap->manifest, n->name);
	if (f)
		pages = f->pages - f->zero_pages;
	return (blkcnt_t)(pages * (PAGER_PAGE_SIZE / SECTOR));
}

static mode_t permissions(mode_t type)
{
	if (type == S_IFLNK)
		return 0777;
	return type == S_IFDIR ? 0500 : 0400;
}

void node_stat(const struct node_common *c, const struct node *n,
	       struct stat *ret_stat)
{
	mode_t type = kinds[n->kind].type;
	struct stat st = {
		.st_ino = n->ino,
		.st_mode = type | permissions(type),
		.st_nlink = 1, /* of a folder: not known, as elsewhere */
		.st_uid = c->uid,
		.st_gid = c->gid,
		.st_size = (off_t)n->size,
		.st_blksize = GATHER_READ_MAX,
		.st_blocks = sectors(n),
	};

	if (n->target)
		st.st_size =
			(off_t)(strlen(NODE_LINK_HEAD) + strlen(n->target));
	st.st_mtim = st.st_ctim = st.st_atim = node_time(c, n);
	*ret_stat = st;
}

int node_manifest_text(const struct snap *snap, char **ret_text,
		       uint64_t *ret_len)
{
	json_t *json = manifest_to_json(&snap->manifest, snap->name);
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	size_t len;

	json_decref(json);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len++] = '\n'; /* where the NUL was: the text has a length */
	*ret_text = text;
	*ret_len = len;
	return 0;
}
