#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/store/snapshot/manifest.h"

static const uint8_t store_id[16] = "a store's own id";

/* A manifest with something in every field; strings are literals. */
static struct manifest_file files[] = {
	{.key = (char *)"config", .levels = 1},
	{.key = (char *)"vmstate",
	 .size = 4097,
	 .root = (UINT64_C(7) << 24) | 5,
	 .levels = 1,
	 .digest = {.bytes = {9}},
	 .pages = 2,
	 .zero_pages = 1},
};
static struct manifest_region regions[] = {{0, 1u << 20}, {1u << 20, 4095}};
static struct manifest_label labels[] = {
	{(char *)"app", (char *)"gr\xc3\xbc\xc3\x9f\n\"x\""},
	{(char *)"os", (char *)""},
};
static const struct manifest good = {
	.created = UINT64_C(1769903999000000042),
	.image = {.key = (char *)"memory",
		  .size = (UINT64_C(5) << 30) + 1,
		  .root = UINT64_C(0x2a000003),
		  .levels = 3,
		  .digest = {.bytes = {0xab, 0xcd, [15] = 0xef}},
		  .pages = (5u << 18) + 1,
		  .zero_pages = 5u << 18},
	.files = files,
	.file_count = 2,
	.regions = regions,
	.region_count = 2,
	.labels = labels,
	.label_count = 2,
	.parent = (char *)"base",
	.has_origin = true,
	.origin = {65025, 7, (UINT64_C(5) << 30) + 1, 1769903998000000001},
	.codec = (char *)"zstd",
	.new_blocks = 12,
	.shared_blocks = 34,
	.stored_bytes = 56789,
};

static uint8_t *encode(const struct manifest *m, size_t *len)
{
	uint8_t *bytes = NULL;

	assert_int_equal(manifest_encode(m, store_id, &bytes, len), 0);
	return bytes;
}

static void same_file(const struct manifest_file *a,
		      const struct manifest_file *b)
{
	assert_string_equal(a->key, b->key);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->root, b->root);
	assert_int_equal(a->levels, b->levels);
	assert_memory_equal(&a->digest, &b->digest, sizeof(a->digest));
	assert_int_equal(a->pages, b->pages);
	assert_int_equal(a->zero_pages, b->zero_pages);
}

static void same_lists(const struct manifest *a, const struct manifest *b)
{
	assert_int_equal(a->file_count, b->file_count);
	for (unsigned int i = 0; i < a->file_count; i++)
		same_file(&a->files[i], &b->files[i]);
	assert_int_equal(a->region_count, b->region_count);
	for (unsigned int i = 0; i < a->region_count; i++) {
		assert_int_equal(a->regions[i].offset, b->regions[i].offset);
		assert_int_equal(a->regions[i].size, b->regions[i].size);
	}
	assert_int_equal(a->label_count, b->label_count);
	for (unsigned int i = 0; i < a->label_count; i++) {
		assert_string_equal(a->labels[i].key, b->labels[i].key);
		assert_string_equal(a->labels[i].value, b->labels[i].value);
	}
}

static void what_is_encoded_decodes(void **state)
{
	struct manifest back;
	size_t len;
	_cleanup_free_ uint8_t *bytes = encode(&good, &len);

	(void)state;
	assert_int_equal(manifest_decode(bytes, len, store_id, &back), 0);
	same_file(&good.image, &back.image);
	same_lists(&good, &back);
	assert_int_equal(back.created, good.created);
	assert_string_equal(back.parent, "base");
	assert_string_equal(back.codec, "zstd");
	assert_int_equal(back.new_blocks, 12);
	assert_int_equal(back.shared_blocks, 34);
	assert_int_equal(back.stored_bytes, 56789);
	assert_true(back.has_origin);
	assert_memory_equal(&back.origin, &good.origin, sizeof(good.origin));
	manifest_release(&back);
}

static void an_empty_image_is_possible(void **state)
{
	struct manifest empty = {
		.image = {.key = (char *)"memory", .levels = 1},
		.codec = (char *)"none"};
	struct manifest back;
	size_t len;
	_cleanup_free_ uint8_t *bytes = encode(&empty, &len);

	(void)state;
	assert_int_equal(manifest_decode(bytes, len, store_id, &back), 0);
	assert_int_equal(back.image.size, 0);
	assert_null(back.parent);
	manifest_release(&back);
}

static void files_are_found_by_key(void **state)
{
	(void)state;
	assert_ptr_equal(manifest_find(&good, "memory"), &good.image);
	assert_ptr_equal(manifest_find(&good, "vmstate"), &files[1]);
	assert_null(manifest_find(&good, "Memory"));
	assert_null(manifest_find(&good, ""));
}

static void every_cut_is_refused(void **state)
{
	struct manifest back;
	size_t len;
	_cleanup_free_ uint8_t *bytes = encode(&good, &len);

	(void)state;
	for (size_t cut = 0; cut < len; cut++) {
		_cleanup_free_ uint8_t *part = malloc(cut ? cut : 1);

		memcpy(part, bytes, cut);
		assert_int_equal(manifest_decode(part, cut, store_id, &back),
				 -EBADMSG);
	}
}

static void every_flipped_byte_is_refused(void **state)
{
	struct manifest back;
	size_t len;
	_cleanup_free_ uint8_t *bytes = encode(&good, &len);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		int r;

		bytes[i] ^= 0x04;
		r = manifest_decode(bytes, len, store_id, &back);
		/* In the version a flip may look like a newer format. */
		if (i >= 8 && i < 12)
			assert_true(r == -ENOTSUP || r == -EBADMSG);
		else
			assert_int_equal(r, -EBADMSG);
		bytes[i] ^= 0x04;
	}
}

/* Gives header and body the checksums that they should have. */
static void seal(uint8_t *bytes, size_t len)
{
	struct pager_manifest_header h;
	XXH128_canonical_t digest;

	memcpy(&h, bytes, sizeof(h));
	XXH128_canonicalFromHash(
		&digest, XXH3_128bits(bytes + sizeof(h), len - sizeof(h)));
	memcpy(h.body_digest, digest.digest, sizeof(h.body_digest));
	h.checksum = XXH3_64bits(&h, sizeof(h) - 8);
	memcpy(bytes, &h, sizeof(h));
}

static void headers_are_judged(void **state)
{
	struct manifest back;
	uint8_t other[16] = "another one's id";
	size_t len;
	_cleanup_free_ uint8_t *bytes = encode(&good, &len);

	(void)state;
	assert_int_equal(manifest_decode(bytes, len, other, &back), -EBADMSG);
	assert_string_equal(err_text(-EBADMSG),
			    "damaged manifest: it belongs to another store");
	bytes[8] = 2; /* version */
	seal(bytes, len);
	assert_int_equal(manifest_decode(bytes, len, store_id, &back),
			 -ENOTSUP);
	bytes[8] = 0;
	seal(bytes, len);
	assert_int_equal(manifest_decode(bytes, len, store_id, &back),
			 -EBADMSG);
	bytes[8] = 1;
	bytes[48] = 1; /* reserved */
	seal(bytes, len);
	assert_int_equal(manifest_decode(bytes, len, store_id, &back),
			 -EBADMSG);
	bytes[48] = 0;
	bytes[14] = 0xff; /* body_length */
	seal(bytes, len);
	assert_int_equal(manifest_decode(bytes, len, store_id, &back),
			 -EBADMSG);
}

/* A whole manifest file around `body`. */
static int decode_body(const char *body, struct manifest *back)
{
	struct pager_manifest_header h = {.magic = PAGER_MANIFEST_MAGIC,
					  .version = 1,
					  .body_length =
						  (uint32_t)strlen(body)};
	size_t len = sizeof(h) + strlen(body);
	_cleanup_free_ uint8_t *bytes = malloc(len);

	memcpy(h.store, store_id, sizeof(h.store));
	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + sizeof(h), body, strlen(body));
	seal(bytes, len);
	return manifest_decode(bytes, len, store_id, back);
}

static json_t *body_of(const struct manifest *m)
{
	size_t len, head = sizeof(struct pager_manifest_header);
	_cleanup_free_ uint8_t *bytes = encode(m, &len);
	json_t *body =
		json_loadb((const char *)bytes + head, len - head, 0, NULL);

	assert_non_null(body);
	return body;
}

/* The value that `path` ("image.size", "files.1.key") leads to is replaced. */
static void put(json_t *at, const char *path, const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
	const char *dot;

	assert_non_null(value);
	while ((dot = strchr(path, '.'))) {
		char key[64] = {0};

		memcpy(key, path, (size_t)(dot - path));
		at = json_is_array(at)
			     ? json_array_get(at, strtoul(key, NULL, 10))
			     : json_object_get(at, key);
		assert_non_null(at);
		path = dot + 1;
	}
	if (json_is_array(at))
		assert_int_equal(
			json_array_set_new(at, strtoul(path, NULL, 10), value),
			0);
	else
		assert_int_equal(json_object_set_new(at, path, value), 0);
}

static void hostile_bodies_are_refused(void **state)
{
	static const struct {
		const char *path, *value;
	} bad[] = {
		{"image.size", "-1"},
		{"image.size", "\"1\""},
		{"image.size", "1.5"},
		{"image.size", "9223372036854775807"},
		{"image.size", "4503599627370497"}, /* 2^52 + 1 */
		{"image.size", "4096"},		    /* does not fit levels */
		{"image.root", "0"},		    /* not all pages are zero */
		{"image.root", "5"},		    /* pack 0 */
		{"image.root", "-5"},
		{"image.root", "33554431"}, /* slot past a pack's last */
		{"image.levels", "2"},
		{"image.levels", "4"},
		{"image.levels", "-1"},
		{"image.levels", "4294967299"},
		{"image.zero_pages", "1310722"},
		{"image.zero_pages",
		 "1310721"}, /* all, but the root is not 0 */
		{"image.digest", "\"ab\""},
		{"image.digest", "\"zz000000000000000000000000000000\""},
		{"image.key", "\"vmstate\""},
		{"image", "[]"},
		{"image", "null"},
		{"files", "{}"},
		{"files.0.key", "\"vmstate\""}, /* twice */
		{"files.0.key", "\"zoo\""},	/* out of order */
		{"files.0.key", "\"memory\""},
		{"files.0.key", "\"manifest.json\""},
		{"files.0.key", "\"a/b\""},
		{"files.0.key", "\"..\""},
		{"files.0.key", "\"\""},
		{"files.1.size", "4096"},
		{"files.1", "7"},
		{"regions.0.offset", "1"},
		{"regions.0.size", "0"},
		{"regions.0.size", "1048577"}, /* overlaps */
		{"regions.1.size", "5368709121"},
		{"regions.1.offset", "9223372036854771712"},
		{"regions.1.offset", "0"},
		{"regions", "7"},
		{"labels.app", "7"},
		{"labels", "[]"},
		{"codec", "\"lzma\""},
		{"codec", "null"},
		{"parent", "\"a/b\""},
		{"parent", "7"},
		{"created", "-1"},
		{"stored_bytes", "-1"},
		{"new_blocks", "null"},
		{"origin", "7"},
		{"origin.device", "-1"},
		{"origin.inode", "\"7\""},
		{"origin.mtime", "null"},
		{"origin.size", "4096"},
	};
	struct manifest back;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		json_t *body = body_of(&good);
		_cleanup_free_ char *text = NULL;
		int r;

		put(body, bad[i].path, bad[i].value);
		text = json_dumps(body, 0);
		json_decref(body);
		r = decode_body(text, &back);
		if (r != -EBADMSG)
			fail_msg("%s = %s: %d", bad[i].path, bad[i].value, r);
		assert_memory_equal(err_text(r), "damaged manifest: ", 18);
	}
}

static void harmless_changes_pass(void **state)
{
	static const struct {
		const char *path, *value;
	} fine[] = {
		{"unknown", "{\"a\": [1]}"},
		{"parent", "null"},
		{"regions", "[]"},
		{"labels", "{}"},
		{"files", "[]"},
	};
	struct manifest back;

	(void)state;
	for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++) {
		json_t *body = body_of(&good);
		_cleanup_free_ char *text = NULL;

		put(body, fine[i].path, fine[i].value);
		text = json_dumps(body, 0);
		json_decref(body);
		assert_int_equal(decode_body(text, &back), 0);
		manifest_release(&back);
	}
}

static void text_that_is_no_object_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"null",
		"{}",
		"\xff",
		"{\"codec\": \"zstd\", \"codec\": \"zstd\"}",
		"{\"codec\": \"zs\\u0000td\"}",
	};
	struct manifest back;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(decode_body(bad[i], &back), -EBADMSG);
}

static void deep_nesting_is_refused(void **state)
{
	enum { DEPTH = 500000 };
	_cleanup_free_ char *text = malloc(DEPTH + 1);
	struct manifest back;

	(void)state;
	memset(text, '[', DEPTH);
	text[DEPTH] = '\0';
	assert_int_equal(decode_body(text, &back), -EBADMSG);
}

static void lists_end_at_their_limits(void **state)
{
	struct manifest_label many[PAGER_LABELS_MAX + 1];
	struct manifest m = good;
	char keys[PAGER_LABELS_MAX + 1][8], value[PAGER_LABEL_MAX + 2];
	uint8_t *bytes;
	size_t len;

	(void)state;
	memset(value, 'v', sizeof(value));
	value[PAGER_LABEL_MAX] = '\0';
	for (unsigned int i = 0; i <= PAGER_LABELS_MAX; i++) {
		(void)snprintf(keys[i], sizeof(keys[i]), "k%03u", i);
		many[i] = (struct manifest_label){keys[i], value};
	}
	m.labels = many;
	m.label_count = PAGER_LABELS_MAX;
	free(encode(&m, &len));
	m.label_count++;
	assert_int_equal(manifest_encode(&m, store_id, &bytes, &len), -EINVAL);
	m.label_count = 1;
	value[PAGER_LABEL_MAX] = 'v';
	value[PAGER_LABEL_MAX + 1] = '\0';
	assert_int_equal(manifest_encode(&m, store_id, &bytes, &len), -EINVAL);
}

static void show_says_what_users_rely_on(void **state)
{
	json_t *shown = manifest_to_json(&good, "web"), *all, *parent;
	const char *name, *digest, *created, *codec, *key;
	json_int_t size, pages, zero_pages, file_size;

	(void)state;
	assert_non_null(shown);
	assert_int_equal(
		json_unpack(shown,
			    "{s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:o, s:o}",
			    "name", &name, "image_digest", &digest, "size",
			    &size, "pages", &pages, "zero_pages", &zero_pages,
			    "created", &created, "codec", &codec, "parent",
			    &parent, "files", &all),
		0);
	assert_string_equal(name, "web");
	assert_string_equal(digest, "abcd00000000000000000000000000ef");
	assert_int_equal(size, (INT64_C(5) << 30) + 1);
	assert_int_equal(pages, (5 << 18) + 1);
	assert_int_equal(zero_pages, 5 << 18);
	assert_string_equal(created, "2026-01-31T23:59:59.000000042Z");
	assert_string_equal(codec, "zstd");
	assert_string_equal(json_string_value(parent), "base");
	assert_int_equal(json_array_size(all), 2);
	assert_int_equal(json_unpack(json_array_get(all, 1), "{s:s, s:I}",
				     "key", &key, "size", &file_size),
			 0);
	assert_string_equal(key, "vmstate");
	assert_int_equal(file_size, 4097);
	json_decref(shown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_decodes),
		cmocka_unit_test(an_empty_image_is_possible),
		cmocka_unit_test(files_are_found_by_key),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(every_flipped_byte_is_refused),
		cmocka_unit_test(headers_are_judged),
		cmocka_unit_test(hostile_bodies_are_refused),
		cmocka_unit_test(harmless_changes_pass),
		cmocka_unit_test(text_that_is_no_object_is_refused),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(lists_end_at_their_limits),
		cmocka_unit_test(show_says_what_users_rely_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
