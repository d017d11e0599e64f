#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/cache/fetch.h"
#include "fs/io/text.h"
#include "fs/mount/handle.h"
#include "fs/mount/tree/listing.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/store.h"
#include "fs/store/workingset/wsfile.h"
#include "tests/unit/store/publish/image.h"
#include "tests/unit/mount/mount_fixture.h"

#define SIZE ((size_t)40 * PAGER_PAGE_SIZE + 5)

static const char *const status_names[] = {"cache", "health"};

static json_t *get_status(void *arg, const char *name)
{
	(void)arg;
	return json_pack("{s:s}", "of", name);
}

static struct {
	struct mount_fixture fixture;
	struct tree *tree;
	uint8_t *bytes;
} t;

static struct tree *new_tree(void)
{
	const struct tree_options options = {
		.view = t.fixture.view,
		.status = {status_names, 2, get_status, NULL},
		.uid = 12,
		.gid = 34,
	};
	struct tree *tree = NULL;

	assert_int_equal(tree_new(&options, &tree), 0);
	return tree;
}

static int setup(void **state)
{
	(void)state;
	mount_fixture_open(&t.fixture);
	t.bytes = image_make(3, SIZE);
	mount_fixture_publish(&t.fixture, "web", t.bytes, SIZE, "devices");
	t.tree = new_tree();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tree_free(t.tree);
	assert_int_equal(mount_fixture_pinned(&t.fixture), 0);
	mount_fixture_close(&t.fixture);
	free(t.bytes);
	return 0;
}

/* A path below the root; the lookups stay counted. NULL: -ENOENT. */
static const struct node *walk(struct tree *tree, const char *path)
{
	const struct node *n = tree_node(tree, 1);
	char copy[512], *rest = copy, *name;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	while (n && (name = strsep(&rest, "/"))) {
		const struct node *next = NULL;
		int r = tree_lookup(tree, n, name, &next);

		assert_true(r == 0 || r == -ENOENT);
		n = next;
	}
	return n;
}

static struct stat stat_of(const struct node *n)
{
	struct stat st;

	node_stat(tree_common(t.tree), n, &st);
	return st;
}

static void attributes_tell_what_it_is(void **state)
{
	const struct node *memory = walk(t.tree, "snapshots/web/memory");
	const struct manifest_file *image = &memory->snap->manifest.image;
	struct stat st = stat_of(memory);

	(void)state;
	assert_int_equal(st.st_mode, S_IFREG | 0400);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(st.st_blocks, 8 * (image->pages - image->zero_pages));
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 34);
	assert_int_equal(st.st_mtim.tv_sec,
			 memory->snap->manifest.created / 1000000000);
	st = stat_of(walk(t.tree, "snapshots/web"));
	assert_int_equal(st.st_mode, S_IFDIR | 0500);
	assert_int_equal(stat_of(walk(t.tree, "snapshots/web/vmstate")).st_size,
			 7);
	assert_true(node_name_timeout(memory) > 0);
	assert_true(node_name_timeout(walk(t.tree, "snapshots/web")) == 0);
}

static void what_is_not_there_is_not_found(void **state)
{
	static const char *const paths[] = {
		"none",
		"snapshots/none",
		"snapshots/web/none",
		"snapshots/web/working-set",
		"digests/00",
		"digests/00112233445566778899aabbccddeeff",
		"blocks/0",
		"blocks/0G",
		"blocks/00/01112233445566778899aabbccddeeff",
		"blocks/00/00112233445566778899aabbccddeeff",
		"blocks/00/00112233445566778899AABBCCDDEEFF",
		".pager/none.json",
		".pager/cache",
		".pager/.json",
	};
	const struct node *n;
	char name[300];

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_null(walk(t.tree, paths[i]));
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(
		tree_lookup(t.tree, walk(t.tree, "snapshots"), name, &n),
		-ENAMETOOLONG);
	assert_int_equal(tree_lookup(t.tree,
				     walk(t.tree, "snapshots/web/memory"), "x",
				     &n),
			 -ENOTDIR);
}

static void check_listing(const char *path)
{
	const struct node *folder = path ? walk(t.tree, path)
					 : tree_node(t.tree, 1);
	struct listing l;

	assert_int_equal(listing_read(t.tree, folder, &l), 0);
	for (size_t i = 0; i < l.count; i++) {
		const struct listing_entry *e = &l.entries[i];
		const struct node *n = NULL;

		assert_int_equal(tree_lookup(t.tree, folder, e->name, &n), 0);
		assert_int_equal(n->ino, e->ino);
		assert_int_equal(n->kind, e->kind);
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(l.entries[j].ino, e->ino);
	}
	assert_true(l.count > 0);
	listing_release(&l);
}

static void listings_agree_with_lookups(void **state)
{
	(void)state;
	check_listing(NULL);
	check_listing("snapshots");
	check_listing("snapshots/web");
	check_listing("digests");
	check_listing("blocks");
	check_listing(".pager");
}

static void numbers_are_the_same_in_every_mount(void **state)
{
	static const char *const paths[] = {
		"snapshots",
		"snapshots/web",
		"snapshots/web/memory",
		"snapshots/web/vmstate",
		"snapshots/web/manifest.json",
		"snapshots/web/pages",
		"blocks/7f",
		".pager/cache.json",
	};
	struct tree *other = new_tree();

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		const struct node *a = walk(t.tree, paths[i]);
		const struct node *b = walk(other, paths[i]);

		assert_int_equal(a->id, b->id);
		assert_int_equal(a->ino, b->ino);
		assert_int_equal(a->generation, b->generation);
		assert_ptr_equal(a, walk(t.tree, paths[i]));
	}
	tree_free(other);
}

static void a_node_lives_while_it_is_known(void **state)
{
	const struct node *snapshots = walk(t.tree, "snapshots"), *n;
	uint64_t id = walk(t.tree, "snapshots/web")->id;

	(void)state;
	assert_int_equal(tree_lookup(t.tree, snapshots, "web", &n), 0);
	tree_forget(t.tree, id, 1);
	assert_ptr_equal(tree_node(t.tree, id), n);
	tree_forget(t.tree, id, 1);
	assert_null(tree_node(t.tree, id));
	tree_forget(t.tree, id, 1);
	tree_forget(t.tree, 1, 1000);
	assert_non_null(tree_node(t.tree, 1));
}

static void names_come_and_go_at_once(void **state)
{
	uint64_t id = walk(t.tree, "snapshots/web/memory")->id;

	(void)state;
	assert_int_equal(snapshot_remove(t.fixture.store, "web"), 0);
	assert_null(walk(t.tree, "snapshots/web"));
	/* The same bytes under the same name are another snapshot. */
	mount_fixture_publish(&t.fixture, "web", t.bytes, SIZE, "devices");
	assert_int_not_equal(walk(t.tree, "snapshots/web/memory")->id, id);
}

static void digest_path(const char *name, char path[64])
{
	const struct node *n = walk(t.tree, name);
	char hex[2 * PAGER_DIGEST_SIZE + 1];

	text_to_hex(n->snap->manifest.image.digest.bytes, PAGER_DIGEST_SIZE,
		    hex);
	(void)snprintf(path, 64, "digests/%s", hex);
}

static void digests_lead_to_snapshots(void **state)
{
	char web[64];

	(void)state;
	digest_path("snapshots/web", web);
	assert_string_equal(walk(t.tree, web)->target, "web");
	mount_fixture_publish(&t.fixture, "copy", t.bytes, SIZE, NULL);
	assert_string_equal(walk(t.tree, web)->target, "copy");
	assert_int_equal(stat_of(walk(t.tree, web)).st_size,
			 strlen("../snapshots/copy"));
	assert_int_equal(snapshot_remove(t.fixture.store, "copy"), 0);
	assert_string_equal(walk(t.tree, web)->target, "web");
	assert_int_equal(snapshot_remove(t.fixture.store, "web"), 0);
	assert_null(walk(t.tree, web));
}

/* The node of a page's block. */
static const struct node *block_node(const uint8_t *page)
{
	char hex[2 * PAGER_DIGEST_SIZE + 1], path[64];
	struct pager_digest digest;

	store_digest(t.fixture.store, page, PAGER_KIND_PAGE, &digest);
	text_to_hex(digest.bytes, sizeof(digest.bytes), hex);
	(void)snprintf(path, sizeof(path), "blocks/%.2s/%s", hex, hex);
	return walk(t.tree, path);
}

static void read_node(const struct node *n, uint8_t page[PAGER_PAGE_SIZE])
{
	struct gather *g;
	struct handle *h;
	const uint8_t *data;
	size_t len;

	assert_int_equal(handle_open(t.tree, n, &h), 0);
	assert_int_equal(gather_open(&g), 0);
	assert_int_equal(handle_read(h, g, 0, PAGER_PAGE_SIZE, &data, &len), 0);
	assert_int_equal(len, PAGER_PAGE_SIZE);
	memcpy(page, data, len);
	gather_close(g);
	handle_close(h);
}

static void blocks_are_found_by_their_digest(void **state)
{
	uint8_t page[PAGER_PAGE_SIZE];

	(void)state;
	for (size_t at = 0; at + sizeof(page) < SIZE; at += sizeof(page)) {
		const struct node *n = block_node(t.bytes + at);

		if (!n) { /* the zero page is no block */
			memset(page, 0, sizeof(page));
			assert_memory_equal(t.bytes + at, page, sizeof(page));
			continue;
		}
		assert_int_equal(n->size, PAGER_PAGE_SIZE);
		read_node(n, page);
		assert_memory_equal(page, t.bytes + at, sizeof(page));
	}
}

/* One digest, two pages: the one that was stored first is shown. */
static void of_colliding_blocks_the_oldest_is_shown(void **state)
{
	uint8_t a[PAGER_PAGE_SIZE], b[PAGER_PAGE_SIZE], page[PAGER_PAGE_SIZE];

	(void)state;
	scratch_fixture("collide-a.bin", a);
	scratch_fixture("collide-b.bin", b);
	assert_null(block_node(a));
	mount_fixture_publish(&t.fixture, "b", b, sizeof(b), NULL);
	mount_fixture_publish(&t.fixture, "a", a, sizeof(a), NULL);
	assert_ptr_equal(block_node(a), block_node(b));
	read_node(block_node(a), page);
	assert_memory_equal(page, b, sizeof(b));
}

static size_t count_blocks(bool look)
{
	char path[16];
	size_t count = 0;

	for (unsigned int byte = 0; byte < 256; byte++) {
		struct listing l;

		(void)snprintf(path, sizeof(path), "blocks/%02x", byte);
		assert_int_equal(listing_read(t.tree, walk(t.tree, path), &l),
				 0);
		count += l.count;
		if (look && l.count)
			check_listing(path);
		listing_release(&l);
	}
	return count;
}

static void every_block_is_listed_once(void **state)
{
	size_t before = count_blocks(true);
	uint8_t page[PAGER_PAGE_SIZE];

	(void)state;
	scratch_page(4711, page);
	mount_fixture_publish(&t.fixture, "one", page, sizeof(page), NULL);
	/* The page, and the leaf node of its table. */
	assert_int_equal(count_blocks(false), before + 2);
}

static void status_is_asked_at_each_open(void **state)
{
	const struct node *n = walk(t.tree, ".pager/health.json");
	struct gather *g;
	struct handle *h;
	const uint8_t *data;
	size_t len;

	(void)state;
	assert_int_equal(gather_open(&g), 0);
	assert_int_equal(handle_open(t.tree, n, &h), 0);
	assert_true(handle_is_live(h));
	assert_int_equal(handle_read(h, g, 0, 100, &data, &len), 0);
	assert_int_equal(len, strlen("{\n  \"of\": \"health\"\n}\n"));
	assert_memory_equal(data, "{\n  \"of\": \"health\"\n}\n", len);
	handle_close(h);
	gather_close(g);
}

static const struct node *record(uint64_t *pages, size_t count)
{
	const struct node *folder = walk(t.tree, "snapshots/web");
	const struct manifest_file *image = &folder->snap->manifest.image;
	const struct workingset none = {
		.image = image->digest,
		.pages = image->pages,
	};
	struct workingset set;

	assert_int_equal(workingset_merge(&none, pages, count, count, &set), 0);
	assert_int_equal(wsfile_save(t.fixture.store, &set), 0);
	workingset_release(&set);
	return walk(t.tree, "snapshots/web/working-set");
}

static void check_text(const struct node *n, const char *text)
{
	struct gather *g;
	struct handle *h;
	const uint8_t *data;
	size_t len;

	assert_int_equal(n->size, strlen(text));
	assert_int_equal(gather_open(&g), 0);
	assert_int_equal(handle_open(t.tree, n, &h), 0);
	assert_false(handle_is_live(h));
	assert_int_equal(handle_read(h, g, 0, 100, &data, &len), 0);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(data, text, len);
	handle_close(h);
	gather_close(g);
}

static void a_working_set_shows_what_is_recorded_now(void **state)
{
	const struct node *first, *second;
	struct handle *h;

	(void)state;
	assert_null(walk(t.tree, "snapshots/web/working-set"));
	check_listing("snapshots/web");
	first = record((uint64_t[]){7, 40, 0, 12}, 4);
	check_listing("snapshots/web");
	check_text(first, "7\n40\n0\n12\n");
	assert_ptr_equal(walk(t.tree, "snapshots/web/working-set"), first);
	assert_true(node_name_timeout(first) == 0);
	second = record((uint64_t[]){40, 7}, 2);
	check_text(second, "40\n7\n");
	assert_int_equal(first->ino, second->ino);
	assert_true(first->id != second->id);
	/* The kernel asks for the name again. */
	assert_int_equal(handle_open(t.tree, first, &h), -ESTALE);
}

static void a_damaged_working_set_is_told_of(void **state)
{
	char folder[3 * SCRATCH_PATH_MAX], path[4 * SCRATCH_PATH_MAX];
	const struct node *n = record((uint64_t[]){1}, 1);

	(void)state;
	(void)snprintf(folder, sizeof(folder), "%s/" WSFILE_FOLDER,
		       t.fixture.path);
	text_to_hex(n->snap->manifest.image.digest.bytes, PAGER_DIGEST_SIZE,
		    path + snprintf(path, sizeof(path), "%s/", folder));
	scratch_flip(path, 75);
	assert_int_equal(tree_lookup(t.tree, walk(t.tree, "snapshots/web"),
				     "working-set", &n),
			 -EBADMSG);
	assert_int_equal(unlink(path), 0);
	assert_null(walk(t.tree, "snapshots/web/working-set"));
}

static void folders_and_links_do_not_open(void **state)
{
	char link[64];
	struct handle *h;

	(void)state;
	digest_path("snapshots/web", link);
	assert_int_equal(handle_open(t.tree, walk(t.tree, "snapshots"), &h),
			 -EISDIR);
	assert_int_equal(handle_open(t.tree, walk(t.tree, link), &h), -ELOOP);
}

static void a_damaged_manifest_is_told_of(void **state)
{
	char path[3 * SCRATCH_PATH_MAX];
	const struct node *n;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/snapshots/web", t.fixture.path);
	scratch_flip(path, 80);
	assert_int_equal(
		tree_lookup(t.tree, walk(t.tree, "snapshots"), "web", &n),
		-EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		TEST(attributes_tell_what_it_is),
		TEST(what_is_not_there_is_not_found),
		TEST(listings_agree_with_lookups),
		TEST(numbers_are_the_same_in_every_mount),
		TEST(a_node_lives_while_it_is_known),
		TEST(names_come_and_go_at_once),
		TEST(digests_lead_to_snapshots),
		TEST(blocks_are_found_by_their_digest),
		TEST(of_colliding_blocks_the_oldest_is_shown),
		TEST(every_block_is_listed_once),
		TEST(status_is_asked_at_each_open),
		TEST(a_working_set_shows_what_is_recorded_now),
		TEST(a_damaged_working_set_is_told_of),
		TEST(folders_and_links_do_not_open),
		TEST(a_damaged_manifest_is_told_of),
	};

	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
