/* Commands on the cache while VMs fault: each byte that they read is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <poll.h>

#include <cmocka.h>

#include "fs/cache/admin/evict.h"
#include "fs/cache/admin/resize.h"
#include "tests/unit/uffd/uffd_bench.h"

#define VMS	 32
#define PAGE	 4096u
#define SIZE	 (4u << 20)
#define LIMIT	 (8u << 20)
#define SNAPSHOT "guest"

struct fleet {
	struct bench *bench;
	struct session *sessions[VMS];
	struct vmm vms[VMS];
};

static void start(struct fleet *f)
{
	f->bench = bench_new(&(struct bench_options){.cache = LIMIT});
	bench_publish(f->bench, SNAPSHOT, SIZE);
	for (int i = 0; i < VMS; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "vm-%d", i);
		f->sessions[i] =
			bench_session(f->bench, SNAPSHOT,
				      bench_session_options(f->bench, id));
		vmm_restore(&f->vms[i], f->sessions[i], SIZE, PAGE);
	}
}

static void end(struct fleet *f)
{
	for (int i = 0; i < VMS; i++) {
		vmm_exit(&f->vms[i]);
		bench_expect_end(f->bench, f->sessions[i],
				 SESSION_END_VMM_GONE);
	}
	bench_free(f->bench);
}

/* How many have said that they are done. */
static unsigned int done(const struct fleet *f)
{
	unsigned int n = 0;

	for (int i = 0; i < VMS; i++) {
		struct pollfd fd = {.fd = f->vms[i].control, .events = POLLIN};

		n += poll(&fd, 1, 0) == 1;
	}
	return n;
}

static void read_all(struct fleet *f)
{
	for (int i = 0; i < VMS; i++)
		vmm_say(&f->vms[i], CLIENT_READ, 0,
			(const uint64_t[3]){0, SIZE});
}

static void check_all(struct fleet *f)
{
	const uint8_t *image = bench_image(f->bench);

	for (int i = 0; i < VMS; i++) {
		assert_int_equal(vmm_reply(&f->vms[i]), 0);
		assert_memory_equal(f->vms[i].shared, image, SIZE);
	}
}

/* PITFALLS 59: to half and back, and evicted, all the time. */
static void resizes_under_32_vms(void **state)
{
	struct evict_report report = {0};
	struct fleet f = {0};
	struct cache_stats stats;
	unsigned int rounds = 0;
	struct cache *c;

	(void)state;
	start(&f);
	c = bench_cache(f.bench);
	read_all(&f);
	do {
		assert_int_equal(resize_cache(c, LIMIT / 2, NULL), 0);
		evict_coldest(c, 100, &report);
		assert_int_equal(resize_cache(c, LIMIT, NULL), 0);
		evict_all(c, &report);
		rounds++;
	} while (done(&f) < VMS);
	check_all(&f);
	cache_stats(c, &stats);
	print_message("%u rounds, %llu blocks evicted\n", rounds,
		      (unsigned long long)report.blocks);
	assert_int_equal(stats.pinned, 0);
	assert_int_equal(stats.stragglers, 0);
	assert_true(stats.bytes <= LIMIT);
	assert_true(report.blocks > 0);
	end(&f);
}

/* PITFALLS 28: as little as there can be, and it goes on. */
static void the_least_serves_32_vms(void **state)
{
	struct fleet f = {0};
	struct cache_stats stats;

	(void)state;
	start(&f);
	assert_int_equal(resize_cache(bench_cache(f.bench), 0, NULL), 0);
	read_all(&f);
	check_all(&f);
	cache_stats(bench_cache(f.bench), &stats);
	assert_true(stats.bytes <= stats.limit);
	assert_true(stats.evictions > 0);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resizes_under_32_vms),
		cmocka_unit_test(the_least_serves_32_vms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
