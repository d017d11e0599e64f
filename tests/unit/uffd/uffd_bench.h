/*
 * What tests of sessions stand on: a store with published images, a cache, a
 * pool of workers, and VMMs, which are processes of uffd_client.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/userfaultfd.h>
#include <sys/types.h>

#include "pagerd/uffd/pool.h"
#include "tests/unit/uffd/uffd_client.h"

struct bench;

struct bench_options {
	unsigned int workers;			 /* 0: 2 */
	size_t cache;				 /* 0: 16 MiB */
	uint64_t complete_age_ns, complete_rate; /* 0: never; no limit */
	uint64_t spin_ns;			 /* 0: never */
	unsigned int processors;		 /* 0: those there are */
};

struct bench *bench_new(const struct bench_options *options);

/* Every session must have ended, every VMM been reaped. */
void bench_free(struct bench *b);

/*
 * An image of that many bytes, published as `name`. Of eight pages three are
 * zero, one repeats all over the image, one is all 0xFF, one differs from zero
 * in its last byte only, two are like no other; from page 1024 on every other
 * run of 64 is zero, from 8192 on all are.
 */
void bench_publish(struct bench *b, const char *name, uint64_t size);
const uint8_t *bench_image(struct bench *b); /* the last one published */
bool bench_is_zero(uint64_t page);

/* One of any size that is zero but for one page, which is told. */
void bench_publish_one_page(struct bench *b, const char *name, uint64_t size,
			    uint64_t offset, uint8_t page[4096]);

/*
 * The last image with one page changed, published with a parent; bench_image()
 * is the changed one from there on.
 */
void bench_publish_child(struct bench *b, const char *name, const char *parent,
			 uint64_t size, uint64_t page);

struct store *bench_store(struct bench *b);
struct pool *bench_pool(struct bench *b);
struct cache *bench_cache(struct bench *b);
const char *bench_folder(struct bench *b); /* RUNTIME/sessions */

/* Defaults for a session of a snapshot; fields may be changed after. */
struct session_options bench_session_options(struct bench *b, const char *id);

/* What session_new() says; `options.snapshot` is filled in. */
int bench_try_session(struct bench *b, const char *snapshot,
		      struct session_options options,
		      struct session **ret_session);

/* Makes one of the snapshot and adds it to the pool. */
struct session *bench_session(struct bench *b, const char *snapshot,
			      struct session_options options);

/* Block until it is so; a test that waits in vain is ended by ctest. */
void bench_wait_state(struct session *s, enum session_state state);
void bench_wait_counter(struct session *s, enum session_counter counter,
			uint64_t at_least);
/* A guest runs on a little before its fault is off the books. */
void bench_wait_outstanding(struct session *s, uint64_t count);
void bench_wait_idle(struct session *s); /* none outstanding */

/* A VMM is dead: listening again, or ended. */
enum session_state bench_settles(struct session *s);
uint64_t bench_counter(struct session *s, enum session_counter counter);

/* Closes one without a VM, and drops the caller's reference. */
void bench_close(struct bench *b, struct session *s);

/* Any user may open the session's socket. */
void bench_let_others_in(struct bench *b, struct session *s);

/* Waits for a session to end in that way, and drops the reference. */
void bench_expect_end(struct bench *b, struct session *s, enum session_end end);
void bench_expect_any_end(struct bench *b, struct session *s);

/* A VMM: a process, its memory and what it says. */
struct vmm {
	pid_t pid;
	int control;
	uint8_t *shared;
	struct {
		uint64_t base, size, offset, page_size;
	} regions[CLIENT_REGIONS];
	unsigned int region_count;
};

void vmm_start(struct vmm *v);

/* Says a command, without waiting for the reply; and takes the reply. */
void vmm_say(struct vmm *v, enum client_op op, unsigned int region,
	     const uint64_t args[3]);
int64_t vmm_reply(struct vmm *v);

/* Both. */
int64_t vmm_do(struct vmm *v, enum client_op op, unsigned int region,
	       const uint64_t args[3]);
#define VMM_DO(v, op, region, ...) \
	vmm_do(v, op, region, (const uint64_t[3]){__VA_ARGS__})

/* A userfaultfd with EVENT_REMOVE, as Firecracker makes it. */
void vmm_uffd(struct vmm *v, uint64_t features);

/* Maps and registers one more region; returns its number. */
unsigned int vmm_region(struct vmm *v, uint64_t size, uint64_t offset,
			uint64_t page_size);

enum vmm_dialect { VMM_1_1, VMM_1_7, VMM_1_12, VMM_MAPPINGS };

/* The handshake's text into the shared file; its length. */
size_t vmm_text(struct vmm *v, enum vmm_dialect dialect);
void vmm_connect(struct vmm *v, struct session *s);

/* Text, userfaultfd and all, in one message. */
void vmm_shake_hands(struct vmm *v, struct session *s,
		     enum vmm_dialect dialect);

/* A VMM with one region that is the whole image, connected and served. */
void vmm_restore(struct vmm *v, struct session *s, uint64_t size,
		 uint64_t page_size);

/* Reads all of a region and compares it with `expected`. */
void vmm_compare(struct vmm *v, unsigned int region, const uint8_t *expected);

void vmm_kill(struct vmm *v); /* SIGKILL and reap */
void vmm_exit(struct vmm *v); /* by itself, and reap */
/* Reaps one that somebody else killed; the signal. */
int vmm_reap(struct vmm *v);
bool vmm_is_alive(struct vmm *v);

/* Waits for its death, and leaves the reaping to one of the others. */
void vmm_wait_dead(struct vmm *v);
