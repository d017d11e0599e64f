/*
 * A fetch is a small state machine (enum fetch_state) that its fetcher's
 * thread alone moves:
 *
 *   start -> [held] -> ask the cache -> hit: finished
 *                                    -> wait: waiting -> finished, or asks anew
 *                                    -> fill: a try
 *   a try: locate [-> loading -> locate] -> queued -> reading -> finished
 *   a try that fails -> paused -> the next try
 *   the last that fails -> loading (rescue) -> a try, or finished with the
 * error
 *
 * An urgent fetch that waited for somebody else's read takes its failure as a
 * try of its own and, after the pause, asks anew: the other may have been less
 * patient, or at the end of its patience already.
 *
 * Two other threads touch a fetch: a filler, by the waiter's wake(), and a
 * loader, by loaded(). Both only note the result and put the fetch into the
 * mailbox; each happens in one state (waiting, loading), in which the owner
 * keeps its hands off. Hence the state tells the owner what a letter means.
 *
 * done() is called from one place, at the end of fetcher_run(), so that a
 * done() that starts the next fetch finds no half-finished work and needs no
 * stack: what cannot be answered at once only joins a list. Whenever that
 * happens outside fetcher_run() the eventfd is written, so the owner may ask
 * for the deadline whenever it likes.
 *
 * What bounds memory: read buffers are FETCH_DEPTH pages, taken when a read
 * is submitted and not before. So many reads are under way at most, which is
 * why the rings can never run full.
 */
#include "fs/cache/fetch.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/cache/fetch_read.h"
#include "fs/cache/policy/class.h"
#include "fs/io/inject.h"
#include "pager/block.h"

#define FETCHER_MAGIC UINT32_C(0x46544348)

/* What one try may ask the loader for; tables can be dropped meanwhile. */
#define PREPARES_MAX 4

#define MS	     UINT64_C(1000000)
#define SUBMIT_PAUSE MS

/* Before the second, third and fourth try. */
static const uint64_t pauses[] = {1 * MS, 10 * MS, 100 * MS};
_Static_assert(sizeof(pauses) / sizeof(pauses[0]) == FETCH_TRIES - 1, "tries");

struct fetcher {
	uint32_t magic;
	struct cache *cache;
	const struct block_source *source;
	struct fetch_loader *loader;
	int event; /* completions, letters, and what else is due at once */
	struct io_uring ring;
	uint8_t *buffers; /* FETCH_DEPTH pages */
	uint8_t *spare[FETCH_DEPTH];
	unsigned int spares;
	unsigned int pending, background;
	uint64_t submit_at; /* the kernel had no memory: try then */
	bool running;	    /* in fetcher_run() */

	struct list_node held, queued, paused, finished; /* fetches */

	struct lock mail_lock;
	struct list_node mail; /* fetches; protected by mail_lock */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail */
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static struct fetch *fetch_of(struct list_node *n)
{
	return container_of(n, struct fetch, node);
}

/* Makes fetcher_fd() readable. A full counter is readable already. */
static void kick(struct fetcher *f)
{
	(void)eventfd_write(f->event, 1);
}

/*
 * Work came up that the owner, being outside fetcher_run(), may not hear of:
 * it may have asked for the deadline already.
 */
static void kick_outside(struct fetcher *f)
{
	if (!f->running)
		kick(f);
}

static bool is_background(const struct fetch *ft)
{
	return !class_rule(ft->class)->urgent;
}

/* done() is due. err_text(error) is kept for it. */
static void finish(struct fetch *ft, int error)
{
	struct fetcher *f = ft->fetcher;

	assert(!ft->located && !ft->stored);
	if (error)
		ft->error_text = strdup(err_text(error));
	ft->error = error;
	ft->state = FETCH_FINISHED;
	if (ft->filling && is_background(ft))
		f->background--;
	ft->filling = false;
	list_append(&f->finished, &ft->node);
	kick_outside(f);
}

/* Gives back what a try took, whether it went well or not. */
static void end_try(struct fetch *ft)
{
	struct fetcher *f = ft->fetcher;

	if (ft->located)
		f->source->ops->release(f->source->ctx, &ft->place);
	if (ft->stored)
		f->spare[f->spares++] = ft->stored;
	ft->located = false;
	ft->stored = NULL;
}

/* Keeps the list in the order of time; pauses are few and mostly grow. */
static void pause_until(struct fetch *ft, enum fetch_state state, uint64_t at)
{
	struct list_node *after = ft->fetcher->paused.prev;

	while (after != &ft->fetcher->paused && fetch_of(after)->retry_at > at)
		after = after->prev;
	ft->state = state;
	ft->retry_at = at;
	list_insert(after, &ft->node);
	kick_outside(ft->fetcher);
}

/* True where there is another try, after a pause. */
static bool tries_again(struct fetch *ft, int error)
{
	ft->tries++;
	if (error == -ENOENT || ft->tries >= FETCH_TRIES)
		return false;
	pause_until(ft, FETCH_PAUSED, now_ns() + pauses[ft->tries - 1]);
	return true;
}

static void fail_fill(struct fetch *ft, int error)
{
	error = fetch_result(error, ft->block);
	cache_fill_failed(&ft->ref, error);
	finish(ft, error);
}

/* With one more try, of another copy, where the source may have one. */
static void give_up(struct fetch *ft, int error)
{
	const struct block_source *source = ft->fetcher->source;

	block_source_verdict(source, ft->block, ft->awaited, error);
	if (ft->rescued || !source->ops->rescue) {
		fail_fill(ft, error);
		return;
	}
	ft->rescued = true;
	ft->load.rescue = true;
	ft->state = FETCH_LOADING;
	fetch_loader_add(ft->fetcher->loader, &ft->load);
}

static void fail_try(struct fetch *ft, int error)
{
	end_try(ft);
	if (!tries_again(ft, error))
		give_up(ft, error);
}

static int read_error(const struct fetch *ft, int error, const char *why)
{
	return err_set(error, "block %llu:%u: %s",
		       (unsigned long long)pager_block_pack(ft->block),
		       pager_block_slot(ft->block), why);
}

static void locate(struct fetch *ft)
{
	struct fetcher *f = ft->fetcher;
	int r = f->source->ops->locate(f->source->ctx, ft->block, &ft->place);

	if (r == 0) {
		assert(ft->place.length >= 1 &&
		       ft->place.length <= PAGER_PAGE_SIZE);
		ft->located = true;
		ft->state = FETCH_QUEUED;
		list_append(&f->queued, &ft->node);
	} else if (r != -EAGAIN) {
		fail_try(ft, r);
	} else if (ft->prepares == PREPARES_MAX) {
		fail_try(ft, read_error(ft, -EBUSY,
					"its pack's tables do not stay"));
	} else {
		ft->prepares++;
		ft->state = FETCH_LOADING;
		fetch_loader_add(f->loader, &ft->load);
	}
}

static void begin_try(struct fetch *ft)
{
	ft->prepares = 0;
	ft->got = 0;
	locate(ft);
}

/* What could not be read just now is not tried, or only once. */
static void begin_fill(struct fetch *ft)
{
	int r = block_source_suspect(ft->fetcher->source, ft->block,
				     ft->awaited);

	ft->suspect = r > 0;
	if (r == BLOCK_TRY_ONCE)
		ft->tries = FETCH_TRIES - 1;
	if (r < 0)
		fail_fill(ft, r);
	else
		begin_try(ft);
}

/*
 * True on a hit: ref is pinned. Else the fetch is on its way. Once the cache
 * said CACHE_WAIT the fetch may already be in the mailbox.
 */
static bool ask(struct fetch *ft)
{
	struct fetcher *f = ft->fetcher;

	if (is_background(ft) && f->background >= FETCH_BACKGROUND) {
		ft->state = FETCH_HELD;
		list_append(&f->held, &ft->node);
		return false;
	}
	ft->state = FETCH_WAITING;
	switch (cache_get(f->cache, ft->block, ft->class, &ft->waiter,
			  &ft->ref)) {
	case CACHE_HIT:
		return true;
	case CACHE_FILL:
		ft->filling = true;
		f->background += is_background(ft);
		begin_fill(ft);
		return false;
	default:
		return false;
	}
}

static void ask_again(struct fetch *ft)
{
	if (ask(ft))
		finish(ft, 0);
}

static void submit_read(struct fetch *ft, size_t length)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ft->fetcher->ring);

	assert(sqe); /* there are as many as buffers */
	io_uring_prep_read(sqe, ft->place.fd, ft->stored + ft->got,
			   (unsigned int)length, ft->place.offset + ft->got);
	io_uring_sqe_set_data(sqe, ft);
	ft->state = FETCH_READING;
}

/* Reads what is missing of the stored bytes. */
static void read_rest(struct fetch *ft)
{
	size_t length = ft->place.length - ft->got;
	unsigned int delay_ms = 0;
	int r = inject_pass_async(INJECT_PACK_READ, &length, &delay_ms);

	if (r < 0)
		fail_try(ft, read_error(ft, r, strerror(-r)));
	else if (delay_ms)
		pause_until(ft, FETCH_DELAYED, now_ns() + delay_ms * MS);
	else
		submit_read(ft, length);
}

static void decode(struct fetch *ft)
{
	const struct block_source *source = ft->fetcher->source;
	uint8_t kind = ft->place.slot.kind;
	int r;

	inject_flip(INJECT_PACK_READ, ft->stored, ft->place.length);
	r = source->ops->decode(source->ctx, &ft->place, ft->stored,
				cache_fill_buffer(&ft->ref));
	if (r < 0) {
		fail_try(ft, r);
		return;
	}
	end_try(ft);
	if (ft->suspect || ft->rescued)
		block_source_verdict(source, ft->block, ft->awaited, 0);
	cache_fill_done(&ft->ref, kind);
	finish(ft, 0);
}

static void read_completed(struct fetch *ft, int result)
{
	if (result < 0) {
		fail_try(ft, read_error(ft, result, strerror(-result)));
	} else if (result == 0) {
		fail_try(ft, read_error(ft, -EBADMSG,
					"the pack's file ends before it"));
	} else {
		ft->got += (uint32_t)result;
		assert(ft->got <= ft->place.length);
		if (ft->got < ft->place.length)
			read_rest(ft);
		else
			decode(ft);
	}
}

/* From another thread, in place of the owner's: the fetch changes hands. */
static void post(struct fetch *ft, int error)
{
	struct fetcher *f = ft->fetcher;
	bool first;

	ft->error = error;
	ft->error_text = error && error != -EAGAIN ? strdup(err_text(error))
						   : NULL;
	/* With the lock held: after it the fetcher may be gone. */
	LOCK_GUARD(&f->mail_lock);
	first = list_empty(&f->mail);
	list_append(&f->mail, &ft->node);
	if (first)
		kick(f);
}

static void on_wake(struct cache_waiter *w, int error)
{
	post(container_of(w, struct fetch, waiter), error);
}

static void on_loaded(struct fetch_load *load, int error)
{
	post(container_of(load, struct fetch, load), error);
}

/* Makes the error that came with the letter this thread's last one. */
static int error_of(struct fetch *ft)
{
	int error = ft->error;

	if (ft->error_text)
		(void)err_restore(error, ft->error_text);
	free(steal_ptr(ft->error_text));
	return error;
}

static void go_on_loaded(struct fetch *ft, int error)
{
	bool rescue = ft->load.rescue;

	ft->load.rescue = false;
	if (error && rescue)
		fail_fill(ft, error);
	else if (error)
		fail_try(ft, error);
	else if (rescue)
		begin_try(ft);
	else
		locate(ft);
}

static void open_letter(struct fetch *ft)
{
	int error = error_of(ft);

	if (ft->state == FETCH_LOADING) {
		go_on_loaded(ft, error);
		return;
	}
	assert(ft->state == FETCH_WAITING);
	if (error == -EAGAIN) {
		ask_again(ft);
		return;
	}
	if (error == 0)
		ft->ref = ft->waiter.ref;
	else if (!is_background(ft) && tries_again(ft, error))
		return;
	finish(ft, error);
}

static void take_mail(struct fetcher *f)
{
	struct list_node mail = LIST_INIT(mail), *n;

	lock_take(&f->mail_lock);
	list_splice(&mail, &f->mail);
	lock_drop(&f->mail_lock);
	while ((n = list_pop(&mail)))
		open_letter(fetch_of(n));
}

static void take_completions(struct fetcher *f)
{
	struct io_uring_cqe *cqe;

	for (int i = 0; i < FETCH_TAKEN; i++) {
		if (io_uring_peek_cqe(&f->ring, &cqe) != 0)
			return;
		struct fetch *ft = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&f->ring, cqe);
		read_completed(ft, result);
	}
	/* The ring has told of these once and does not again. */
	kick(f);
}

static void resume_paused(struct fetcher *f)
{
	uint64_t now = list_empty(&f->paused) ? 0 : now_ns();

	while (!list_empty(&f->paused)) {
		struct fetch *ft = fetch_of(f->paused.next);

		if (ft->retry_at > now)
			return;
		list_remove(&ft->node);
		if (ft->state == FETCH_DELAYED)
			submit_read(ft, ft->place.length - ft->got);
		else if (ft->filling)
			begin_try(ft);
		else
			ask_again(ft);
	}
}

static bool may_ask_held(const struct fetcher *f)
{
	return f->background < FETCH_BACKGROUND && !list_empty(&f->held);
}

/* Ends: asking again holds only when the room is used up. */
static void ask_held(struct fetcher *f)
{
	while (may_ask_held(f))
		ask_again(fetch_of(list_pop(&f->held)));
}

/* Calls done() for what is finished now, not for what these calls finish. */
static void call_done(struct fetcher *f)
{
	struct list_node due = LIST_INIT(due), *n;

	list_splice(&due, &f->finished);
	while ((n = list_pop(&due))) {
		struct fetch *ft = fetch_of(n);
		int error = error_of(ft);

		f->pending--;
		ft->done(ft, error);
	}
}

/* A bad ring or a bad address: our own bug, and no read would ever return. */
static void ring_is_broken(int error)
{
	log_error("io_uring_submit: %s", strerror(-error));
	abort();
}

static void submit_ring(struct fetcher *f)
{
	int r = io_uring_submit(&f->ring);

	if (r < 0 && r != -EAGAIN && r != -EBUSY && r != -EINTR && r != -ENOMEM)
		ring_is_broken(r);
	f->submit_at = UINT64_MAX;
	if (io_uring_sq_ready(&f->ring)) {
		f->submit_at = now_ns() + SUBMIT_PAUSE;
		kick_outside(f);
	}
}

void fetcher_submit(struct fetcher *f)
{
	while (f->spares && !list_empty(&f->queued)) {
		struct fetch *ft = fetch_of(list_pop(&f->queued));

		ft->stored = f->spare[--f->spares];
		read_rest(ft);
	}
	if (io_uring_sq_ready(&f->ring))
		submit_ring(f);
}

void fetcher_run(struct fetcher *f)
{
	eventfd_t count;

	assert(f->magic == FETCHER_MAGIC && !f->running);
	f->running = true;
	/* Before looking: what comes after makes it readable again. */
	(void)eventfd_read(f->event, &count);
	take_completions(f);
	take_mail(f);
	resume_paused(f);
	ask_held(f);
	fetcher_submit(f);
	call_done(f);
	fetcher_submit(f);
	f->running = false;
	if (!list_empty(&f->finished) || may_ask_held(f))
		kick(f);
}

int fetch_start(struct fetcher *fetcher, struct fetch *ft)
{
	assert(fetcher->magic == FETCHER_MAGIC);
	ft->fetcher = fetcher;
	ft->waiter.wake = on_wake;
	ft->load.block = ft->block;
	ft->load.loaded = on_loaded;
	ft->filling = false;
	ft->located = false;
	ft->stored = NULL;
	ft->error_text = NULL;
	ft->suspect = ft->rescued = false;
	ft->load.rescue = false;
	ft->tries = 0;
	ft->ref.cache = NULL;
	cache_trace(fetcher->cache, ft->session, ft->block, ft->class);
	if (ask(ft))
		return 0;
	fetcher->pending++;
	return -EINPROGRESS;
}

bool fetcher_ready(const struct fetcher *f)
{
	return io_uring_cq_ready(&f->ring) > 0;
}

int fetcher_fd(const struct fetcher *f)
{
	return f->event;
}

uint64_t fetcher_deadline(const struct fetcher *f)
{
	uint64_t at = f->submit_at;

	if (!list_empty(&f->paused)) {
		const struct fetch *ft = fetch_of(f->paused.next);

		if (ft->retry_at < at)
			at = ft->retry_at;
	}
	return at;
}

unsigned int fetcher_pending(const struct fetcher *f)
{
	return f->pending;
}

size_t fetcher_bytes(void)
{
	/* The completion ring is twice as long as the submission ring. */
	return sizeof(struct fetcher) + (size_t)FETCH_DEPTH * PAGER_PAGE_SIZE +
	       (size_t)FETCH_DEPTH * (sizeof(struct io_uring_sqe) +
				      2 * sizeof(struct io_uring_cqe));
}

static int map_buffers(struct fetcher *f)
{
	size_t bytes = (size_t)FETCH_DEPTH * PAGER_PAGE_SIZE;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_set(-ENOMEM, "fetcher: no memory for buffers: %m");
	f->buffers = p;
	/* The first to be taken lies on top, so few pages are ever touched. */
	while (f->spares < FETCH_DEPTH) {
		f->spare[f->spares] =
			f->buffers +
			(size_t)(FETCH_DEPTH - 1 - f->spares) * PAGER_PAGE_SIZE;
		f->spares++;
	}
	return 0;
}

/* Debian 12's liburing declares these two and does not export them. */
static long tell_ring(const struct io_uring *ring, unsigned int what,
		      const void *arg, unsigned int count)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, what, arg, count);
}

/*
 * What a ring does no filter of system calls sees, and this process has one;
 * with its eventfd it has all that it will ever register.
 */
static int allow_reads_only(struct io_uring *ring)
{
	struct io_uring_restriction reads = {
		.opcode = IORING_RESTRICTION_SQE_OP,
		.sqe_op = IORING_OP_READ,
	};

	if (tell_ring(ring, IORING_REGISTER_RESTRICTIONS, &reads, 1) < 0 ||
	    tell_ring(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
		return -errno;
	return 0;
}

static int open_ring(struct fetcher *f)
{
	int r;

	f->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->event < 0)
		return err_set(-errno, "fetcher: eventfd: %m");
	r = io_uring_queue_init(FETCH_DEPTH, &f->ring, IORING_SETUP_R_DISABLED);
	if (r == -EINVAL) /* before Linux 5.10 */
		r = io_uring_queue_init(FETCH_DEPTH, &f->ring, 0);
	if (r < 0)
		return err_set(r, "fetcher: io_uring: %s", strerror(-r));
	r = io_uring_register_eventfd(&f->ring, f->event);
	if (r == 0 && (f->ring.flags & IORING_SETUP_R_DISABLED))
		r = allow_reads_only(&f->ring);
	if (r < 0) {
		io_uring_queue_exit(&f->ring);
		return err_set(r, "fetcher: io_uring and eventfd: %s",
			       strerror(-r));
	}
	return 0;
}

static void release_resources(struct fetcher *f)
{
	if (f->buffers)
		(void)munmap(f->buffers, (size_t)FETCH_DEPTH * PAGER_PAGE_SIZE);
	close_quietly(f->event);
	lock_release(&f->mail_lock);
	free(f);
}

int fetcher_new(struct cache *cache, const struct block_source *source,
		struct fetch_loader *loader, struct fetcher **ret_fetcher)
{
	struct fetcher *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return err_set(-ENOMEM, "fetcher: out of memory");
	f->magic = FETCHER_MAGIC;
	f->cache = cache;
	f->source = source;
	f->loader = loader;
	f->event = -1;
	f->submit_at = UINT64_MAX;
	list_init(&f->held);
	list_init(&f->queued);
	list_init(&f->paused);
	list_init(&f->finished);
	list_init(&f->mail);
	lock_init(&f->mail_lock, "mailbox");
	r = map_buffers(f);
	if (r == 0)
		r = open_ring(f);
	if (r < 0) {
		release_resources(f);
		return r;
	}
	*ret_fetcher = f;
	return 0;
}

void fetcher_free(struct fetcher *f)
{
	if (!f)
		return;
	assert(f->magic == FETCHER_MAGIC && f->pending == 0);
	/* Whoever posted last may still be about to leave. */
	lock_take(&f->mail_lock);
	lock_drop(&f->mail_lock);
	f->magic = 0;
	io_uring_queue_exit(&f->ring);
	release_resources(f);
}
