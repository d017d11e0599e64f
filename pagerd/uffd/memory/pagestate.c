#include "pagerd/uffd/memory/pagestate.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pager/pagetable.h"

DEFINE_CLEANUP(pagestate, struct pagestate *, pagestate_free)

static int make_room(int fd, uint64_t size)
{
	int r;

	if (ftruncate(fd, 0) < 0)
		return err_set(-errno, "cannot empty the page-state file: %m");
	r = posix_fallocate(fd, 0, (off_t)size);
	if (r != 0) {
		errno = r;
		return err_set(-r,
			       "no room for a page-state file of %" PRIu64
			       " bytes: %m",
			       size);
	}
	return 0;
}

static void write_header(struct pagestate *s, const struct pager_digest *image)
{
	struct pager_pagestate_header *h = (void *)s->map;

	h->version = htole32(PAGER_PAGESTATE_VERSION);
	h->pages = htole64(s->pages);
	memcpy(h->image_digest, image->bytes, sizeof(h->image_digest));
	memcpy(h->magic, PAGER_PAGESTATE_MAGIC, sizeof(h->magic));
}

int pagestate_create(int fd, uint64_t pages, const struct pager_digest *image,
		     struct pagestate **ret_states)
{
	struct pagestate *s cleanup(cleanup_pagestate) = NULL;
	void *map;
	int r;

	if (pages > (uint64_t)INT64_MAX - PAGER_NODE_ENTRIES)
		return err_set(-EFBIG, "an image of %" PRIu64 " pages", pages);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(-ENOMEM, "no memory for page states");
	s->pages = (pages + PAGER_NODE_ENTRIES - 1) / PAGER_NODE_ENTRIES *
		   PAGER_NODE_ENTRIES;
	s->map_size = PAGER_PAGESTATE_HEADER + s->pages / 4;
	r = make_room(fd, s->map_size);
	if (r < 0)
		return r;
	map = mmap(NULL, s->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   0);
	if (map == MAP_FAILED)
		return err_set(-errno, "cannot map the page states: %m");
	s->map = map;
	s->body = s->map + PAGER_PAGESTATE_HEADER;
	atomic_init(&s->counts[PAGER_PAGE_ABSENT], s->pages);
	write_header(s, image);
	*ret_states = steal_ptr(s);
	return 0;
}

void pagestate_free(struct pagestate *s)
{
	if (!s)
		return;
	if (s->map)
		(void)munmap(s->map, s->map_size);
	free(s);
}

/* One writer: no need for a locked instruction. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(
		counter,
		atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

static void set_one(struct pagestate *s, uint64_t page,
		    enum pager_page_state state)
{
	unsigned int shift = 2 * (page % 4);
	uint8_t *byte = &s->body[page / 4];

	add(&s->counts[*byte >> shift & 3], (uint64_t)-1);
	add(&s->counts[state], 1);
	*byte = (uint8_t)((*byte & ~(3u << shift)) | (unsigned int)state
							     << shift);
}

/* 32 pages at once; `at` is a multiple of 32. */
static void set_word(struct pagestate *s, uint64_t at, uint64_t filled,
		     enum pager_page_state state)
{
	const uint64_t low_bits = UINT64_C(0x5555555555555555);
	uint64_t word, high, low, by_state[4];

	memcpy(&word, &s->body[at / 4], sizeof(word));
	if (word == filled)
		return;
	high = word >> 1 & low_bits;
	low = word & low_bits;
	by_state[3] = (uint64_t)__builtin_popcountll(high & low);
	by_state[2] = (uint64_t)__builtin_popcountll(high & ~low);
	by_state[1] = (uint64_t)__builtin_popcountll(low & ~high);
	by_state[0] = 32 - by_state[1] - by_state[2] - by_state[3];
	for (int i = 0; i < 4; i++)
		add(&s->counts[i], -by_state[i]);
	add(&s->counts[state], 32);
	memcpy(&s->body[at / 4], &filled, sizeof(filled));
}

void pagestate_set(struct pagestate *s, uint64_t page, uint64_t count,
		   enum pager_page_state state)
{
	const uint64_t filled = UINT64_C(0x5555555555555555) * (uint64_t)state;
	uint64_t end = page + count;

	assert(end >= page && end <= s->pages);
	while (page < end && page % 32)
		set_one(s, page++, state);
	for (; end - page >= 32; page += 32)
		set_word(s, page, filled, state);
	while (page < end)
		set_one(s, page++, state);
}

uint64_t pagestate_run(const struct pagestate *s, uint64_t page, uint64_t max,
		       enum pager_page_state state)
{
	uint64_t n = 0;

	if (max > s->pages - page)
		max = s->pages - page;
	while (n < max && pagestate_get(s, page + n) == state)
		n++;
	return n;
}
