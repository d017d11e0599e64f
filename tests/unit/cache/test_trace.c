#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/cache/cache_rig.h"
#include "fs/base/cleanup.h"
#include "fs/cache/fetch_read.h"
#include "fs/cache/observe/trace.h"
#include "fs/io/inject.h"
#include "tests/unit/cache/memory_source.h"
#include "pager/trace.h"
#include "tests/unit/store/scratch.h"

#define HEADER sizeof(struct pager_trace_header)
#define RECORD sizeof(struct pager_trace_record)

static char folder[SCRATCH_PATH_MAX], path[SCRATCH_PATH_MAX * 2];

static int setup(void **state)
{
	(void)state;
	scratch_make(folder);
	(void)snprintf(path, sizeof(path), "%s/trace", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove(folder);
	return 0;
}

static void records_what_is_looked_up(void **state)
{
	struct memory_source *m = memory_source_new(8);
	struct cache *c = rig_cache(1u << 20, 1);
	const struct pager_trace_record *records;
	const struct pager_trace_header *header;
	_cleanup_free_ uint8_t *bytes = NULL;
	uint8_t page[4096];
	struct trace *t;
	struct stat st;
	size_t length;

	(void)state;
	assert_int_equal(trace_open(path, 1 << 20, &t), 0);
	cache_set_trace(c, t);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(fetch_read(c, memory_source_ops(m),
					    memory_source_block(i), CACHE_MOUNT,
					    page, NULL),
				 0);
	trace_note(t, 7, memory_source_block(3), CACHE_FAULT);
	trace_close(t);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	bytes = scratch_read(path, &length);
	assert_int_equal(length, HEADER + 9 * RECORD);
	header = (const void *)bytes;
	assert_memory_equal(header->magic, PAGER_TRACE_MAGIC, 8);
	assert_int_equal(header->record_size, RECORD);
	records = (const void *)(header + 1);
	for (uint32_t i = 0; i < 8; i++) {
		assert_int_equal(records[i].block, memory_source_block(i));
		assert_int_equal(records[i].class, CACHE_MOUNT);
		assert_int_equal(records[i].session, 0);
		assert_true(!i || records[i].at >= records[i - 1].at);
	}
	assert_int_equal(records[8].session, 7);
	assert_int_equal(records[8].class, CACHE_FAULT);
	cache_free(c);
	memory_source_free(m);
}

static void the_file_is_bounded(void **state)
{
	struct trace_stats stats;
	struct trace *t;
	struct stat st;

	(void)state;
	assert_int_equal(trace_open(path, HEADER + 100 * RECORD + 5, &t), 0);
	for (int i = 0; i < 150; i++)
		trace_note(t, 1, 5, CACHE_FAULT);
	trace_finish(t);
	trace_note(t, 1, 5, CACHE_FAULT);
	trace_stats(t, &stats);
	assert_int_equal(stats.recorded, 100);
	assert_int_equal(stats.lost, 51);
	trace_close(t);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, HEADER + 100 * RECORD);
}

static void a_path_that_cannot_be_is_told(void **state)
{
	struct trace *t;

	(void)state;
	assert_int_equal(trace_open("/nowhere/at/all", 1 << 20, &t), -ENOENT);
}

#ifdef PAGER_INJECT
static void a_full_disk_ends_it(void **state)
{
	struct trace_stats stats;
	struct trace *t;

	(void)state;
	assert_int_equal(trace_open(path, 1 << 20, &t), 0);
	assert_int_equal(inject_configure("trace-write:ENOSPC+"), 0);
	trace_note(t, 1, 5, CACHE_FAULT);
	trace_finish(t);
	trace_stats(t, &stats);
	assert_int_equal(stats.error, -ENOSPC);
	assert_int_equal(inject_configure(NULL), 0);
	trace_close(t);
}
#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(records_what_is_looked_up),
		TEST(the_file_is_bounded),
		TEST(a_path_that_cannot_be_is_told),
#ifdef PAGER_INJECT
		TEST(a_full_disk_ends_it),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
