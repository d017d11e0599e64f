#include "tests/unit/mount/mount_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fs/cache/cache.h"
#include "fs/store/publish/publish.h"
#include "tests/unit/store/publish/image.h"

void mount_fixture_open(struct mount_fixture *f)
{
	const struct store_init_options options = {
		.secret = scratch_colliding_secret()};
	const struct cache_options cache = {.limit = CACHE_LIMIT_MIN};

	scratch_make(f->folder);
	(void)snprintf(f->path, sizeof(f->path), "%s/store", f->folder);
	assert_int_equal(store_init(f->path, &options), 0);
	assert_int_equal(store_open(f->path, STORE_WRITE, &f->store), 0);
	assert_int_equal(cache_new(&cache, &f->cache), 0);
	f->view = (struct view){f->store, f->cache, store_source(f->store)};
}

void mount_fixture_close(struct mount_fixture *f)
{
	cache_free(f->cache);
	store_unref(f->store);
	scratch_remove(f->folder);
}

void mount_fixture_publish(struct mount_fixture *f, const char *name,
			   const uint8_t *image, size_t size,
			   const char *vmstate)
{
	char memory[2 * SCRATCH_PATH_MAX], state[2 * SCRATCH_PATH_MAX];
	const struct publish_file file = {"vmstate", state};
	struct publish_options options = PUBLISH_OPTIONS_INIT;
	struct publish_result result;

	(void)snprintf(memory, sizeof(memory), "%s/memory", f->folder);
	(void)snprintf(state, sizeof(state), "%s/vmstate", f->folder);
	image_write(memory, image, size);
	options.name = name;
	options.memory = (struct publish_file){"memory", memory};
	if (vmstate) {
		scratch_write(state, vmstate, strlen(vmstate));
		options.files = &file;
		options.file_count = 1;
	}
	assert_int_equal(publish(f->store, &options, &result), 0);
}

const char *mount_fixture_pack(const struct mount_fixture *f)
{
	static char path[4 * SCRATCH_PATH_MAX];
	char packs[3 * SCRATCH_PATH_MAX];
	const struct dirent *e;
	DIR *d;

	(void)snprintf(packs, sizeof(packs), "%s/packs", f->path);
	d = opendir(packs);
	assert_non_null(d);
	path[0] = '\0';
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		assert_string_equal(path, "");
		(void)snprintf(path, sizeof(path), "%s/%s", packs, e->d_name);
	}
	(void)closedir(d);
	return path;
}

uint64_t mount_fixture_pinned(const struct mount_fixture *f)
{
	struct cache_stats stats;

	cache_stats(f->cache, &stats);
	return stats.pinned;
}
