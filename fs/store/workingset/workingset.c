#include "fs/store/workingset/workingset.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

#define HEADER sizeof(struct pager_workingset_header)
#define ENTRY  sizeof(struct pager_workingset_entry)

void workingset_release(struct workingset *w)
{
	free(w->entries);
	*w = (struct workingset){0};
}

/* Pages and a number for each: open addressing, at most half full. */
struct pageset {
	uint64_t *pages; /* + 1, so that 0 is a free place */
	uint32_t *numbers;
	size_t room; /* a power of two */
};

static void pageset_release(struct pageset *p)
{
	free(p->pages);
	free(p->numbers);
}

static int pageset_init(struct pageset *p, size_t count)
{
	*p = (struct pageset){.room = 64};
	while (p->room < 2 * count)
		p->room *= 2;
	p->pages = calloc(p->room, sizeof(*p->pages));
	p->numbers = calloc(p->room, sizeof(*p->numbers));
	return p->pages && p->numbers ? 0 : -ENOMEM;
}

/* Where the page stands, or the free place where it belongs. */
static size_t pageset_place(const struct pageset *p, uint64_t page)
{
	size_t at = (size_t)(page * UINT64_C(0x9e3779b97f4a7c15) >> 20);

	for (at &= p->room - 1; p->pages[at] && p->pages[at] != page + 1;
	     at = (at + 1) & (p->room - 1))
		;
	return at;
}

/* The number of a page; NULL where it is not in the set. */
static uint32_t *pageset_find(const struct pageset *p, uint64_t page)
{
	size_t at = pageset_place(p, page);

	return p->pages[at] ? &p->numbers[at] : NULL;
}

/* False where the page is in the set already. */
static bool pageset_add(struct pageset *p, uint64_t page, uint32_t number)
{
	size_t at = pageset_place(p, page);

	if (p->pages[at])
		return false;
	p->pages[at] = page + 1;
	p->numbers[at] = number;
	return true;
}

static uint64_t checksum_of(const struct pager_workingset_header *h)
{
	return XXH3_64bits(h,
			   offsetof(struct pager_workingset_header, checksum));
}

int workingset_encode(const struct workingset *w, const uint8_t store_id[16],
		      uint8_t **ret_bytes, size_t *ret_len)
{
	struct pager_workingset_header h = {
		.version = PAGER_WORKINGSET_VERSION,
		.count = (uint32_t)w->count,
		.pages = w->pages,
		.entries_digest = XXH3_64bits(w->entries, w->count * ENTRY),
	};
	uint8_t *bytes;

	if (w->count == 0 || w->count > PAGER_WORKINGSET_ENTRIES_MAX)
		return err_set(-EINVAL, "a working set of %zu pages", w->count);
	bytes = malloc(HEADER + w->count * ENTRY);
	if (!bytes)
		return -ENOMEM;
	memcpy(h.magic, PAGER_WORKINGSET_MAGIC, sizeof(h.magic));
	memcpy(h.store, store_id, sizeof(h.store));
	memcpy(h.image_digest, w->image.bytes, sizeof(h.image_digest));
	h.checksum = checksum_of(&h);
	memcpy(bytes, &h, HEADER);
	memcpy(bytes + HEADER, w->entries, w->count * ENTRY);
	*ret_bytes = bytes;
	*ret_len = HEADER + w->count * ENTRY;
	return 0;
}

static int damaged(const char *what)
{
	return err_set(-EBADMSG, "damaged working set: %s", what);
}

static int decode_header(const uint8_t *bytes, size_t len,
			 const uint8_t store_id[16],
			 struct pager_workingset_header *ret_header)
{
	struct pager_workingset_header h = {0};

	memcpy(&h, bytes, len < HEADER ? len : HEADER);
	if (memcmp(h.magic, PAGER_WORKINGSET_MAGIC, sizeof(h.magic)) != 0)
		return damaged("it is no working set");
	if (h.version > PAGER_WORKINGSET_VERSION)
		return err_set(-ENOTSUP,
			       "a working set of format %u, this program reads "
			       "%d: use a newer pagerd",
			       h.version, PAGER_WORKINGSET_VERSION);
	if (len < HEADER)
		return damaged("cut short");
	if (h.checksum != checksum_of(&h))
		return damaged("its checksum does not match");
	if (h.version != PAGER_WORKINGSET_VERSION)
		return damaged("a version that no program writes");
	if (memcmp(h.store, store_id, sizeof(h.store)) != 0)
		return damaged("it belongs to another store");
	if (h.count == 0 || h.count > PAGER_WORKINGSET_ENTRIES_MAX)
		return damaged("its number of entries");
	if (len != HEADER + h.count * ENTRY)
		return damaged("its length is not that of its entries");
	*ret_header = h;
	return 0;
}

static int check_entries(const struct workingset *w)
{
	struct pageset seen cleanup(pageset_release) = {0};
	int r = pageset_init(&seen, w->count);

	for (size_t i = 0; r == 0 && i < w->count; i++) {
		const struct pager_workingset_entry *e = &w->entries[i];

		if (e->page >= w->pages)
			r = damaged("a page past the image");
		else if (e->score == 0 || e->score > PAGER_WORKINGSET_SCORE_MAX)
			r = damaged("a score out of bounds");
		else if (e->reserved0 != 0)
			r = damaged("reserved bytes");
		else if (!pageset_add(&seen, e->page, 0))
			r = damaged("a page that stands there twice");
	}
	return r;
}

static int copy_entries(const uint8_t *from, struct workingset *w)
{
	w->entries = malloc(w->count * ENTRY);
	if (!w->entries)
		return -ENOMEM;
	memcpy(w->entries, from, w->count * ENTRY);
	return check_entries(w);
}

int workingset_decode(const uint8_t *bytes, size_t len,
		      const uint8_t store_id[16],
		      const struct pager_digest *image, uint64_t pages,
		      struct workingset *ret_set)
{
	struct workingset w cleanup(workingset_release) = {.image = *image};
	struct pager_workingset_header h;
	int r = decode_header(bytes, len, store_id, &h);

	if (r < 0)
		return r;
	if (h.entries_digest != XXH3_64bits(bytes + HEADER, len - HEADER))
		return damaged("the checksum of its entries does not match");
	if (memcmp(h.image_digest, image->bytes, sizeof(h.image_digest)) != 0 ||
	    h.pages != pages)
		return err_set(
			-ESTALE,
			"the working set was recorded for another image");
	w.pages = h.pages;
	w.count = h.count;
	r = copy_entries(bytes + HEADER, &w);
	if (r < 0)
		return r;
	*ret_set = w;
	w = (struct workingset){0};
	return 0;
}

/* A merge under way: its entries, and where each page of them stands. */
struct merge {
	struct workingset *set;
	struct pageset *places;
};

static void add_entry(struct merge *m, uint64_t page, uint32_t score)
{
	struct workingset *w = m->set;

	if (page >= w->pages ||
	    !pageset_add(m->places, page, (uint32_t)w->count))
		return;
	w->entries[w->count++] = (struct pager_workingset_entry){
		.page = page,
		.score = score,
	};
}

static void add_old(struct merge *m, const struct workingset *old)
{
	for (size_t i = 0; i < old->count; i++) {
		const struct pager_workingset_entry *e = &old->entries[i];
		uint32_t half = e->score / 2, sum;
		const uint32_t *number = pageset_find(m->places, e->page);

		if (number) {
			sum = half + WORKINGSET_SCORE_NEW;
			m->set->entries[*number].score =
				sum < PAGER_WORKINGSET_SCORE_MAX
					? sum
					: PAGER_WORKINGSET_SCORE_MAX;
		} else if (half >= WORKINGSET_SCORE_MIN) {
			add_entry(m, e->page, half);
		}
	}
}

/* Keeps the `most` entries of the highest scores, in their order. */
static void cut(struct workingset *w, size_t most)
{
	size_t by_score[PAGER_WORKINGSET_SCORE_MAX + 1] = {0};
	size_t room = most, kept = 0;
	uint32_t least = PAGER_WORKINGSET_SCORE_MAX;

	for (size_t i = 0; i < w->count; i++)
		by_score[w->entries[i].score]++;
	while (least > 0 && by_score[least] <= room)
		room -= by_score[least--];
	for (size_t i = 0; i < w->count; i++) {
		uint32_t score = w->entries[i].score;

		if (score < least || (score == least && room == 0))
			continue;
		room -= score == least;
		w->entries[kept++] = w->entries[i];
	}
	w->count = kept;
}

int workingset_merge(const struct workingset *old, const uint64_t *touched,
		     size_t count, size_t most, struct workingset *ret_set)
{
	struct workingset w cleanup(workingset_release) = {
		.image = old->image,
		.pages = old->pages,
	};
	struct pageset places cleanup(pageset_release) = {0};
	struct merge m = {.set = &w, .places = &places};
	int r = pageset_init(&places, old->count + count);

	w.entries = calloc(old->count + count + 1, ENTRY);
	if (r < 0 || !w.entries)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		add_entry(&m, touched[i], WORKINGSET_SCORE_NEW);
	add_old(&m, old);
	if (w.count > most)
		cut(&w, most);
	*ret_set = w;
	w = (struct workingset){0};
	return 0;
}
