/* Working sets: their bytes, their files and what a recording makes of them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/store/store.h"
#include "fs/store/workingset/workingset.h"
#include "fs/store/workingset/wsfile.h"
#include "tests/unit/store/scratch.h"

#define PAGES 1000u

static const struct pager_digest image = {{1, 2, 3}};
static const struct pager_digest other_image = {{1, 2, 4}};

struct test {
	char folder[SCRATCH_PATH_MAX];
	struct store *store;
};

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	scratch_make(t->folder);
	assert_int_equal(store_init(scratch_file(t->folder, "s"), NULL), 0);
	assert_int_equal(
		store_open(scratch_file(t->folder, "s"), STORE_READ, &t->store),
		0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	store_unref(t->store);
	scratch_remove(t->folder);
	free(t);
	return 0;
}

static struct workingset none(void)
{
	return (struct workingset){.image = image, .pages = PAGES};
}

static struct workingset merged(const struct workingset *old,
				const uint64_t *touched, size_t count,
				size_t most)
{
	struct workingset w;

	assert_int_equal(workingset_merge(old, touched, count, most, &w), 0);
	return w;
}

static void expect_pages(const struct workingset *w, const uint64_t *pages,
			 size_t count)
{
	assert_int_equal(w->count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(w->entries[i].page, pages[i]);
}

static void order_of_touches_is_kept(void **state)
{
	const uint64_t touched[] = {900, 3, 5, 4, 3, 0, 900};
	const uint64_t pages[] = {900, 3, 5, 4, 0};
	struct workingset empty = none();
	struct workingset w = merged(&empty, touched, 7, 100);

	(void)state;
	expect_pages(&w, pages, 5);
	assert_memory_equal(&w.image, &image, sizeof(image));
	workingset_release(&w);
}

static void pages_past_the_image_are_passed_over(void **state)
{
	const uint64_t touched[] = {PAGES, PAGES - 1, UINT64_MAX};
	const uint64_t pages[] = {PAGES - 1};
	struct workingset empty = none();
	struct workingset w = merged(&empty, touched, 3, 100);

	(void)state;
	expect_pages(&w, pages, 1);
	workingset_release(&w);
}

static void untouched_pages_decay_and_leave(void **state)
{
	const uint64_t first[] = {1, 2, 3}, later[] = {3, 9};
	const uint64_t all[] = {3, 9, 1, 2}, left[] = {3, 9};
	struct workingset empty = none();
	struct workingset a = merged(&empty, first, 3, 100);
	struct workingset b = merged(&a, later, 2, 100);
	struct workingset c = merged(&b, later, 2, 100);
	struct workingset d = merged(&c, later, 2, 100);

	(void)state;
	expect_pages(&b, all, 4);
	assert_int_equal(b.entries[0].score, 128 / 2 + 128);
	assert_int_equal(b.entries[2].score, 64);
	expect_pages(&c, all, 4);
	expect_pages(&d, left, 2);
	workingset_release(&a);
	workingset_release(&b);
	workingset_release(&c);
	workingset_release(&d);
}

static void a_score_has_an_end(void **state)
{
	const uint64_t touched[] = {7};
	struct workingset w = none();

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct workingset next = merged(&w, touched, 1, 10);

		workingset_release(&w);
		w = next;
	}
	assert_int_equal(w.entries[0].score, PAGER_WORKINGSET_SCORE_MAX);
	workingset_release(&w);
}

static void the_least_regular_pages_make_room(void **state)
{
	const uint64_t first[] = {1, 2, 3}, later[] = {8, 2, 9};
	const uint64_t kept[] = {8, 2};
	struct workingset empty = none();
	struct workingset a = merged(&empty, first, 3, 100);
	struct workingset b = merged(&a, later, 3, 2);

	(void)state;
	expect_pages(&b, kept, 2);
	workingset_release(&a);
	workingset_release(&b);
}

static void what_is_saved_is_loaded(void **state)
{
	struct test *t = *state;
	const uint64_t touched[] = {5, 1, 999};
	struct workingset empty = none(), back;
	struct workingset w = merged(&empty, touched, 3, 100);

	assert_int_equal(wsfile_load(t->store, &image, PAGES, &back), -ENOENT);
	assert_int_equal(wsfile_save(t->store, &w), 0);
	assert_int_equal(wsfile_load(t->store, &image, PAGES, &back), 0);
	expect_pages(&back, touched, 3);
	workingset_release(&back);
	assert_int_equal(wsfile_load(t->store, &other_image, PAGES, &back),
			 -ENOENT);
	/* A second one takes the place of the first, and leaves nothing. */
	w.count = 1;
	assert_int_equal(wsfile_save(t->store, &w), 0);
	assert_int_equal(wsfile_load(t->store, &image, PAGES, &back), 0);
	expect_pages(&back, touched, 1);
	workingset_release(&back);
	workingset_release(&w);
	assert_int_equal(
		scratch_count(scratch_file(t->folder, "s/" WSFILE_FOLDER)), 1);
}

static void save(struct test *t)
{
	const uint64_t touched[] = {5};
	struct workingset empty = none();
	struct workingset w = merged(&empty, touched, 1, 1);

	assert_int_equal(wsfile_save(t->store, &w), 0);
	workingset_release(&w);
}

#define FILE_NAME "s/" WSFILE_FOLDER "/01020300000000000000000000000000"

/* PITFALLS 32. */
static void another_images_is_refused(void **state)
{
	struct test *t = *state;
	struct workingset w;
	uint8_t *bytes;
	size_t len;

	save(t);
	assert_int_equal(wsfile_load(t->store, &image, PAGES + 1, &w), -ESTALE);
	bytes = scratch_read(scratch_file(t->folder, FILE_NAME), &len);
	scratch_write(scratch_file(t->folder,
				   "s/" WSFILE_FOLDER
				   "/01020400000000000000000000000000"),
		      bytes, len);
	free(bytes);
	assert_int_equal(wsfile_load(t->store, &other_image, PAGES, &w),
			 -ESTALE);
}

static void damage_is_refused(void **state)
{
	struct test *t = *state;
	struct workingset w;

	save(t);
	scratch_flip(scratch_file(t->folder, FILE_NAME), -16);
	assert_int_equal(wsfile_load(t->store, &image, PAGES, &w), -EBADMSG);
	save(t);
	scratch_flip(scratch_file(t->folder, FILE_NAME), 49);
	assert_int_equal(wsfile_load(t->store, &image, PAGES, &w), -EBADMSG);
	scratch_write(scratch_file(t->folder, FILE_NAME), "", 0);
	assert_int_equal(wsfile_load(t->store, &image, PAGES, &w), -EBADMSG);
}

static void what_a_dead_writer_left_is_taken_over(void **state)
{
	struct test *t = *state;
	struct workingset w;

	save(t);
	scratch_write(scratch_file(t->folder, FILE_NAME ".new"), "torn", 4);
	save(t);
	assert_int_equal(wsfile_load(t->store, &image, PAGES, &w), 0);
	workingset_release(&w);
	assert_int_equal(
		scratch_count(scratch_file(t->folder, "s/" WSFILE_FOLDER)), 1);
}

static void a_folder_open_to_others_is_refused(void **state)
{
	struct test *t = *state;
	struct workingset w;

	save(t);
	assert_int_equal(
		chmod(scratch_file(t->folder, "s/" WSFILE_FOLDER), 0777), 0);
	assert_int_equal(wsfile_load(t->store, &image, PAGES, &w), -EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_of_touches_is_kept),
		cmocka_unit_test(pages_past_the_image_are_passed_over),
		cmocka_unit_test(untouched_pages_decay_and_leave),
		cmocka_unit_test(a_score_has_an_end),
		cmocka_unit_test(the_least_regular_pages_make_room),
#define WITH_STORE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		WITH_STORE(what_is_saved_is_loaded),
		WITH_STORE(another_images_is_refused),
		WITH_STORE(damage_is_refused),
		WITH_STORE(what_a_dead_writer_left_is_taken_over),
		WITH_STORE(a_folder_open_to_others_is_refused),
#undef WITH_STORE
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
