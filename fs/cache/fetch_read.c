#include "fs/cache/fetch_read.h"

#include <errno.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/base/list.h"
#include "fs/base/lock.h"
#include "pager/block.h"

int fetch_result(int error, uint64_t block)
{
	if (error != -EAGAIN)
		return error;
	return err_wrap(-EIO, "block %llu:%u: gave up",
			(unsigned long long)pager_block_pack(block),
			pager_block_slot(block));
}

/* One who waits with his thread. Lives on its stack. */
struct sleeper {
	struct cache *cache;
	const struct block_source *source;
	uint64_t block;
	enum cache_class class;
	struct cache_waiter waiter;
	struct lock lock;
	struct condition woken;
	bool awake; /* protected by lock, as all below */
	int error;
	char text[ERR_TEXT_MAX];
};

static void wake_sleeper(struct cache_waiter *w, int error)
{
	struct sleeper *s = container_of(w, struct sleeper, waiter);

	/* Signalled with the lock held: after it the sleeper may be gone. */
	LOCK_GUARD(&s->lock);
	s->error = error;
	if (error)
		err_copy(error, s->text);
	s->awake = true;
	condition_wake_one(&s->woken);
}

/* The waker's result, with its text. */
static int sleep_until_woken(struct sleeper *s)
{
	LOCK_GUARD(&s->lock);
	while (!s->awake)
		condition_wait(&s->woken, &s->lock);
	s->awake = false;
	return s->error ? err_restore(s->error, s->text) : 0;
}

static int fill_now(const struct block_source *source, struct cache_ref *ref)
{
	uint8_t kind;
	int r = block_source_read(source, ref->block, cache_fill_buffer(ref),
				  &kind);

	if (r < 0) {
		r = fetch_result(r, ref->block);
		cache_fill_failed(ref, r);
		return r;
	}
	cache_fill_done(ref, kind);
	return 0;
}

static int get_blocking(struct sleeper *s, struct cache_ref *ret_ref)
{
	int r;

	do {
		r = cache_get(s->cache, s->block, s->class, &s->waiter,
			      ret_ref);
		if (r == CACHE_HIT)
			return 0;
		if (r == CACHE_FILL)
			return fill_now(s->source, ret_ref);
		r = sleep_until_woken(s);
	} while (r == -EAGAIN);
	if (r == 0)
		*ret_ref = s->waiter.ref;
	return r;
}

int fetch_read(struct cache *cache, const struct block_source *source,
	       uint64_t block, enum cache_class class, uint8_t *ret_page,
	       uint8_t *ret_kind)
{
	struct sleeper s = {
		.cache = cache,
		.source = source,
		.block = block,
		.class = class,
		.waiter.wake = wake_sleeper,
	};
	struct cache_ref ref;
	int r;

	cache_trace(cache, 0, block, class);
	lock_init(&s.lock, "sleeper");
	condition_init(&s.woken);
	r = get_blocking(&s, &ref);
	condition_release(&s.woken);
	lock_release(&s.lock);
	if (r < 0)
		return r;
	memcpy(ret_page, ref.data, PAGER_PAGE_SIZE);
	if (ret_kind)
		*ret_kind = ref.kind;
	cache_unpin(&ref);
	return 0;
}
