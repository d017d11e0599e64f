#include "tests/unit/cache/memory_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/lock.h"

struct memory_block {
	enum memory_fault fault;
	uint32_t times; /* tries that it is still due for */
	bool flip;	/* the try under way is to meet a flipped bit */
};

struct memory_source {
	struct block_source source;
	uint32_t count;
	int fd;
	int stuck[2]; /* a pipe: what a stuck block reads */
	struct lock lock;
	struct condition gate_opened;
	struct memory_block *blocks; /* protected by lock, as all below */
	bool *prepared;		     /* by pack, from 0 */
	bool need_prepare;
	int prepare_error;
	bool gate_shut;
	uint64_t decodes, prepares, places;
};

static void must(bool ok)
{
	if (!ok)
		abort(); /* a test cannot go on without */
}

uint64_t memory_source_block(uint32_t n)
{
	return pager_block_id(1 + n / MEMORY_PACK_SLOTS, n % MEMORY_PACK_SLOTS);
}

static uint32_t number_of(uint64_t block)
{
	return (uint32_t)(pager_block_pack(block) - 1) * MEMORY_PACK_SLOTS +
	       pager_block_slot(block);
}

void memory_source_content(uint64_t block, uint8_t *ret_page)
{
	uint64_t x = block * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < PAGER_PAGE_SIZE; i += sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(ret_page + i, &x, sizeof(x));
	}
}

bool memory_source_is_content(uint64_t block, const uint8_t *page)
{
	uint8_t want[PAGER_PAGE_SIZE];

	memory_source_content(block, want);
	return memcmp(want, page, PAGER_PAGE_SIZE) == 0;
}

uint8_t memory_source_kind(uint64_t block)
{
	return (uint8_t)(block % (PAGER_KIND_NODE_MAX + 1));
}

/* The fault that this try of the block meets. */
static enum memory_fault next_fault(struct memory_source *m, uint64_t block)
{
	struct memory_block *b = &m->blocks[number_of(block)];

	lock_assert_held(&m->lock);
	if (!b->times)
		return MEMORY_OK;
	b->times--;
	return b->fault;
}

static void fill_place(struct memory_source *m, uint64_t block,
		       enum memory_fault fault, struct block_place *ret_place)
{
	uint32_t n = number_of(block);

	*ret_place = (struct block_place){
		.block = block,
		.fd = m->fd,
		.offset = (uint64_t)n * PAGER_PAGE_SIZE,
		.length = PAGER_PAGE_SIZE,
		.slot.kind = memory_source_kind(block),
	};
	if (fault == MEMORY_UNREADABLE)
		ret_place->fd = -1;
	if (fault == MEMORY_TRUNCATED)
		ret_place->offset = (uint64_t)m->count * PAGER_PAGE_SIZE - 100;
	if (fault == MEMORY_STUCK)
		ret_place->fd = m->stuck[0];
	m->blocks[n].flip = fault == MEMORY_FLIPPED;
}

static int locate(void *ctx, uint64_t block, struct block_place *ret_place)
{
	struct memory_source *m = ctx;
	enum memory_fault fault;

	LOCK_GUARD(&m->lock);
	if (m->need_prepare &&
	    !m->prepared[number_of(block) / MEMORY_PACK_SLOTS])
		return -EAGAIN;
	fault = next_fault(m, block);
	if (fault == MEMORY_ABSENT)
		return err_set(-ENOENT, "no such block in memory");
	if (fault == MEMORY_DAMAGED)
		return err_set(-EBADMSG, "damaged in memory");
	fill_place(m, block, fault, ret_place);
	m->places++;
	return 0;
}

static int prepare(void *ctx, uint64_t block)
{
	struct memory_source *m = ctx;

	LOCK_GUARD(&m->lock);
	m->prepares++;
	while (m->gate_shut)
		condition_wait(&m->gate_opened, &m->lock);
	if (m->prepare_error)
		return err_set(m->prepare_error, "memory cannot be prepared");
	m->prepared[number_of(block) / MEMORY_PACK_SLOTS] = true;
	return 0;
}

static int decode(void *ctx, const struct block_place *place,
		  const uint8_t *stored, uint8_t *ret_page)
{
	struct memory_source *m = ctx;

	memcpy(ret_page, stored, PAGER_PAGE_SIZE);
	LOCK_GUARD(&m->lock);
	m->decodes++;
	if (m->blocks[number_of(place->block)].flip)
		ret_page[99] ^= 1;
	if (!memory_source_is_content(place->block, ret_page))
		return err_set(-EBADMSG, "bytes of memory are wrong");
	return 0;
}

static void release(void *ctx, struct block_place *place)
{
	struct memory_source *m = ctx;

	LOCK_GUARD(&m->lock);
	m->places--;
	place->fd = -1;
}

static const struct block_source_ops ops = {
	.locate = locate,
	.prepare = prepare,
	.decode = decode,
	.release = release,
};

struct memory_source *memory_source_new(uint32_t blocks)
{
	struct memory_source *m = calloc(1, sizeof(*m));
	uint8_t page[PAGER_PAGE_SIZE];

	must(m);
	m->source = (struct block_source){.ops = &ops, .ctx = m};
	m->count = blocks;
	m->blocks = calloc(blocks, sizeof(*m->blocks));
	m->prepared = calloc(blocks / MEMORY_PACK_SLOTS + 1, sizeof(bool));
	must(m->blocks && m->prepared);
	m->fd = memfd_create("blocks", MFD_CLOEXEC);
	must(m->fd >= 0 && pipe2(m->stuck, O_CLOEXEC) == 0);
	for (uint32_t n = 0; n < blocks; n++) {
		memory_source_content(memory_source_block(n), page);
		must(write(m->fd, page, sizeof(page)) == sizeof(page));
	}
	lock_init(&m->lock, "memory source");
	condition_init(&m->gate_opened);
	return m;
}

void memory_source_free(struct memory_source *m)
{
	must(m->places == 0);
	(void)close(m->fd);
	(void)close(m->stuck[0]);
	(void)close(m->stuck[1]);
	condition_release(&m->gate_opened);
	lock_release(&m->lock);
	free(m->blocks);
	free(m->prepared);
	free(m);
}

const struct block_source *memory_source_ops(struct memory_source *m)
{
	return &m->source;
}

void memory_source_fault(struct memory_source *m, uint64_t block,
			 enum memory_fault fault, uint32_t times)
{
	LOCK_GUARD(&m->lock);
	m->blocks[number_of(block)].fault = fault;
	m->blocks[number_of(block)].times = times;
}

void memory_source_let_go(struct memory_source *m, uint64_t block)
{
	uint8_t page[PAGER_PAGE_SIZE];

	memory_source_content(block, page);
	must(write(m->stuck[1], page, sizeof(page)) == sizeof(page));
}

void memory_source_need_prepare(struct memory_source *m, int error)
{
	LOCK_GUARD(&m->lock);
	m->need_prepare = true;
	m->prepare_error = error;
}

void memory_source_shut_gate(struct memory_source *m)
{
	LOCK_GUARD(&m->lock);
	m->gate_shut = true;
}

void memory_source_open_gate(struct memory_source *m)
{
	LOCK_GUARD(&m->lock);
	m->gate_shut = false;
	condition_wake_all(&m->gate_opened);
}

uint64_t memory_source_decodes(struct memory_source *m)
{
	LOCK_GUARD(&m->lock);
	return m->decodes;
}

uint64_t memory_source_prepares(struct memory_source *m)
{
	LOCK_GUARD(&m->lock);
	return m->prepares;
}

uint64_t memory_source_places(struct memory_source *m)
{
	LOCK_GUARD(&m->lock);
	return m->places;
}
