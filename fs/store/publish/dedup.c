#include "fs/store/publish/dedup.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/log.h"
#include "fs/store/index/index.h"
#include "fs/store/pack/codec.h"

struct dedup {
	struct store *store;
	struct block_index *index;
	struct packwriter *writer;
	enum pager_codec codec;
	/* Packs that left the writer for the index: counter, any thread. */
	_Atomic unsigned int seals;
};

struct dedup_scratch {
	struct coder *coder;
	uint64_t compares;
	uint8_t candidate[PAGER_PAGE_SIZE];
	uint8_t encoded[PAGER_PAGE_SIZE];
};

static int sealed(void *arg, uint64_t pack,
		  const struct pager_digest_entry *entries, uint64_t count)
{
	struct dedup *d = arg;
	int r = index_add_pack(d->index, pack, entries, count);

	atomic_fetch_add(&d->seals, 1);
	return r;
}

DEFINE_CLEANUP(dedup, struct dedup *, dedup_close)

int dedup_open(struct store *s, enum pager_codec codec,
	       struct dedup **ret_dedup)
{
	struct dedup *d cleanup(cleanup_dedup) = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->store = s;
	d->codec = codec;
	r = index_open(s, &d->index);
	if (r == 0)
		r = packwriter_new(s, sealed, d, &d->writer);
	if (r < 0)
		return r;
	*ret_dedup = steal_ptr(d);
	return 0;
}

void dedup_close(struct dedup *d)
{
	if (!d)
		return;
	packwriter_free(d->writer);
	index_close(d->index);
	free(d);
}

int dedup_finish(struct dedup *d)
{
	return packwriter_finish(d->writer);
}

uint64_t dedup_stored_bytes(const struct dedup *d)
{
	return packwriter_stored_bytes(d->writer);
}

struct dedup_scratch *dedup_scratch_new(void)
{
	struct dedup_scratch *s = calloc(1, sizeof(*s));

	if (s)
		s->coder = coder_new();
	if (s && !s->coder) {
		free(s);
		return NULL;
	}
	return s;
}

void dedup_scratch_free(struct dedup_scratch *s)
{
	if (!s)
		return;
	coder_free(s->coder);
	free(s);
}

uint64_t dedup_compares(const struct dedup_scratch *s)
{
	return s->compares;
}

static bool equals(struct dedup *d, struct dedup_scratch *s,
		   const struct dedup_item *item, uint64_t block)
{
	uint8_t kind;
	int r;

	s->compares++;
	/* The open pack may have been sealed since it named its candidate. */
	r = packwriter_read(d->writer, block, s->candidate, &kind);
	if (r == -ENOENT)
		r = block_source_read(store_source(d->store), block,
				      s->candidate, &kind);
	if (r < 0) {
		log_debug("candidate passed over block=%#llx error=%d",
			  (unsigned long long)block, r);
		return false;
	}
	return kind == item->kind &&
	       memcmp(s->candidate, item->plain, PAGER_PAGE_SIZE) == 0;
}

/* Among the open pack's blocks behind item->compared, which moves on. */
static bool find_open(struct dedup *d, struct dedup_scratch *s,
		      struct dedup_item *item)
{
	uint64_t blocks[DEDUP_CANDIDATES_MAX];
	unsigned int n = packwriter_find(d->writer, item->digest,
					 DEDUP_CANDIDATES_MAX, blocks);

	for (unsigned int i = 0; i < n; i++) {
		if (blocks[i] <= item->compared)
			continue;
		if (equals(d, s, item, blocks[i])) {
			item->block = blocks[i];
			return true;
		}
	}
	if (n && blocks[n - 1] > item->compared)
		item->compared = blocks[n - 1];
	return false;
}

static bool find_sealed(struct dedup *d, struct dedup_scratch *s,
			struct dedup_item *item)
{
	uint64_t blocks[DEDUP_CANDIDATES_MAX];
	unsigned int n = index_find(d->index, item->digest,
				    DEDUP_CANDIDATES_MAX, blocks);

	for (unsigned int i = 0; i < n; i++) {
		if (equals(d, s, item, blocks[i])) {
			item->block = blocks[i];
			return true;
		}
	}
	return false;
}

bool dedup_find(struct dedup *d, struct dedup_scratch *s,
		struct dedup_item *item)
{
	/*
	 * Counted first: a pack that is sealed between the two lookups shows
	 * in neither, and has dedup_store() look again.
	 */
	item->seals = atomic_load(&d->seals);
	return find_open(d, s, item) || find_sealed(d, s, item);
}

uint32_t dedup_encode(struct dedup *d, struct dedup_scratch *s,
		      struct dedup_item *item, uint8_t *out)
{
	item->codec = d->codec;
	item->length = coder_encode(s->coder, &item->codec, item->plain, out);
	item->stored = out;
	return item->length;
}

int dedup_store(struct dedup *d, struct dedup_scratch *s,
		struct dedup_item *item)
{
	struct packwriter_block b;
	int r;

	if (find_open(d, s, item))
		return 0;
	if (item->seals != atomic_load(&d->seals) && dedup_find(d, s, item))
		return 0;
	if (item->length == 0)
		(void)dedup_encode(d, s, item, s->encoded);
	b = (struct packwriter_block){
		.digest = item->digest,
		.plain = item->plain,
		.stored = item->stored,
		.length = item->length,
		.codec = item->codec,
		.kind = item->kind,
	};
	r = packwriter_append(d->writer, &b, &item->block);
	return r < 0 ? r : 1;
}
