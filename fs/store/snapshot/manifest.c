#include "fs/store/snapshot/manifest.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/page.h"
#include "fs/io/text.h"
#include "fs/store/pack/codec.h"
#include "fs/store/snapshot/name.h"
#include "fs/store/snapshot/pagetable.h"

/*
 * Decoding goes in two steps: unpack_* take the JSON apart by shape and type,
 * check_* then judge the values. Encoding runs the same checks first, so that
 * nothing is ever written that would be refused when it is read.
 */

DEFINE_CLEANUP(json, json_t *, json_decref)
DEFINE_CLEANUP(manifest, struct manifest *, manifest_release)

#define HEX_DIGEST (2 * PAGER_DIGEST_SIZE + 1)

static void release_file(struct manifest_file *f)
{
	free(f->key);
}

void manifest_release(struct manifest *m)
{
	release_file(&m->image);
	for (unsigned int i = 0; i < m->file_count; i++)
		release_file(&m->files[i]);
	free(m->files);
	free(m->regions);
	for (unsigned int i = 0; i < m->label_count; i++) {
		free(m->labels[i].key);
		free(m->labels[i].value);
	}
	free(m->labels);
	free(m->parent);
	free(m->codec);
	*m = (struct manifest){0};
}

/* The mount shows these beside the attached files of a snapshot. */
static const char *const reserved_keys[] = {"memory", "manifest.json", "pages",
					    "working-set"};

int manifest_check_key(const char *key)
{
	int r = name_check("the key of an attached file", key);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(reserved_keys) / sizeof(*reserved_keys);
	     i++)
		if (strcmp(key, reserved_keys[i]) == 0)
			return err_set(-EINVAL,
				       "the key '%s' is a snapshot's own", key);
	return 0;
}

int manifest_check_label(const char *key, const char *value)
{
	int r = name_check("a label's key", key);
	size_t len = strnlen(value, PAGER_LABEL_MAX + 1);

	if (r < 0)
		return r;
	if (len > PAGER_LABEL_MAX)
		return err_set(-EINVAL,
			       "the label '%s' is longer than %u bytes", key,
			       PAGER_LABEL_MAX);
	if (!text_is_utf8(value, len))
		return err_set(-EINVAL, "the label '%s' is not UTF-8", key);
	return 0;
}

static int check_file(const struct manifest_file *f)
{
	if (f->size > PAGER_IMAGE_SIZE_MAX)
		return err_set(-EINVAL, "'%s' is too large", f->key);
	if (f->pages != page_count(f->size) || f->zero_pages > f->pages)
		return err_set(-EINVAL, "'%s' has a wrong count of pages",
			       f->key);
	if (f->levels != pager_table_levels(f->pages))
		return err_set(-EINVAL, "'%s' has a wrong number of levels",
			       f->key);
	if ((f->root && !pagetable_block_is_possible(f->root)) ||
	    (f->root == 0) != (f->zero_pages == f->pages))
		return err_set(-EINVAL, "'%s' has an impossible root", f->key);
	return 0;
}

static int check_files(const struct manifest *m)
{
	const char *before = NULL;
	int r = check_file(&m->image);

	if (r == 0 && m->file_count > PAGER_FILES_MAX)
		r = err_set(-EINVAL, "more than %u files", PAGER_FILES_MAX);
	if (r == 0 && strcmp(m->image.key, "memory") != 0)
		r = err_set(-EINVAL, "the image's key is not 'memory'");
	for (unsigned int i = 0; r == 0 && i < m->file_count; i++) {
		const struct manifest_file *f = &m->files[i];

		r = manifest_check_key(f->key);
		if (r == 0 && before && strcmp(before, f->key) >= 0)
			r = err_set(-EINVAL, "files out of order");
		if (r == 0)
			r = check_file(f);
		before = f->key;
	}
	return r;
}

static int check_regions(const struct manifest *m)
{
	uint64_t end = 0, next;

	if (m->region_count > PAGER_REGIONS_MAX)
		return err_set(-EINVAL, "more than %u regions",
			       PAGER_REGIONS_MAX);
	for (unsigned int i = 0; i < m->region_count; i++) {
		const struct manifest_region *g = &m->regions[i];

		if (g->size == 0 || g->offset % PAGER_PAGE_SIZE ||
		    g->offset < end ||
		    __builtin_add_overflow(g->offset, g->size, &next) ||
		    next > m->image.size)
			return err_set(-EINVAL, "region %u is out of place", i);
		end = next;
	}
	return 0;
}

static int check_labels(const struct manifest *m)
{
	const char *before = NULL;
	int r = 0;

	if (m->label_count > PAGER_LABELS_MAX)
		return err_set(-EINVAL, "more than %u labels",
			       PAGER_LABELS_MAX);
	for (unsigned int i = 0; r == 0 && i < m->label_count; i++) {
		const struct manifest_label *l = &m->labels[i];

		r = manifest_check_label(l->key, l->value);
		if (r == 0 && before && strcmp(before, l->key) >= 0)
			r = err_set(-EINVAL, "labels out of order");
		before = l->key;
	}
	return r;
}

static int check_origin(const struct manifest *m)
{
	const struct manifest_origin *o = &m->origin;

	if (m->has_origin && (o->device > INT64_MAX || o->inode > INT64_MAX ||
			      o->mtime > INT64_MAX || o->size != m->image.size))
		return err_set(-EINVAL, "an origin that the image cannot have");
	return 0;
}

static int check_manifest(const struct manifest *m)
{
	enum pager_codec codec;
	int r = check_files(m);

	if (r == 0)
		r = check_regions(m);
	if (r == 0)
		r = check_labels(m);
	if (r == 0)
		r = check_origin(m);
	if (r == 0 && m->parent)
		r = name_check("the parent's name", m->parent);
	if (r == 0 && codec_from_name(m->codec, &codec) < 0)
		r = err_set(-EINVAL, "there is no codec of that name");
	return r;
}

static json_t *pack_file(const struct manifest_file *f)
{
	char digest[HEX_DIGEST];

	text_to_hex(f->digest.bytes, PAGER_DIGEST_SIZE, digest);
	return json_pack("{s:s, s:I, s:I, s:i, s:s, s:I}", "key", f->key,
			 "size", (json_int_t)f->size, "root",
			 (json_int_t)f->root, "levels", (int)f->levels,
			 "digest", digest, "zero_pages",
			 (json_int_t)f->zero_pages);
}

/* NULL when out of memory, as everything from jansson below. */
static json_t *pack_regions(const struct manifest *m)
{
	json_t *all cleanup(cleanup_json) = json_array();

	for (unsigned int i = 0; i < m->region_count; i++) {
		json_t *one = json_pack("{s:I, s:I}", "offset",
					(json_int_t)m->regions[i].offset,
					"size", (json_int_t)m->regions[i].size);

		if (json_array_append_new(all, one) < 0)
			return NULL;
	}
	return steal_ptr(all);
}

static json_t *pack_labels(const struct manifest *m)
{
	json_t *all cleanup(cleanup_json) = json_object();

	for (unsigned int i = 0; i < m->label_count; i++)
		if (json_object_set_new(all, m->labels[i].key,
					json_string(m->labels[i].value)) < 0)
			return NULL;
	return steal_ptr(all);
}

static json_t *pack_files(const struct manifest *m)
{
	json_t *all cleanup(cleanup_json) = json_array();

	for (unsigned int i = 0; i < m->file_count; i++)
		if (json_array_append_new(all, pack_file(&m->files[i])) < 0)
			return NULL;
	return steal_ptr(all);
}

/* NULL where there is none, or out of memory: it is a hint. */
static json_t *pack_origin(const struct manifest *m)
{
	if (!m->has_origin)
		return NULL;
	return json_pack("{s:I, s:I, s:I, s:I}", "device",
			 (json_int_t)m->origin.device, "inode",
			 (json_int_t)m->origin.inode, "size",
			 (json_int_t)m->origin.size, "mtime",
			 (json_int_t)m->origin.mtime);
}

/* json_pack() takes over what "o" passes, also where it fails. */
static json_t *pack_manifest(const struct manifest *m)
{
	return json_pack("{s:I, s:s, s:s?, s:o, s:o, s:o, s:o, s:I, s:I, s:I,"
			 " s:o*}",
			 "created", (json_int_t)m->created, "codec", m->codec,
			 "parent", m->parent, "image", pack_file(&m->image),
			 "files", pack_files(m), "regions", pack_regions(m),
			 "labels", pack_labels(m), "new_blocks",
			 (json_int_t)m->new_blocks, "shared_blocks",
			 (json_int_t)m->shared_blocks, "stored_bytes",
			 (json_int_t)m->stored_bytes, "origin", pack_origin(m));
}

static void write_header(uint8_t *to, const uint8_t store_id[16],
			 const char *body, uint32_t len)
{
	struct pager_manifest_header h = {
		.magic = PAGER_MANIFEST_MAGIC,
		.version = htole32(PAGER_MANIFEST_VERSION),
		.body_length = htole32(len),
	};
	XXH128_canonical_t digest;

	memcpy(h.store, store_id, sizeof(h.store));
	XXH128_canonicalFromHash(&digest, XXH3_128bits(body, len));
	memcpy(h.body_digest, digest.digest, sizeof(h.body_digest));
	h.checksum = htole64(XXH3_64bits(&h, sizeof(h) - 8));
	memcpy(to, &h, sizeof(h));
}

int manifest_encode(const struct manifest *m, const uint8_t store_id[16],
		    uint8_t **ret_bytes, size_t *ret_len)
{
	json_t *root cleanup(cleanup_json) = NULL;
	_cleanup_free_ char *body = NULL;
	uint8_t *bytes;
	size_t len;
	int r = check_manifest(m);

	if (r < 0)
		return r;
	root = pack_manifest(m);
	body = root ? json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	if (!body)
		return -ENOMEM;
	len = strlen(body);
	if (len > PAGER_MANIFEST_BODY_MAX)
		return err_set(-E2BIG, "the manifest is larger than %u bytes",
			       PAGER_MANIFEST_BODY_MAX);
	bytes = malloc(sizeof(struct pager_manifest_header) + len);
	if (!bytes)
		return -ENOMEM;
	write_header(bytes, store_id, body, (uint32_t)len);
	memcpy(bytes + sizeof(struct pager_manifest_header), body, len);
	*ret_len = sizeof(struct pager_manifest_header) + len;
	*ret_bytes = bytes;
	return 0;
}

static int damaged(const char *what)
{
	(void)err_set(-EBADMSG, "damaged manifest: %s", what);
	return -EBADMSG;
}

static int check_header(const struct pager_manifest_header *h, size_t len,
			const uint8_t store_id[16])
{
	if (memcmp(h->magic, PAGER_MANIFEST_MAGIC, sizeof(h->magic)) != 0)
		return damaged("not a manifest at all");
	/* Before all else: a newer format may differ in anything behind. */
	if (le32toh(h->version) > PAGER_MANIFEST_VERSION)
		return err_set(-ENOTSUP,
			       "the manifest has format %u, this program "
			       "knows up to %u",
			       le32toh(h->version), PAGER_MANIFEST_VERSION);
	if (XXH3_64bits(h, sizeof(*h) - 8) != le64toh(h->checksum))
		return damaged("the header fails its checksum");
	if (le32toh(h->version) != PAGER_MANIFEST_VERSION || h->reserved)
		return damaged("the header is of no known version");
	if (memcmp(h->store, store_id, sizeof(h->store)) != 0)
		return damaged("it belongs to another store");
	if (le32toh(h->body_length) > PAGER_MANIFEST_BODY_MAX ||
	    len - sizeof(*h) != le32toh(h->body_length))
		return damaged("its length is wrong");
	return 0;
}

/* Copies the header: `bytes` may be unaligned. */
static int check_frame(const uint8_t *bytes, size_t len,
		       const uint8_t store_id[16])
{
	struct pager_manifest_header h;
	XXH128_canonical_t digest;
	int r;

	if (len < sizeof(h))
		return damaged("cut short");
	memcpy(&h, bytes, sizeof(h));
	r = check_header(&h, len, store_id);
	if (r < 0)
		return r;
	XXH128_canonicalFromHash(
		&digest, XXH3_128bits(bytes + sizeof(h), len - sizeof(h)));
	if (memcmp(digest.digest, h.body_digest, sizeof(h.body_digest)) != 0)
		return damaged("the body fails its digest");
	return 0;
}

/* A count from JSON, where integers have a sign. */
static int take_count(json_int_t from, uint64_t *ret_count)
{
	if (from < 0)
		return damaged("a negative number");
	*ret_count = (uint64_t)from;
	return 0;
}

static int take_string(const char *from, char **ret_string)
{
	char *copy = strdup(from);

	if (!copy)
		return -ENOMEM;
	*ret_string = copy;
	return 0;
}

static int unpack_file(json_t *from, struct manifest_file *f)
{
	json_int_t size, root, levels, zero_pages;
	const char *key, *digest;
	json_error_t e;
	uint64_t count = 0;
	int r;

	if (json_unpack_ex(from, &e, 0, "{s:s, s:I, s:I, s:I, s:s, s:I}", "key",
			   &key, "size", &size, "root", &root, "levels",
			   &levels, "digest", &digest, "zero_pages",
			   &zero_pages) < 0)
		return damaged(e.text);
	if (text_from_hex(digest, PAGER_DIGEST_SIZE, f->digest.bytes) < 0)
		return damaged("a digest is malformed");
	r = take_count(size, &f->size);
	if (r == 0)
		r = take_count(root, &f->root);
	if (r == 0)
		r = take_count(zero_pages, &f->zero_pages);
	if (r == 0)
		r = take_count(levels, &count);
	if (r < 0)
		return r;
	f->levels = count > PAGER_LEVELS_MAX ? 0 : (unsigned int)count;
	f->pages = page_count(f->size);
	return take_string(key, &f->key);
}

/* The number of elements, against a limit, and room for them. */
static int take_room(size_t count, size_t limit, size_t size, void *ret_room)
{
	void *room;

	if (count > limit)
		return damaged("a list is too long");
	room = calloc(count ? count : 1, size);
	if (!room)
		return -ENOMEM;
	*(void **)ret_room = room;
	return 0;
}

static int unpack_files(json_t *from, struct manifest *m)
{
	json_t *one;
	size_t i;
	int r = take_room(json_array_size(from), PAGER_FILES_MAX,
			  sizeof(*m->files), &m->files);

	if (r < 0)
		return r;
	/* Counted as they are filled: a failure releases no more. */
	m->file_count = 0;
	json_array_foreach(from, i, one)
	{
		r = unpack_file(one, &m->files[i]);
		if (r < 0)
			return r;
		m->file_count++;
	}
	return 0;
}

static int unpack_regions(json_t *from, struct manifest *m)
{
	json_int_t offset, size;
	json_error_t e;
	json_t *one;
	size_t i;
	int r = take_room(json_array_size(from), PAGER_REGIONS_MAX,
			  sizeof(*m->regions), &m->regions);

	if (r < 0)
		return r;
	json_array_foreach(from, i, one)
	{
		if (json_unpack_ex(one, &e, 0, "{s:I, s:I}", "offset", &offset,
				   "size", &size) < 0)
			return damaged(e.text);
		r = take_count(offset, &m->regions[i].offset);
		if (r == 0)
			r = take_count(size, &m->regions[i].size);
		if (r < 0)
			return r;
		m->region_count++;
	}
	return 0;
}

static int label_order(const void *a, const void *b)
{
	const struct manifest_label *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static int unpack_labels(json_t *from, struct manifest *m)
{
	const char *key;
	json_t *value;
	int r = take_room(json_object_size(from), PAGER_LABELS_MAX,
			  sizeof(*m->labels), &m->labels);

	if (r < 0)
		return r;
	json_object_foreach(from, key, value)
	{
		struct manifest_label *l = &m->labels[m->label_count++];

		if (!json_is_string(value))
			return damaged("a label is no string");
		r = take_string(key, &l->key);
		if (r == 0)
			r = take_string(json_string_value(value), &l->value);
		if (r < 0)
			return r;
	}
	qsort(m->labels, m->label_count, sizeof(*m->labels), label_order);
	return 0;
}

static int unpack_counts(json_t *root, struct manifest *m)
{
	json_int_t created, new_blocks, shared_blocks, stored_bytes;
	json_error_t e;
	int r;

	if (json_unpack_ex(root, &e, 0, "{s:I, s:I, s:I, s:I}", "created",
			   &created, "new_blocks", &new_blocks, "shared_blocks",
			   &shared_blocks, "stored_bytes", &stored_bytes) < 0)
		return damaged(e.text);
	r = take_count(created, &m->created);
	if (r == 0)
		r = take_count(new_blocks, &m->new_blocks);
	if (r == 0)
		r = take_count(shared_blocks, &m->shared_blocks);
	if (r == 0)
		r = take_count(stored_bytes, &m->stored_bytes);
	return r;
}

/* Manifests from before there were origins have none. */
static int unpack_origin(json_t *from, struct manifest *m)
{
	json_int_t device, inode, size, mtime;
	json_error_t e;
	int r;

	if (!from)
		return 0;
	if (json_unpack_ex(from, &e, 0, "{s:I, s:I, s:I, s:I}", "device",
			   &device, "inode", &inode, "size", &size, "mtime",
			   &mtime) < 0)
		return damaged(e.text);
	r = take_count(device, &m->origin.device);
	if (r == 0)
		r = take_count(inode, &m->origin.inode);
	if (r == 0)
		r = take_count(size, &m->origin.size);
	if (r == 0)
		r = take_count(mtime, &m->origin.mtime);
	m->has_origin = r == 0;
	return r;
}

static int unpack_manifest(json_t *root, struct manifest *m)
{
	json_t *image, *files, *regions, *labels, *parent;
	const char *codec;
	json_error_t e;
	int r;

	if (json_unpack_ex(root, &e, 0, "{s:s, s:o, s:o, s:o, s:o, s:o}",
			   "codec", &codec, "parent", &parent, "image", &image,
			   "files", &files, "regions", &regions, "labels",
			   &labels) < 0)
		return damaged(e.text);
	if (!json_is_array(files) || !json_is_array(regions) ||
	    !json_is_object(labels))
		return damaged("a list is of the wrong type");
	if (!json_is_string(parent) && !json_is_null(parent))
		return damaged("the parent is no string");
	r = unpack_counts(root, m);
	if (r == 0)
		r = unpack_file(image, &m->image);
	if (r == 0)
		r = unpack_files(files, m);
	if (r == 0)
		r = unpack_regions(regions, m);
	if (r == 0)
		r = unpack_labels(labels, m);
	if (r == 0)
		r = unpack_origin(json_object_get(root, "origin"), m);
	if (r == 0)
		r = take_string(codec, &m->codec);
	if (r == 0 && json_is_string(parent))
		r = take_string(json_string_value(parent), &m->parent);
	return r;
}

int manifest_decode(const uint8_t *bytes, size_t len,
		    const uint8_t store_id[16], struct manifest *ret_manifest)
{
	json_t *root cleanup(cleanup_json) = NULL;
	struct manifest m = {0};
	struct manifest *held __attribute__((unused))
	cleanup(cleanup_manifest) = &m;
	json_error_t e;
	int r = check_frame(bytes, len, store_id);

	if (r < 0)
		return r;
	root = json_loadb((const char *)bytes +
				  sizeof(struct pager_manifest_header),
			  len - sizeof(struct pager_manifest_header),
			  JSON_REJECT_DUPLICATES, &e);
	if (!root)
		return damaged(e.text);
	r = unpack_manifest(root, &m);
	if (r < 0)
		return r;
	r = check_manifest(&m);
	if (r < 0) {
		char why[ERR_TEXT_MAX];

		err_copy(r, why);
		return damaged(why);
	}
	*ret_manifest = m;
	m = (struct manifest){0};
	return 0;
}

const struct manifest_file *manifest_find(const struct manifest *m,
					  const char *key)
{
	if (strcmp(key, m->image.key) == 0)
		return &m->image;
	for (unsigned int i = 0; i < m->file_count; i++)
		if (strcmp(key, m->files[i].key) == 0)
			return &m->files[i];
	return NULL;
}

/* "2026-01-31T23:59:59.123456789Z" */
static void show_time(uint64_t nanoseconds, char *buf, size_t size)
{
	time_t seconds = (time_t)(nanoseconds / 1000000000);
	struct tm tm = {0};
	size_t len;

	(void)gmtime_r(&seconds, &tm);
	len = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + len, size - len, ".%09uZ",
		       (unsigned int)(nanoseconds % 1000000000));
}

static json_t *show_files(const struct manifest *m)
{
	json_t *all cleanup(cleanup_json) = json_array();
	char digest[HEX_DIGEST];

	for (unsigned int i = 0; i < m->file_count; i++) {
		const struct manifest_file *f = &m->files[i];
		json_t *one;

		text_to_hex(f->digest.bytes, PAGER_DIGEST_SIZE, digest);
		one = json_pack("{s:s, s:I, s:s, s:I, s:I}", "key", f->key,
				"size", (json_int_t)f->size, "digest", digest,
				"pages", (json_int_t)f->pages, "zero_pages",
				(json_int_t)f->zero_pages);
		if (json_array_append_new(all, one) < 0)
			return NULL;
	}
	return steal_ptr(all);
}

json_t *manifest_to_json(const struct manifest *m, const char *name)
{
	char digest[HEX_DIGEST], created[64];

	text_to_hex(m->image.digest.bytes, PAGER_DIGEST_SIZE, digest);
	show_time(m->created, created, sizeof(created));
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:s, s:s, s:s?,"
			 " s:o, s:o, s:o, s:I, s:I, s:I}",
			 "name", name, "image_digest", digest, "size",
			 (json_int_t)m->image.size, "pages",
			 (json_int_t)m->image.pages, "zero_pages",
			 (json_int_t)m->image.zero_pages, "levels",
			 (int)m->image.levels, "created", created, "codec",
			 m->codec, "parent", m->parent, "files", show_files(m),
			 "regions", pack_regions(m), "labels", pack_labels(m),
			 "new_blocks", (json_int_t)m->new_blocks,
			 "shared_blocks", (json_int_t)m->shared_blocks,
			 "stored_bytes", (json_int_t)m->stored_bytes);
}
