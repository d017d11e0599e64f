#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/cache/fetch.h"
#include "fs/cache/fetch_read.h"
#include "fs/io/inject.h"
#include "tests/unit/cache/memory_source.h"
#include "pager/block.h"

#define BLOCKS 2048

/* What every test stands on, made anew for each. */
struct bench {
	struct memory_source *memory;
	const struct block_source *source;
	struct cache *cache;
	struct fetch_loader *loader;
	struct fetcher *fetcher;
};

/* A fetch, and what its done() saw. */
struct request {
	struct fetch f;
	unsigned int dones;
	int error;
	char text[ERR_TEXT_MAX];
	bool right; /* the block's own bytes and kind */
};

static int setup_bench(void **state)
{
	struct cache_options options = {.limit = 4u << 20};
	struct bench *b = calloc(1, sizeof(*b));

	b->memory = memory_source_new(BLOCKS);
	b->source = memory_source_ops(b->memory);
	assert_int_equal(cache_new(&options, &b->cache), 0);
	assert_int_equal(fetch_loader_new(b->source, &b->loader), 0);
	assert_int_equal(
		fetcher_new(b->cache, b->source, b->loader, &b->fetcher), 0);
	*state = b;
	return 0;
}

/* Every test ends with nothing under way, pinned or located. */
static int teardown_bench(void **state)
{
	struct bench *b = *state;
	struct cache_stats stats;

	assert_int_equal(fetcher_pending(b->fetcher), 0);
	assert_int_equal(memory_source_places(b->memory), 0);
	cache_stats(b->cache, &stats);
	assert_int_equal(stats.pinned, 0);
	fetcher_free(b->fetcher);
	fetch_loader_free(b->loader);
	cache_free(b->cache);
	memory_source_free(b->memory);
	free(b);
	return 0;
}

static struct cache_stats stats_of(struct bench *b)
{
	struct cache_stats stats;

	cache_stats(b->cache, &stats);
	return stats;
}

static bool is_right(const struct cache_ref *ref, uint64_t block)
{
	return ref->block == block && ref->kind == memory_source_kind(block) &&
	       memory_source_is_content(block, ref->data);
}

static void note_done(struct fetch *f, int error)
{
	struct request *r = (struct request *)(void *)f;

	r->dones++;
	r->error = error;
	if (error) {
		err_copy(error, r->text);
		return;
	}
	r->right = is_right(&f->ref, f->block);
	cache_unpin(&f->ref);
}

/* Starts it; a hit is noted as if done() had been called. */
static void start(struct fetcher *fetcher, struct request *r, uint64_t block,
		  enum cache_class class)
{
	int result;

	*r = (struct request){
		.f = {.block = block, .class = class, .done = note_done},
	};
	result = fetch_start(fetcher, &r->f);
	if (result == 0)
		note_done(&r->f, 0);
	else
		assert_int_equal(result, -EINPROGRESS);
}

/* Waits as a worker does: for the fd, or until the deadline. */
static void run_once(struct fetcher *f)
{
	struct pollfd p = {.fd = fetcher_fd(f), .events = POLLIN};
	uint64_t deadline = fetcher_deadline(f);
	struct timespec now, left, *timeout = NULL;

	fetcher_submit(f);
	if (deadline != UINT64_MAX) {
		uint64_t at;

		assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
		at = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
		deadline = deadline > at ? deadline - at : 0;
		left.tv_sec = (time_t)(deadline / 1000000000);
		left.tv_nsec = (long)(deadline % 1000000000);
		timeout = &left;
	}
	(void)ppoll(&p, 1, timeout, NULL);
	fetcher_run(f);
}

static void run_until_done(struct fetcher *f, const struct request *r)
{
	while (!r->dones)
		run_once(f);
	assert_int_equal(r->dones, 1);
}

static void run_until_idle(struct fetcher *f)
{
	while (fetcher_pending(f))
		run_once(f);
}

static void cold_then_hit(void **state)
{
	struct bench *b = *state;
	struct request r;

	start(b->fetcher, &r, memory_source_block(7), CACHE_FAULT);
	assert_int_equal(r.dones, 0);
	assert_int_equal(fetcher_pending(b->fetcher), 1);
	run_until_done(b->fetcher, &r);
	assert_int_equal(r.error, 0);
	assert_true(r.right);
	start(b->fetcher, &r, memory_source_block(7), CACHE_FAULT);
	assert_int_equal(r.dones, 1);
	assert_true(r.right);
	assert_int_equal(memory_source_decodes(b->memory), 1);
}

static void a_batch_is_read_once_each(void **state)
{
	struct bench *b = *state;
	struct request *r = calloc(1200, sizeof(*r));

	/* More than the ring holds, each block twice. */
	for (uint32_t i = 0; i < 1200; i++)
		start(b->fetcher, &r[i], memory_source_block(i / 2),
		      CACHE_FAULT);
	run_until_idle(b->fetcher);
	for (uint32_t i = 0; i < 1200; i++) {
		assert_int_equal(r[i].dones, 1);
		assert_true(r[i].right);
	}
	assert_int_equal(memory_source_decodes(b->memory), 600);
	free(r);
}

/* As a worker on another thread would, until all its requests are done. */
struct worker {
	struct bench *bench;
	struct request *requests;
	uint32_t count;
	uint32_t first; /* block */
	uint64_t seed;	/* not 0: random blocks in its place */
	pthread_t thread;
};

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(*seed >> 33);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct fetcher *f;

	if (fetcher_new(w->bench->cache, w->bench->source, w->bench->loader,
			&f) < 0)
		abort();
	for (uint32_t i = 0; i < w->count; i++) {
		uint32_t n = w->seed ? next_random(&w->seed) % BLOCKS
				     : w->first + i;

		start(f, &w->requests[i], memory_source_block(n),
		      i % CACHE_CLASS_COUNT);
		if (i % 100 == 99)
			fetcher_run(f);
	}
	run_until_idle(f);
	fetcher_free(f);
	return NULL;
}

static void start_worker(struct worker *w, struct bench *b, uint32_t count)
{
	w->bench = b;
	w->count = count;
	w->requests = calloc(count, sizeof(*w->requests));
	assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
}

/* All were answered once and rightly. */
static void finish_worker(struct worker *w)
{
	pthread_join(w->thread, NULL);
	for (uint32_t i = 0; i < w->count; i++) {
		assert_int_equal(w->requests[i].dones, 1);
		assert_int_equal(w->requests[i].error, 0);
		assert_true(w->requests[i].right);
	}
	free(w->requests);
}

static void two_fetchers_share_a_read(void **state)
{
	struct bench *b = *state;
	uint64_t block = memory_source_block(3);
	struct worker w = {.first = 3};
	struct request r;

	memory_source_fault(b->memory, block, MEMORY_STUCK, 1);
	start(b->fetcher, &r, block, CACHE_FAULT);
	fetcher_submit(b->fetcher);
	start_worker(&w, b, 1);
	while (stats_of(b).waits == 0)
		sched_yield();
	memory_source_let_go(b->memory, block);
	run_until_done(b->fetcher, &r);
	assert_true(r.right);
	finish_worker(&w);
	assert_int_equal(memory_source_decodes(b->memory), 1);
}

static void many_random_fetches(void **state)
{
	struct bench *b = *state;
	struct worker w[3];
	struct cache_stats stats;

	for (uint32_t i = 0; i < 3; i++) {
		w[i] = (struct worker){.seed = i + 1};
		start_worker(&w[i], b, 10000);
	}
	for (uint32_t i = 0; i < 3; i++)
		finish_worker(&w[i]);
	stats = stats_of(b);
	assert_int_equal(stats.misses, memory_source_decodes(b->memory));
	assert_int_equal(stats.misses, stats.inserts);
	assert_true(stats.evictions > 0);
}

static void faults_that_pass_are_tried_again(void **state)
{
	static const enum memory_fault faults[] = {
		MEMORY_UNREADABLE,
		MEMORY_FLIPPED,
		MEMORY_TRUNCATED,
		MEMORY_DAMAGED,
	};
	struct bench *b = *state;

	for (uint32_t i = 0; i < 4; i++) {
		struct request r;
		uint64_t block = memory_source_block(i);

		memory_source_fault(b->memory, block, faults[i], 2);
		start(b->fetcher, &r, block, CACHE_FAULT);
		run_until_done(b->fetcher, &r);
		assert_int_equal(r.error, 0);
		assert_true(r.right);
	}
	assert_int_equal(stats_of(b).failures, 0);
}

static void faults_that_stay_reach_all(void **state)
{
	static const struct {
		enum memory_fault fault;
		int error;
		const char *text;
	} cases[] = {
		{MEMORY_UNREADABLE, -EBADF, "block 1:0: Bad file descriptor"},
		{MEMORY_FLIPPED, -EBADMSG, "bytes of memory are wrong"},
		{MEMORY_TRUNCATED, -EBADMSG,
		 "block 1:2: the pack's file ends before it"},
		{MEMORY_DAMAGED, -EBADMSG, "damaged in memory"},
	};
	struct bench *b = *state;

	for (uint32_t i = 0; i < 4; i++) {
		struct request r[2];
		uint64_t block = memory_source_block(i);

		memory_source_fault(b->memory, block, cases[i].fault,
				    FETCH_TRIES);
		start(b->fetcher, &r[0], block, CACHE_FAULT);
		start(b->fetcher, &r[1], block, CACHE_MOUNT);
		run_until_idle(b->fetcher);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(r[k].dones, 1);
			assert_int_equal(r[k].error, cases[i].error);
			assert_string_equal(r[k].text, cases[i].text);
		}
		/* The tries are used up, and nothing bad was kept. */
		start(b->fetcher, &r[0], block, CACHE_FAULT);
		assert_int_equal(r[0].dones, 0);
		run_until_done(b->fetcher, &r[0]);
		assert_true(r[0].right);
	}
	assert_int_equal(stats_of(b).failures, 4);
}

static void an_absent_block_is_not_tried_again(void **state)
{
	struct bench *b = *state;
	uint64_t block = memory_source_block(9);
	struct request r;

	memory_source_fault(b->memory, block, MEMORY_ABSENT, 1);
	start(b->fetcher, &r, block, CACHE_FAULT);
	/* done() comes from fetcher_run(), which the fd asks for. */
	assert_int_equal(r.dones, 0);
	assert_int_equal(fetcher_deadline(b->fetcher), UINT64_MAX);
	run_until_done(b->fetcher, &r);
	assert_int_equal(r.error, -ENOENT);
	assert_string_equal(r.text, "no such block in memory");
	start(b->fetcher, &r, block, CACHE_FAULT);
	run_until_done(b->fetcher, &r);
	assert_true(r.right);
}

static void a_stuck_block_delays_no_other(void **state)
{
	struct bench *b = *state;
	uint64_t block = memory_source_block(0);
	struct request stuck, r[100];

	memory_source_fault(b->memory, block, MEMORY_STUCK, 1);
	start(b->fetcher, &stuck, block, CACHE_FAULT);
	for (uint32_t i = 0; i < 100; i++)
		start(b->fetcher, &r[i], memory_source_block(i + 1),
		      CACHE_FAULT);
	while (fetcher_pending(b->fetcher) > 1)
		run_once(b->fetcher);
	assert_int_equal(stuck.dones, 0);
	for (uint32_t i = 0; i < 100; i++)
		assert_true(r[i].right);
	memory_source_let_go(b->memory, block);
	run_until_done(b->fetcher, &stuck);
	assert_true(stuck.right);
}

static void tables_are_prepared_once_a_pack(void **state)
{
	struct bench *b = *state;
	struct request r[3 * MEMORY_PACK_SLOTS];

	memory_source_need_prepare(b->memory, 0);
	memory_source_shut_gate(b->memory);
	for (uint32_t i = 0; i < 3 * MEMORY_PACK_SLOTS; i++)
		start(b->fetcher, &r[i], memory_source_block(i), CACHE_FAULT);
	assert_int_equal(memory_source_places(b->memory), 0);
	memory_source_open_gate(b->memory);
	run_until_idle(b->fetcher);
	for (uint32_t i = 0; i < 3 * MEMORY_PACK_SLOTS; i++)
		assert_true(r[i].right);
	assert_int_equal(memory_source_prepares(b->memory), 3);
}

static void a_failed_prepare_is_tried_again(void **state)
{
	struct bench *b = *state;
	struct request r;

	memory_source_need_prepare(b->memory, -EIO);
	start(b->fetcher, &r, memory_source_block(0), CACHE_FAULT);
	run_until_done(b->fetcher, &r);
	assert_int_equal(r.error, -EIO);
	assert_string_equal(r.text, "memory cannot be prepared");
	assert_int_equal(memory_source_prepares(b->memory), FETCH_TRIES);
	memory_source_need_prepare(b->memory, 0);
	start(b->fetcher, &r, memory_source_block(0), CACHE_FAULT);
	run_until_done(b->fetcher, &r);
	assert_true(r.right);
}

/* PITFALLS 31: a prefetch beyond its share has not begun, so a fault overtakes
 * it. */
static void a_fault_overtakes_the_background(void **state)
{
	struct bench *b = *state;
	struct request *r = calloc(FETCH_BACKGROUND + 2, sizeof(*r)), fault;
	uint64_t last = memory_source_block(FETCH_BACKGROUND);

	memory_source_need_prepare(b->memory, 0);
	memory_source_shut_gate(b->memory);
	for (uint32_t i = 0; i <= FETCH_BACKGROUND; i++)
		start(b->fetcher, &r[i], memory_source_block(i),
		      CACHE_PREFETCH);
	assert_int_equal(stats_of(b).misses, FETCH_BACKGROUND);
	start(b->fetcher, &fault, last, CACHE_FAULT);
	assert_int_equal(stats_of(b).by_class[CACHE_FAULT].misses, 1);
	memory_source_open_gate(b->memory);
	run_until_idle(b->fetcher);
	assert_true(fault.right);
	for (uint32_t i = 0; i <= FETCH_BACKGROUND; i++)
		assert_true(r[i].right);
	assert_int_equal(stats_of(b).waits +
				 stats_of(b).by_class[CACHE_PREFETCH].hits,
			 1);
	free(r);
}

/* What a prefetch could not read, the fault that joined it reads itself. */
static void a_fault_outlives_the_read_it_joined(void **state)
{
	struct bench *b = *state;
	uint64_t block = memory_source_block(3);
	struct request ahead, fault;

	memory_source_fault(b->memory, block, MEMORY_UNREADABLE, FETCH_TRIES);
	start(b->fetcher, &ahead, block, CACHE_PREFETCH);
	start(b->fetcher, &fault, block, CACHE_FAULT);
	run_until_idle(b->fetcher);
	assert_int_equal(ahead.error, -EBADF);
	assert_int_equal(fault.error, 0);
	assert_true(fault.right);
	/* Where it stays, both are told. */
	block = memory_source_block(4);
	memory_source_fault(b->memory, block, MEMORY_UNREADABLE, UINT32_MAX);
	start(b->fetcher, &ahead, block, CACHE_PREFETCH);
	start(b->fetcher, &fault, block, CACHE_FAULT);
	run_until_idle(b->fetcher);
	assert_int_equal(ahead.error, -EBADF);
	assert_int_equal(fault.error, -EBADF);
	assert_int_equal(stats_of(b).failures, 3);
}

/* done() starts the next fetch, as a page-table leaf leads to its page. */
struct walk {
	struct request r; /* first: note_done() and this share it */
	struct bench *bench;
	uint32_t left, hits;
};

static void take_step(struct fetch *f, int error)
{
	struct walk *w = (struct walk *)(void *)f;

	assert_int_equal(error, 0);
	do {
		assert_true(is_right(&f->ref, f->block));
		cache_unpin(&f->ref);
		if (w->left-- == 0) {
			w->r.dones++;
			return;
		}
		f->block = memory_source_block(w->left % 500);
	} while (fetch_start(w->bench->fetcher, f) == 0);
}

static void done_starts_the_next(void **state)
{
	struct bench *b = *state;
	struct walk w = {.bench = b, .left = 1000};

	w.r.f = (struct fetch){
		.block = memory_source_block(600),
		.class = CACHE_NODE,
		.done = take_step,
	};
	assert_int_equal(fetch_start(b->fetcher, &w.r.f), -EINPROGRESS);
	run_until_idle(b->fetcher);
	assert_int_equal(w.r.dones, 1);
	assert_int_equal(memory_source_decodes(b->memory), 501);
}

/* The same with a failure at once, and the fetch that failed once more. */
static void start_again(struct fetch *f, int error)
{
	struct request *r = (struct request *)(void *)f;

	r->dones++;
	assert_int_equal(error, -ENOENT);
	if (r->dones < 5)
		assert_int_equal(fetch_start(f->fetcher, f), -EINPROGRESS);
}

static void done_starts_what_fails_at_once(void **state)
{
	struct bench *b = *state;
	struct request r = {.f = {.block = memory_source_block(1),
				  .class = CACHE_FAULT,
				  .done = start_again}};

	memory_source_fault(b->memory, r.f.block, MEMORY_ABSENT, 5);
	assert_int_equal(fetch_start(b->fetcher, &r.f), -EINPROGRESS);
	run_until_idle(b->fetcher);
	assert_int_equal(r.dones, 5);
}

/* Every slot is pinned: a fetch waits, and goes on after one unpin. */
static void a_fetch_waits_for_a_slot(void **state)
{
	struct bench *b = *state;
	uint32_t capacity = (uint32_t)stats_of(b).capacity, pinned = 0;
	struct cache_ref *pins = calloc(capacity, sizeof(*pins));
	struct request r;

	for (uint32_t n = 0; pinned < capacity; n++) {
		uint64_t block = memory_source_block(n);

		if (cache_get(b->cache, block, CACHE_FAULT, NULL,
			      &pins[pinned]) != CACHE_FILL)
			continue;
		memory_source_content(block, cache_fill_buffer(&pins[pinned]));
		cache_fill_done(&pins[pinned++], memory_source_kind(block));
	}
	start(b->fetcher, &r, memory_source_block(BLOCKS - 1), CACHE_FAULT);
	fetcher_run(b->fetcher);
	assert_int_equal(fetcher_pending(b->fetcher), 1);
	for (uint32_t i = 0; i < capacity; i++)
		cache_unpin(&pins[i]);
	run_until_done(b->fetcher, &r);
	assert_true(r.right);
	free(pins);
}

struct reader {
	struct bench *bench;
	uint64_t block;
	int result;
	char text[ERR_TEXT_MAX];
	bool right;
	pthread_t thread;
};

static void *read_blocking(void *arg)
{
	struct reader *r = arg;
	uint8_t page[PAGER_PAGE_SIZE], kind = 0xff;

	r->result = fetch_read(r->bench->cache, r->bench->source, r->block,
			       CACHE_MOUNT, page, &kind);
	if (r->result < 0)
		err_copy(r->result, r->text);
	else
		r->right = kind == memory_source_kind(r->block) &&
			   memory_source_is_content(r->block, page);
	return NULL;
}

#define READERS 64

/* Starts them all on one block whose read cannot end before the gate opens. */
static void start_readers(struct bench *b, struct reader *readers)
{
	memory_source_shut_gate(b->memory);
	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader){
			.bench = b,
			.block = memory_source_block(11),
		};
		assert_int_equal(pthread_create(&readers[i].thread, NULL,
						read_blocking, &readers[i]),
				 0);
	}
	while (stats_of(b).waits < READERS - 1)
		sched_yield();
	memory_source_open_gate(b->memory);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i].thread, NULL);
}

/* PITFALLS 58: one read, whoever asks. */
static void many_readers_cost_one_read(void **state)
{
	struct bench *b = *state;
	struct reader readers[READERS];

	memory_source_need_prepare(b->memory, 0);
	start_readers(b, readers);
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(readers[i].result, 0);
		assert_true(readers[i].right);
	}
	assert_int_equal(memory_source_decodes(b->memory), 1);
	assert_int_equal(stats_of(b).misses, 1);
}

/* PITFALLS 58: all are told, and the next one who asks reads anew. */
static void a_failed_read_wakes_all_readers(void **state)
{
	struct bench *b = *state;
	struct reader readers[READERS];

	memory_source_need_prepare(b->memory, -EIO);
	start_readers(b, readers);
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(readers[i].result, -EIO);
		assert_string_equal(readers[i].text, readers[0].text);
	}
	assert_non_null(strstr(readers[0].text, "memory cannot be prepared"));
	assert_int_equal(stats_of(b).failures, 1);
	assert_int_equal(stats_of(b).blocks, 0);
	memory_source_need_prepare(b->memory, 0);
	read_blocking(&readers[0]);
	assert_true(readers[0].right);
}

static void reads_and_fetches_join(void **state)
{
	struct bench *b = *state;
	struct reader reader = {.bench = b, .block = memory_source_block(4)};
	struct request r;

	memory_source_fault(b->memory, reader.block, MEMORY_STUCK, 1);
	start(b->fetcher, &r, reader.block, CACHE_FAULT);
	fetcher_submit(b->fetcher);
	assert_int_equal(
		pthread_create(&reader.thread, NULL, read_blocking, &reader),
		0);
	while (stats_of(b).waits == 0)
		sched_yield();
	memory_source_let_go(b->memory, reader.block);
	run_until_done(b->fetcher, &r);
	pthread_join(reader.thread, NULL);
	assert_true(reader.right);
	assert_int_equal(memory_source_decodes(b->memory), 1);
}

static void fetchers_tell_what_they_use(void **state)
{
	(void)state;
	assert_true(fetcher_bytes() >= FETCH_DEPTH * PAGER_PAGE_SIZE);
	assert_true(fetcher_bytes() < 2 * FETCH_DEPTH * PAGER_PAGE_SIZE);
}

#ifdef PAGER_INJECT

static void injected_faults_are_met(void **state)
{
	static const char *const specs[] = {
		"pack-read:EIO@1,pack-read:EIO@2",
		"pack-read:EAGAIN",
		"pack-read:flip",
		"pack-read:short,pack-read:short@2",
		"pack-read:slow=20",
	};
	struct bench *b = *state;

	for (uint32_t i = 0; i < 5; i++) {
		struct request r;

		assert_int_equal(inject_configure(specs[i]), 0);
		start(b->fetcher, &r, memory_source_block(i), CACHE_FAULT);
		run_until_done(b->fetcher, &r);
		assert_int_equal(r.error, 0);
		assert_true(r.right);
	}
	assert_int_equal(inject_configure(NULL), 0);
	/* The flip cost one decode more; a failed read costs none. */
	assert_int_equal(memory_source_decodes(b->memory), 6);
}

static void an_injected_error_that_stays_is_final(void **state)
{
	struct bench *b = *state;
	struct request r;

	assert_int_equal(inject_configure("pack-read:EAGAIN+"), 0);
	start(b->fetcher, &r, memory_source_block(0), CACHE_FAULT);
	run_until_done(b->fetcher, &r);
	assert_int_equal(r.error, -EIO); /* -EAGAIN would mean "ask again" */
	assert_int_equal(inject_configure(NULL), 0);
	assert_int_equal(memory_source_decodes(b->memory), 0);
}

/* All that may ask have failed before a read: the others' turn has come. */
static void failures_leave_nobody_held(void **state)
{
	struct bench *b = *state;
	struct request *r = calloc(3 * FETCH_BACKGROUND, sizeof(*r));

	assert_int_equal(inject_configure("pack-read:EIO+"), 0);
	for (uint32_t i = 0; i < 3 * FETCH_BACKGROUND; i++)
		start(b->fetcher, &r[i], memory_source_block(i),
		      CACHE_PREFETCH);
	run_until_idle(b->fetcher);
	for (uint32_t i = 0; i < 3 * FETCH_BACKGROUND; i++) {
		assert_int_equal(r[i].dones, 1);
		assert_int_equal(r[i].error, -EIO);
	}
	assert_int_equal(inject_configure(NULL), 0);
	free(r);
}

/* A slow disk stalls who needs that block: the other ends while it waits. */
static void an_injected_delay_stalls_one_block(void **state)
{
	struct bench *b = *state;
	struct request slow, quick;

	assert_int_equal(inject_configure("pack-read:slow=60000"), 0);
	start(b->fetcher, &slow, memory_source_block(0), CACHE_FAULT);
	start(b->fetcher, &quick, memory_source_block(1), CACHE_FAULT);
	run_until_done(b->fetcher, &quick);
	assert_true(quick.right);
	assert_int_equal(slow.dones, 0);
	assert_int_equal(slow.f.state, FETCH_DELAYED);
	assert_int_equal(inject_configure(NULL), 0);
	/* As if the minute was over. */
	slow.f.retry_at = 0;
	run_until_done(b->fetcher, &slow);
	assert_true(slow.right);
}

#endif

#define FETCH_TEST(f) \
	cmocka_unit_test_setup_teardown(f, setup_bench, teardown_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FETCH_TEST(cold_then_hit),
		FETCH_TEST(a_batch_is_read_once_each),
		FETCH_TEST(two_fetchers_share_a_read),
		FETCH_TEST(many_random_fetches),
		FETCH_TEST(faults_that_pass_are_tried_again),
		FETCH_TEST(faults_that_stay_reach_all),
		FETCH_TEST(an_absent_block_is_not_tried_again),
		FETCH_TEST(a_stuck_block_delays_no_other),
		FETCH_TEST(tables_are_prepared_once_a_pack),
		FETCH_TEST(a_failed_prepare_is_tried_again),
		FETCH_TEST(a_fault_overtakes_the_background),
		FETCH_TEST(a_fault_outlives_the_read_it_joined),
		FETCH_TEST(done_starts_the_next),
		FETCH_TEST(done_starts_what_fails_at_once),
		FETCH_TEST(a_fetch_waits_for_a_slot),
		FETCH_TEST(many_readers_cost_one_read),
		FETCH_TEST(a_failed_read_wakes_all_readers),
		FETCH_TEST(reads_and_fetches_join),
		cmocka_unit_test(fetchers_tell_what_they_use),
#ifdef PAGER_INJECT
		FETCH_TEST(injected_faults_are_met),
		FETCH_TEST(an_injected_error_that_stays_is_final),
		FETCH_TEST(failures_leave_nobody_held),
		FETCH_TEST(an_injected_delay_stalls_one_block),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
