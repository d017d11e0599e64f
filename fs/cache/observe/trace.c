#include "fs/cache/observe/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/io/file.h"
#include "pager/trace.h"

#define BATCH	 8192u /* records in each of the two buffers */
#define PAUSE_NS UINT64_C(1000000000)

struct trace {
	int fd;	     /* the thread's */
	uint64_t at; /* likewise: where the file ends */
	uint64_t began_ns;
	uint64_t most; /* records */
	pthread_t thread;
	struct lock lock;
	struct condition changed;
	struct pager_trace_record *records; /* protected by lock, as below */
	struct pager_trace_record *spare;   /* the thread's while it writes */
	unsigned int count;
	uint64_t recorded, lost;
	int error;
	bool stopping;
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts); /* cannot fail */
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void trace_note(struct trace *t, uint32_t session, uint64_t block,
		enum cache_class class)
{
	const struct pager_trace_record record = {
		.at = now_ns(CLOCK_MONOTONIC) - t->began_ns,
		.block = block,
		.session = session,
		.class = (uint8_t) class,
	};

	LOCK_GUARD(&t->lock);
	if (t->stopping || t->error || t->count == BATCH ||
	    t->recorded == t->most) {
		t->lost++;
		return;
	}
	t->records[t->count++] = record;
	t->recorded++;
	if (t->count == BATCH / 2)
		condition_wake_all(&t->changed);
}

/* With the lock held, which is dropped meanwhile. */
static void write_batch(struct trace *t)
{
	struct pager_trace_record *batch = t->records;
	unsigned int count = t->count;
	int r;

	t->records = t->spare;
	t->count = 0;
	lock_drop(&t->lock);
	r = file_pwrite(t->fd, batch, count * sizeof(*batch), t->at,
			INJECT_TRACE_WRITE);
	t->at += count * sizeof(*batch);
	lock_take(&t->lock);
	t->spare = batch;
	if (r < 0 && !t->error)
		t->error = r;
}

static void *work(void *arg)
{
	struct trace *t = arg;

	LOCK_GUARD(&t->lock);
	while (!t->stopping || t->count) {
		bool due = t->stopping || t->count >= BATCH / 2 ||
			   !condition_wait_until(&t->changed, &t->lock,
						 now_ns(CLOCK_MONOTONIC) +
							 PAUSE_NS);

		if (due && t->count)
			write_batch(t);
	}
	return NULL;
}

static int begin_file(struct trace *t, const char *path)
{
	struct pager_trace_header header = {
		.version = PAGER_TRACE_VERSION,
		.record_size = sizeof(struct pager_trace_record),
		.began = now_ns(CLOCK_REALTIME),
	};
	int r;

	memcpy(header.magic, PAGER_TRACE_MAGIC, sizeof(header.magic));
	t->fd = open(path,
		     O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		     0600);
	if (t->fd < 0)
		return err_set(-errno, "%s: %m", path);
	r = file_pwrite(t->fd, &header, sizeof(header), 0, INJECT_TRACE_WRITE);
	t->at = sizeof(header);
	return r < 0 ? err_wrap(r, "%s", path) : 0;
}

static void release(struct trace *t)
{
	close_quietly(t->fd);
	free(t->records);
	free(t->spare);
	condition_release(&t->changed);
	lock_release(&t->lock);
	free(t);
}

static int begin(struct trace *t, const char *path)
{
	int r;

	t->records = calloc(BATCH, sizeof(*t->records));
	t->spare = calloc(BATCH, sizeof(*t->spare));
	if (!t->records || !t->spare)
		return err_set(-ENOMEM, "trace: out of memory");
	r = begin_file(t, path);
	if (r < 0)
		return r;
	r = pthread_create(&t->thread, NULL, work, t);
	return r ? err_set(-r, "cannot start the trace's thread") : 0;
}

int trace_open(const char *path, uint64_t most, struct trace **ret_trace)
{
	struct trace *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(-ENOMEM, "trace: out of memory");
	t->fd = -1;
	t->most = (most - sizeof(struct pager_trace_header)) /
		  sizeof(struct pager_trace_record);
	t->began_ns = now_ns(CLOCK_MONOTONIC);
	lock_init(&t->lock, "trace");
	condition_init(&t->changed);
	r = begin(t, path);
	if (r < 0) {
		release(t);
		return r;
	}
	*ret_trace = t;
	return 0;
}

void trace_finish(struct trace *t)
{
	lock_take(&t->lock);
	if (t->stopping) {
		lock_drop(&t->lock);
		return;
	}
	t->stopping = true;
	condition_wake_all(&t->changed);
	lock_drop(&t->lock);
	if (pthread_join(t->thread, NULL))
		abort(); /* it is ours, and joined once */
}

void trace_close(struct trace *t)
{
	if (!t)
		return;
	trace_finish(t);
	release(t);
}

void trace_stats(struct trace *t, struct trace_stats *ret_stats)
{
	LOCK_GUARD(&t->lock);
	*ret_stats = (struct trace_stats){
		.recorded = t->recorded,
		.lost = t->lost,
		.error = t->error,
	};
}

size_t trace_bytes(void)
{
	return 2 * BATCH * sizeof(struct pager_trace_record);
}
