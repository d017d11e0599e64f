#include "tests/unit/store/publish/publishing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/store/snapshot/snapshot.h"

struct publishing t;

void publishing_store(const char *name, const uint8_t *secret)
{
	const struct store_init_options options = {.secret = secret};

	store_unref(t.store);
	(void)snprintf(t.path, sizeof(t.path), "%s/%s", t.folder, name);
	assert_int_equal(store_init(t.path, &options), 0);
	assert_int_equal(store_open(t.path, STORE_WRITE, &t.store), 0);
}

int publishing_setup(void **state)
{
	(void)state;
	t = (struct publishing){0};
	scratch_make(t.folder);
	(void)snprintf(t.file, sizeof(t.file), "%s/image", t.folder);
	publishing_store("store", NULL);
	return 0;
}

int publishing_teardown(void **state)
{
	(void)state;
	store_unref(t.store);
	scratch_remove(t.folder);
	return 0;
}

struct publish_options publishing_options(const char *name)
{
	struct publish_options o = PUBLISH_OPTIONS_INIT;

	o.name = name;
	o.memory = (struct publish_file){.key = "memory", .path = t.file};
	return o;
}

void publishing_good(const struct publish_options *o)
{
	int r = publish(t.store, o, &t.result);

	if (r < 0)
		fail_msg("%s: %s", o->name, err_text(r));
}

void publishing_bad(const struct publish_options *o, int code, const char *line)
{
	struct publish_result untouched = {.pages = 4711};

	assert_int_equal(publish(t.store, o, &untouched), code);
	if (line)
		assert_string_equal(err_text(code), line);
	assert_int_equal(untouched.pages, 4711);
	assert_int_equal(scratch_count(scratch_file(t.path, "tmp")), 0);
	assert_int_equal(snapshot_check_free(t.store, "bad"), 0);
}

unsigned int publishing_packs(void)
{
	return scratch_count(scratch_file(t.path, "packs"));
}
