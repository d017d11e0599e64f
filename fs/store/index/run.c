#include "fs/store/index/run.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fs/base/err.h"
#include "fs/io/page.h"
#include "fs/store/pack/digests.h"

#define RUN_STRUCT_MAGIC 0x52554e21u

struct run {
	uint32_t magic;
	_Atomic unsigned int refs;
	/* Constant once open. */
	char name[RUN_NAME_MAX];
	uint64_t number;
	struct pager_run_header header;
	uint8_t *map; /* NULL or `size` bytes */
	size_t size;
	/* Into the map. */
	const uint64_t *packs;
	const uint64_t *fan;
	const struct pager_digest_entry *entries;
};

int run_number_of(const char *name, uint64_t *ret_number)
{
	return numbered_parse(name, RUN_SUFFIX, ret_number);
}

static uint64_t whole_pages(uint64_t bytes)
{
	return page_count(bytes) * PAGER_PAGE_SIZE;
}

struct run_layout run_layout(uint64_t packs, uint64_t entries)
{
	struct run_layout at = {.packs = PAGER_PAGE_SIZE};

	at.fan = at.packs + whole_pages(packs * sizeof(uint64_t));
	at.entries = at.fan + whole_pages(PAGER_RUN_FANOUT * sizeof(uint64_t));
	at.size = at.entries + entries * sizeof(struct pager_digest_entry);
	return at;
}

static int damaged(const struct run *r, const char *why)
{
	return err_set(-EBADMSG, "index run %s is damaged: %s", r->name, why);
}

static int check_header(const struct run *r, const uint8_t *store_id)
{
	const struct pager_run_header *h = &r->header;

	if (memcmp(h->magic, PAGER_RUN_MAGIC, sizeof(h->magic)) != 0)
		return damaged(r, "it does not begin as a run does");
	/* A newer one, too, is made again by whoever cannot read it. */
	if (h->version != PAGER_RUN_VERSION)
		return damaged(r, "an unknown version");
	if (h->checksum !=
	    XXH3_64bits(h, offsetof(struct pager_run_header, checksum)))
		return damaged(r, "the header's checksum does not match");
	if (h->reserved0)
		return damaged(r, "header fields that no program writes");
	if (memcmp(h->store, store_id, sizeof(h->store)) != 0)
		return damaged(r, "it belongs to another store");
	return 0;
}

/* Points into the map, once the counts are known to fit its size. */
static int check_lengths(struct run *r)
{
	const struct pager_run_header *h = &r->header;
	struct run_layout at;

	if (h->packs > r->size / sizeof(*r->packs) ||
	    h->entries > r->size / sizeof(*r->entries))
		return damaged(r, "counts that do not fit the file");
	at = run_layout(h->packs, h->entries);
	if (at.size != r->size)
		return damaged(r, "its parts do not add up to the file");
	r->packs = (const void *)(r->map + at.packs);
	r->fan = (const void *)(r->map + at.fan);
	r->entries = (const void *)(r->map + at.entries);
	if (h->tables_checksum != XXH3_64bits(r->packs, at.entries - at.packs))
		return damaged(r, "the tables' checksum does not match");
	return 0;
}

static int check_tables(const struct run *r)
{
	for (uint64_t i = 0; i < r->header.packs; i++)
		if (r->packs[i] > PAGER_PACK_NUMBER_MAX ||
		    r->packs[i] <= (i ? r->packs[i - 1] : 0))
			return damaged(r, "its packs are out of order");
	for (uint32_t i = 1; i < PAGER_RUN_FANOUT; i++)
		if (r->fan[i] < r->fan[i - 1])
			return damaged(r, "its fan-out is out of order");
	if (r->fan[0] != 0 || r->fan[PAGER_RUN_FANOUT - 1] != r->header.entries)
		return damaged(r, "its fan-out does not cover the entries");
	return 0;
}

static int map_file(struct run *r, int fd)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(r->header))
		return damaged(r, "cut short");
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	r->map = map;
	r->size = (size_t)st.st_size;
	memcpy(&r->header, r->map, sizeof(r->header));
	return 0;
}

static int open_file(int index_fd, const char *name)
{
	int fd = openat(index_fd, name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int run_open(int index_fd, const char *name, const uint8_t store_id[16],
	     struct run **ret_run)
{
	_cleanup_close_ int fd = open_file(index_fd, name);

	if (fd < 0)
		return fd;
	return run_open_fd(fd, name, store_id, ret_run);
}

int run_open_fd(int fd, const char *name, const uint8_t store_id[16],
		struct run **ret_run)
{
	struct run *run cleanup(cleanup_run) = calloc(1, sizeof(*run));
	int r;

	if (!run)
		return -ENOMEM;
	run->magic = RUN_STRUCT_MAGIC;
	atomic_init(&run->refs, 1);
	if (run_number_of(name, &run->number) < 0)
		return -EINVAL;
	numbered_name(run->number, RUN_SUFFIX, run->name);
	r = map_file(run, fd);
	if (r == 0)
		r = check_header(run, store_id);
	if (r == 0)
		r = check_lengths(run);
	if (r == 0)
		r = check_tables(run);
	if (r < 0)
		return r;
	*ret_run = steal_ptr(run);
	return 0;
}

struct run *run_ref(struct run *r)
{
	assert(r->magic == RUN_STRUCT_MAGIC);
	atomic_fetch_add(&r->refs, 1);
	return r;
}

void run_unref(struct run *r)
{
	if (!r)
		return;
	assert(r->magic == RUN_STRUCT_MAGIC);
	if (atomic_fetch_sub(&r->refs, 1) != 1)
		return;
	if (r->map)
		(void)munmap(r->map, r->size);
	r->magic = 0;
	free(r);
}

const char *run_name(const struct run *r)
{
	return r->name;
}

uint64_t run_number(const struct run *r)
{
	return r->number;
}

uint64_t run_entries(const struct run *r)
{
	return r->header.entries;
}

uint64_t run_packs(const struct run *r, const uint64_t **ret_packs)
{
	*ret_packs = r->packs;
	return r->header.packs;
}

const struct pager_digest_entry *run_entry(const struct run *r, uint64_t i)
{
	assert(i < r->header.entries);
	return &r->entries[i];
}

/*
 * The first entry in [first, end) whose digest is not below `d`. Where the
 * entries are damaged it is some position in there, or `end`.
 */
static uint64_t lower_bound(const struct run *r, const struct pager_digest *d,
			    uint64_t first, uint64_t end)
{
	while (first < end) {
		uint64_t middle = first + (end - first) / 2;

		if (memcmp(r->entries[middle].digest.bytes, d->bytes,
			   PAGER_DIGEST_SIZE) < 0)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

unsigned int run_find(const struct run *r, const struct pager_digest *digest,
		      unsigned int max, uint64_t *ret_blocks)
{
	uint32_t fan = digests_fan(digest);
	/* Monotone and at most `entries`: checked when the run was opened. */
	uint64_t first = r->fan[fan], end = r->fan[fan + 1];
	unsigned int found = 0;

	for (uint64_t i = lower_bound(r, digest, first, end);
	     i < end && found < max; i++) {
		if (memcmp(r->entries[i].digest.bytes, digest->bytes,
			   PAGER_DIGEST_SIZE) != 0)
			break;
		ret_blocks[found++] = r->entries[i].block;
	}
	return found;
}
