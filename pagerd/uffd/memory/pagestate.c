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
#include <sys/stat.h>
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

static int allocate(uint64_t pages, struct pagestate **ret_states)
{
	struct pagestate *s;

	if (pages > (uint64_t)INT64_MAX - PAGER_NODE_ENTRIES)
		return err_set(-EFBIG, "an image of %" PRIu64 " pages", pages);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(-ENOMEM, "no memory for page states");
	s->pages = (pages + PAGER_NODE_ENTRIES - 1) / PAGER_NODE_ENTRIES *
		   PAGER_NODE_ENTRIES;
	s->map_size = PAGER_PAGESTATE_HEADER + s->pages / 4;
	*ret_states = s;
	return 0;
}

static int map_file(struct pagestate *s, int fd)
{
	void *map = mmap(NULL, s->map_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, 0);

	if (map == MAP_FAILED)
		return err_set(-errno, "cannot map the page states: %m");
	s->map = map;
	s->inbox = s->map + PAGER_PAGESTATE_INBOX;
	s->body = s->map + PAGER_PAGESTATE_HEADER;
	/* A low limit leaves rule 8 to how rarely a page in use is evicted. */
	(void)mlock(map, PAGER_PAGESTATE_HEADER);
	return 0;
}

int pagestate_create(int fd, uint64_t pages, const struct pager_digest *image,
		     struct pagestate **ret_states)
{
	struct pagestate *s cleanup(cleanup_pagestate) = NULL;
	int r;

	r = allocate(pages, &s);
	if (r == 0)
		r = make_room(fd, s->map_size);
	if (r == 0)
		r = map_file(s, fd);
	if (r < 0)
		return r;
	atomic_init(&s->counts[PAGER_PAGE_ABSENT], s->pages);
	write_header(s, image);
	*ret_states = steal_ptr(s);
	return 0;
}

static int check_header(const struct pagestate *s,
			const struct pager_digest *image)
{
	const struct pager_pagestate_header *h = (const void *)s->map;

	if (memcmp(h->magic, PAGER_PAGESTATE_MAGIC, sizeof(h->magic)) != 0)
		return err_set(-EBADMSG, "the page-state file is none");
	if (le32toh(h->version) != PAGER_PAGESTATE_VERSION)
		return err_set(-ENOTSUP,
			       "the page-state file has format %u, this is %u",
			       le32toh(h->version), PAGER_PAGESTATE_VERSION);
	if (le64toh(h->pages) != s->pages ||
	    memcmp(h->image_digest, image->bytes, sizeof(h->image_digest)) != 0)
		return err_set(-EBADMSG,
			       "the page-state file is another image's");
	return 0;
}

/* How many of the 32 pages of a word have each state. */
static void count_word(uint64_t word, uint64_t ret_by_state[4])
{
	const uint64_t low_bits = UINT64_C(0x5555555555555555);
	uint64_t high = word >> 1 & low_bits, low = word & low_bits;

	ret_by_state[3] = (uint64_t)__builtin_popcountll(high & low);
	ret_by_state[2] = (uint64_t)__builtin_popcountll(high & ~low);
	ret_by_state[1] = (uint64_t)__builtin_popcountll(low & ~high);
	ret_by_state[0] =
		32 - ret_by_state[1] - ret_by_state[2] - ret_by_state[3];
}

static void count_all(struct pagestate *s)
{
	uint64_t counts[4] = {0}, word, by_state[4];

	for (uint64_t at = 0; at < s->pages / 4; at += sizeof(word)) {
		memcpy(&word, s->body + at, sizeof(word));
		count_word(word, by_state);
		for (int i = 0; i < 4; i++)
			counts[i] += by_state[i];
	}
	for (int i = 0; i < 4; i++)
		atomic_init(&s->counts[i], counts[i]);
}

int pagestate_open(int fd, uint64_t pages, const struct pager_digest *image,
		   struct pagestate **ret_states)
{
	struct pagestate *s cleanup(cleanup_pagestate) = NULL;
	struct stat st;
	int r;

	r = allocate(pages, &s);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_set(-errno, "cannot look at the page states: %m");
	/* A shorter one would be a SIGBUS. */
	if ((uint64_t)st.st_size != s->map_size)
		return err_set(-EBADMSG,
			       "a page-state file of %" PRIu64
			       " bytes, which must be %zu",
			       (uint64_t)st.st_size, s->map_size);
	r = map_file(s, fd);
	if (r == 0)
		r = check_header(s, image);
	if (r < 0)
		return r;
	count_all(s);
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
	uint64_t word, by_state[4];

	memcpy(&word, &s->body[at / 4], sizeof(word));
	if (word == filled)
		return;
	count_word(word, by_state);
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

uint64_t pagestate_next(const struct pagestate *s, uint64_t page, uint64_t end,
			enum pager_page_state state)
{
	uint64_t word, by_state[4];

	while (page < end && pagestate_get(s, page) != state) {
		page++;
		/* 32 at once, where none of them has it. */
		while (page % 32 == 0 && page < end) {
			memcpy(&word, s->body + page / 4, sizeof(word));
			count_word(word, by_state);
			if (by_state[state])
				break;
			page += 32;
		}
	}
	return page < end ? page : end;
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

void pagestate_level(struct pagestate *s, uint64_t page)
{
	static const enum pager_page_state order[] = {
		PAGER_PAGE_REMOVED, PAGER_PAGE_POISONED, PAGER_PAGE_PRESENT};
	uint64_t counts[4] = {0};

	for (uint64_t i = 0; i < PAGER_NODE_ENTRIES; i++)
		counts[pagestate_get(s, page + i)]++;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (counts[order[i]] == 0)
			continue;
		pagestate_set(s, page, PAGER_NODE_ENTRIES, order[i]);
		return;
	}
}
