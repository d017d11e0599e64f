#include "tests/unit/uffd/uffd_bench.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/store/publish/publish.h"
#include "fs/store/snapshot/snapshot.h"
#include "fs/store/store.h"
#include "tests/unit/store/scratch.h"

extern char **environ;

#define ENDS_MAX 256

struct ended {
	struct session *session;
	enum session_end end;
};

struct bench {
	char folder[SCRATCH_PATH_MAX];
	char sessions[SCRATCH_PATH_MAX + 16];
	struct store *store;
	struct cache *cache;
	struct pool *pool;
	uint8_t *image;

	struct lock lock;
	struct condition changed;
	struct ended ends[ENDS_MAX]; /* protected by lock */
	unsigned int ended;	     /* protected by lock */
};

static void on_ended(void *arg, struct session *s, enum session_end end)
{
	struct bench *b = arg;

	assert(access(session_socket_path(s), F_OK) < 0);
	LOCK_GUARD(&b->lock);
	assert(b->ended < ENDS_MAX);
	b->ends[b->ended++] = (struct ended){s, end};
	condition_wake_all(&b->changed);
}

struct bench *bench_new(const struct bench_options *options)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct cache_options cache = {.limit = options->cache ?: 16u << 20};
	struct pool_options pool = {
		.workers = options->workers ?: 2,
		.complete_age_ns = options->complete_age_ns,
		.complete_rate = options->complete_rate,
		.spin_ns = options->spin_ns,
		.processors = options->processors,
		.on_ended = on_ended,
		.arg = b,
	};

	lock_init(&b->lock, "bench");
	condition_init(&b->changed);
	scratch_make(b->folder);
	(void)snprintf(b->sessions, sizeof(b->sessions), "%s/sessions",
		       b->folder);
	assert_int_equal(mkdir(b->sessions, 0700), 0);
	assert_int_equal(
		store_init(scratch_file(b->folder, "store"),
			   &(struct store_init_options){.secret = NULL}),
		0);
	assert_int_equal(store_open(scratch_file(b->folder, "store"),
				    STORE_WRITE, &b->store),
			 0);
	assert_int_equal(cache_new(&cache, &b->cache), 0);
	pool.cache = b->cache;
	pool.source = store_source(b->store);
	assert_int_equal(pool_new(&pool, &b->pool), 0);
	return b;
}

void bench_free(struct bench *b)
{
	struct cache_stats stats;
	struct pool_stats pool;

	/* Where a test has failed, its message is worth more than order. */
	pool_stats(b->pool, &pool);
	assert_int_equal(pool.sessions, 0);
	pool_free(b->pool);
	cache_stats(b->cache, &stats);
	assert_int_equal(stats.pinned, 0);
	assert_int_equal(scratch_count(b->sessions), 0);
	cache_free(b->cache);
	store_unref(b->store);
	scratch_remove(b->folder);
	condition_release(&b->changed);
	lock_release(&b->lock);
	free(b->image);
	free(b);
}

bool bench_is_zero(uint64_t page)
{
	return page % 8 < 3 || (page >= 1024 && page / 64 % 2) || page >= 8192;
}

static void fill_page(uint64_t page, uint8_t *bytes)
{
	switch (page % 8) {
	case 3:
		scratch_page(3, bytes);
		break;
	case 4:
		memset(bytes, 0xff, 4096);
		break;
	case 5:
		bytes[4095] = 1;
		break;
	default:
		scratch_page(page + 1000, bytes);
		break;
	}
}

static void publish_file(struct bench *b, const char *name, const char *path,
			 const char *parent)
{
	struct publish_options o = PUBLISH_OPTIONS_INIT;
	struct publish_result result;
	int r;

	o.name = name;
	o.parent = parent;
	o.memory = (struct publish_file){.key = "memory", .path = path};
	r = publish(b->store, &o, &result);
	if (r < 0)
		fail_msg("publish: %s", err_text(r));
	assert_int_equal(unlink(path), 0);
}

static void write_page(int fd, const uint8_t *page, uint64_t offset,
		       uint64_t len)
{
	assert_int_equal(pwrite(fd, page, len, (off_t)offset), len);
}

void bench_publish(struct bench *b, const char *name, uint64_t size)
{
	char path[SCRATCH_PATH_MAX * 2];
	int fd;

	free(b->image);
	/* What is past the image's end reads as zero, also of a huge page. */
	b->image = calloc(1, size / (2u << 20) * (2u << 20) + (2u << 20));
	assert_non_null(b->image);
	(void)snprintf(path, sizeof(path), "%s/memory", b->folder);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	for (uint64_t at = 0; at < size; at += 4096) {
		uint64_t len = size - at < 4096 ? size - at : 4096;

		if (bench_is_zero(at / 4096))
			continue;
		fill_page(at / 4096, b->image + at);
		memset(b->image + at + len, 0, 4096 - len);
		write_page(fd, b->image + at, at, len);
	}
	close_quietly(fd);
	publish_file(b, name, path, NULL);
}

void bench_publish_one_page(struct bench *b, const char *name, uint64_t size,
			    uint64_t offset, uint8_t page[4096])
{
	char path[SCRATCH_PATH_MAX * 2];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/memory", b->folder);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	scratch_page(77, page);
	write_page(fd, page, offset, 4096);
	close_quietly(fd);
	publish_file(b, name, path, NULL);
}

void bench_publish_child(struct bench *b, const char *name, const char *parent,
			 uint64_t size, uint64_t page)
{
	char path[SCRATCH_PATH_MAX * 2];

	scratch_page(page + 5000, b->image + page * 4096);
	(void)snprintf(path, sizeof(path), "%s/memory", b->folder);
	scratch_write(path, b->image, size);
	publish_file(b, name, path, parent);
}

struct store *bench_store(struct bench *b)
{
	return b->store;
}

const uint8_t *bench_image(struct bench *b)
{
	return b->image;
}

struct pool *bench_pool(struct bench *b)
{
	return b->pool;
}

struct cache *bench_cache(struct bench *b)
{
	return b->cache;
}

const char *bench_folder(struct bench *b)
{
	return b->sessions;
}

struct session_options bench_session_options(struct bench *b, const char *id)
{
	struct session_options o = SESSION_OPTIONS_INIT;

	o.id = id;
	o.cache = b->cache;
	o.folder = b->sessions;
	o.uid = getuid();
	o.gid = getgid();
	return o;
}

int bench_try_session(struct bench *b, const char *snapshot,
		      struct session_options options,
		      struct session **ret_session)
{
	int r = snapshot_open(b->store, snapshot, &options.snapshot);

	assert_int_equal(r, 0);
	r = session_new(&options, ret_session);
	snapshot_unref(options.snapshot);
	return r;
}

struct session *bench_session(struct bench *b, const char *snapshot,
			      struct session_options options)
{
	struct session *s = NULL;
	int r = bench_try_session(b, snapshot, options, &s);

	if (r < 0)
		fail_msg("session: %s", err_text(r));
	assert_int_equal(pool_add(b->pool, s), 0);
	return s;
}

static enum session_end wait_end(struct bench *b, struct session *s)
{
	struct ended *e = NULL;
	enum session_end end;

	lock_take(&b->lock);
	while (!e) {
		for (unsigned int i = 0; i < b->ended; i++)
			if (b->ends[i].session == s)
				e = &b->ends[i];
		if (!e)
			condition_wait(&b->changed, &b->lock);
	}
	end = e->end;
	e->session = NULL;
	lock_drop(&b->lock);
	session_unref(s);
	return end;
}

void bench_expect_end(struct bench *b, struct session *s, enum session_end end)
{
	assert_int_equal(wait_end(b, s), end);
}

void bench_expect_any_end(struct bench *b, struct session *s)
{
	(void)wait_end(b, s);
}

void bench_close(struct bench *b, struct session *s)
{
	assert_int_equal(pool_close(b->pool, s, POOL_CLOSE_IDLE), 0);
	bench_expect_end(b, s, SESSION_END_CLOSED);
}

void bench_let_others_in(struct bench *b, struct session *s)
{
	assert_int_equal(chmod(b->folder, 0711), 0);
	assert_int_equal(chmod(b->sessions, 0711), 0);
	assert_int_equal(chmod(session_socket_path(s), 0666), 0);
}

/* Nothing tells of a status: looked at every millisecond. */
static void pause_a_moment(void)
{
	(void)poll(NULL, 0, 1);
}

void bench_wait_state(struct session *s, enum session_state state)
{
	struct session_status status;

	for (;;) {
		session_status(s, &status);
		if (status.state == state)
			return;
		pause_a_moment();
	}
}

void bench_wait_outstanding(struct session *s, uint64_t count)
{
	struct session_status status;

	for (;;) {
		session_status(s, &status);
		if (status.outstanding == count)
			return;
		pause_a_moment();
	}
}

void bench_wait_idle(struct session *s)
{
	bench_wait_outstanding(s, 0);
}

enum session_state bench_settles(struct session *s)
{
	struct session_status status;

	for (;;) {
		session_status(s, &status);
		/* Listening with no refusal yet: it was not even accepted. */
		if (status.state == SESSION_ENDED ||
		    (status.state == SESSION_LISTENING &&
		     status.counters[SESSION_COUNT_REFUSED]))
			return status.state;
		pause_a_moment();
	}
}

uint64_t bench_counter(struct session *s, enum session_counter counter)
{
	struct session_status status;

	session_status(s, &status);
	return status.counters[counter];
}

void bench_wait_counter(struct session *s, enum session_counter counter,
			uint64_t at_least)
{
	while (bench_counter(s, counter) < at_least)
		pause_a_moment();
}

void vmm_start(struct vmm *v)
{
	char *argv[] = {(char *)(uintptr_t)UFFD_CLIENT, NULL};
	posix_spawn_file_actions_t actions;
	int pair[2], file;

	*v = (struct vmm){0};
	file = memfd_create("shared", MFD_CLOEXEC);
	assert_int_equal(ftruncate(file, CLIENT_SHARED), 0);
	v->shared = mmap(NULL, CLIENT_SHARED, PROT_READ | PROT_WRITE,
			 MAP_SHARED, file, 0);
	assert_ptr_not_equal(v->shared, MAP_FAILED);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	/* First to high numbers: 3 and 4 may be in use on our side. */
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, pair[1], 1000);
	(void)posix_spawn_file_actions_adddup2(&actions, file, 1001);
	(void)posix_spawn_file_actions_adddup2(&actions, 1000, 3);
	(void)posix_spawn_file_actions_adddup2(&actions, 1001, 4);
	(void)posix_spawn_file_actions_addclosefrom_np(&actions, 5);
	assert_int_equal(posix_spawn(&v->pid, UFFD_CLIENT, &actions, NULL, argv,
				     environ),
			 0);
	(void)posix_spawn_file_actions_destroy(&actions);
	close_quietly(pair[1]);
	close_quietly(file);
	v->control = pair[0];
}

void vmm_say(struct vmm *v, enum client_op op, unsigned int region,
	     const uint64_t args[3])
{
	struct client_command c = {op, region, args[0], args[1], args[2]};

	assert_int_equal(send(v->control, &c, sizeof(c), MSG_NOSIGNAL),
			 sizeof(c));
}

int64_t vmm_reply(struct vmm *v)
{
	struct client_reply reply;

	if (recv(v->control, &reply, sizeof(reply), 0) != sizeof(reply))
		return -EPIPE;
	return reply.result;
}

int64_t vmm_do(struct vmm *v, enum client_op op, unsigned int region,
	       const uint64_t args[3])
{
	vmm_say(v, op, region, args);
	return vmm_reply(v);
}

void vmm_uffd(struct vmm *v, uint64_t features)
{
	assert_int_equal(VMM_DO(v, CLIENT_UFFD, 0, features), 0);
}

unsigned int vmm_region(struct vmm *v, uint64_t size, uint64_t offset,
			uint64_t page_size)
{
	unsigned int n = v->region_count++;
	int64_t base = VMM_DO(v, CLIENT_MAP, n, size, page_size);

	assert_true(base > 0);
	assert_int_equal(VMM_DO(v, CLIENT_REGISTER, n), 0);
	v->regions[n].base = (uint64_t)base;
	v->regions[n].size = size;
	v->regions[n].offset = offset;
	v->regions[n].page_size = page_size;
	return n;
}

size_t vmm_text(struct vmm *v, enum vmm_dialect dialect)
{
	FILE *f = fmemopen(v->shared, 65536, "w");
	long len;

	assert_non_null(f);
	(void)fputs(dialect == VMM_MAPPINGS ? "{\"mappings\": [" : "[", f);
	for (unsigned int i = 0; i < v->region_count; i++) {
		(void)fprintf(f,
			      "%s{\"base_host_virt_addr\": %" PRIu64
			      ", \"size\":%" PRIu64 ",\"offset\": %" PRIu64,
			      i ? "," : "", v->regions[i].base,
			      v->regions[i].size, v->regions[i].offset);
		if (dialect != VMM_1_1)
			(void)fprintf(f, ",\"page_size_kib\":%" PRIu64,
				      v->regions[i].page_size);
		if (dialect == VMM_1_12)
			(void)fprintf(f,
				      ",\"page_size\":%" PRIu64
				      ",\"later\":{\"a\":[\"}]\\\"\"]}",
				      v->regions[i].page_size);
		(void)fputs("}", f);
	}
	(void)fputs(dialect == VMM_MAPPINGS ? "]}" : "]", f);
	len = ftell(f);
	(void)fclose(f);
	return (size_t)len;
}

void vmm_connect(struct vmm *v, struct session *s)
{
	(void)snprintf((char *)v->shared + CLIENT_PATH, 256, "%s",
		       session_socket_path(s));
	assert_int_equal(VMM_DO(v, CLIENT_CONNECT, 0, 0), 0);
}

void vmm_shake_hands(struct vmm *v, struct session *s, enum vmm_dialect dialect)
{
	vmm_connect(v, s);
	assert_int_equal(VMM_DO(v, CLIENT_SEND, 0, vmm_text(v, dialect), 0,
				CLIENT_THE_UFFD),
			 0);
}

void vmm_restore(struct vmm *v, struct session *s, uint64_t size,
		 uint64_t page_size)
{
	vmm_start(v);
	vmm_uffd(v, UFFD_FEATURE_EVENT_REMOVE);
	(void)vmm_region(v, (size + page_size - 1) / page_size * page_size, 0,
			 page_size);
	vmm_shake_hands(v, s, VMM_1_12);
}

void vmm_compare(struct vmm *v, unsigned int region, const uint8_t *expected)
{
	uint64_t size = v->regions[region].size;

	assert_int_equal(VMM_DO(v, CLIENT_READ, region, 0, size), 0);
	for (uint64_t i = 0; i < size; i += 4096)
		if (memcmp(v->shared + i, expected + i, 4096) != 0)
			fail_msg("page %" PRIu64 " of region %u differs",
				 i / 4096, region);
}

int vmm_reap(struct vmm *v)
{
	int status;

	assert_int_equal(waitpid(v->pid, &status, 0), v->pid);
	close_quietly(v->control);
	(void)munmap(v->shared, CLIENT_SHARED);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void vmm_kill(struct vmm *v)
{
	(void)kill(v->pid, SIGKILL);
	assert_int_equal(vmm_reap(v), SIGKILL);
}

void vmm_exit(struct vmm *v)
{
	vmm_say(v, CLIENT_EXIT, 0, (const uint64_t[3]){0});
	assert_int_equal(vmm_reap(v), 0);
}

bool vmm_is_alive(struct vmm *v)
{
	siginfo_t info = {0};

	(void)waitid(P_PID, (id_t)v->pid, &info, WEXITED | WNOHANG | WNOWAIT);
	return info.si_pid == 0;
}

void vmm_wait_dead(struct vmm *v)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)v->pid, &info, WEXITED | WNOWAIT),
			 0);
}
