/*
 * A heap of cursors, the one with the least entry on top. A run's cursor
 * walks its mapping; a pack's reads its digest table a piece at a time. That
 * each cursor ascends is checked here, since a run's entries have no
 * checksum; with it the output ascends.
 */
#include "fs/store/index/merge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/store/pack/digests.h"

#define READ_AT_ONCE 1024u

struct cursor {
	struct run *run;		   /* this */
	struct pack *pack;		   /* or this */
	struct pager_digest_entry *buffer; /* of a pack: READ_AT_ONCE */
	uint64_t at;			   /* of the present entry */
	uint64_t end;
	const struct pager_digest_entry *entry; /* the present one */
};

struct merge {
	struct cursor *cursors; /* a heap once merging */
	unsigned int count;
	unsigned int inputs;
	uint64_t *packs; /* covered by any input, with repetitions */
	uint64_t pack_count;
	struct pager_digest_entry last; /* given out last */
	bool started;
};

struct merge *merge_new(void)
{
	return calloc(1, sizeof(struct merge));
}

static void release_cursor(struct cursor *c)
{
	run_unref(c->run);
	pack_unref(c->pack);
	free(c->buffer);
}

void merge_free(struct merge *m)
{
	if (!m)
		return;
	for (unsigned int i = 0; i < m->count; i++)
		release_cursor(&m->cursors[i]);
	free(m->cursors);
	free(m->packs);
	free(m);
}

unsigned int merge_inputs(const struct merge *m)
{
	return m->inputs;
}

static int add_packs(struct merge *m, const uint64_t *packs, uint64_t count)
{
	uint64_t *grown;

	if (count == 0)
		return 0;
	grown = reallocarray(m->packs, m->pack_count + count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memcpy(grown + m->pack_count, packs, count * sizeof(*packs));
	m->packs = grown;
	m->pack_count += count;
	return 0;
}

/* The entry at `at` becomes the present one. */
static int look(struct cursor *c)
{
	uint64_t n = c->at % READ_AT_ONCE;
	int r = 0;

	if (c->run) {
		c->entry = run_entry(c->run, c->at);
		return 0;
	}
	if (n == 0) {
		uint64_t left = c->end - c->at;

		r = pack_read_digests(c->pack, c->at,
				      left < READ_AT_ONCE ? left : READ_AT_ONCE,
				      c->buffer);
	}
	c->entry = &c->buffer[n];
	return r;
}

/* Takes `c`'s contents over in any case. */
static int add_cursor(struct merge *m, struct cursor *c)
{
	struct cursor *grown =
		reallocarray(m->cursors, m->count + 1, sizeof(*grown));
	int r = -ENOMEM;

	if (grown) {
		m->cursors = grown;
		r = c->at < c->end ? look(c) : 0;
	}
	m->inputs += r == 0;
	if (r < 0 || c->at == c->end)
		release_cursor(c);
	else
		m->cursors[m->count++] = *c;
	return r;
}

int merge_add_run(struct merge *m, struct run *run)
{
	struct cursor c = {.end = run_entries(run)};
	const uint64_t *packs;
	uint64_t count = run_packs(run, &packs);
	int r = add_packs(m, packs, count);

	if (r < 0)
		return r;
	c.run = run_ref(run);
	return add_cursor(m, &c);
}

int merge_add_pack(struct merge *m, struct pack *pack)
{
	struct cursor c = {.end = pack_digests(pack)};
	uint64_t number = pack_number(pack);
	int r;

	c.buffer = malloc(READ_AT_ONCE * sizeof(*c.buffer));
	if (!c.buffer)
		return -ENOMEM;
	r = add_packs(m, &number, 1);
	if (r < 0) {
		free(c.buffer);
		return r;
	}
	c.pack = pack_ref(pack);
	return add_cursor(m, &c);
}

static bool below(const struct merge *m, unsigned int a, unsigned int b)
{
	return digests_compare(m->cursors[a].entry, m->cursors[b].entry) < 0;
}

static void sift_down(struct merge *m, unsigned int i)
{
	for (;;) {
		unsigned int least = i, left = 2 * i + 1, right = left + 1;
		struct cursor c;

		if (left < m->count && below(m, left, least))
			least = left;
		if (right < m->count && below(m, right, least))
			least = right;
		if (least == i)
			return;
		c = m->cursors[i];
		m->cursors[i] = m->cursors[least];
		m->cursors[least] = c;
		i = least;
	}
}

/* Moves the top one on; it leaves the heap at its end. */
static int advance_top(struct merge *m)
{
	struct cursor *c = &m->cursors[0];
	struct pager_digest_entry before = *c->entry;
	int r;

	c->at++;
	if (c->at == c->end) {
		release_cursor(c);
		*c = m->cursors[--m->count];
	} else {
		r = look(c);
		if (r < 0)
			return r;
		if (digests_compare(&before, c->entry) >= 0)
			return err_set(-EBADMSG, "%s: entries out of order",
				       c->run ? run_name(c->run) : "a pack");
	}
	sift_down(m, 0);
	return 0;
}

/* A run_next_fn. */
static int next_entry(void *arg, struct pager_digest_entry *ret_entry)
{
	struct merge *m = arg;
	int r;

	while (m->count) {
		struct pager_digest_entry e = *m->cursors[0].entry;

		r = advance_top(m);
		if (r < 0)
			return r;
		if (m->started && digests_compare(&m->last, &e) == 0)
			continue;
		m->started = true;
		m->last = e;
		*ret_entry = e;
		return 1;
	}
	return 0;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void sort_packs(struct merge *m)
{
	uint64_t kept = 0;

	if (m->pack_count == 0)
		return;
	qsort(m->packs, m->pack_count, sizeof(*m->packs), compare_numbers);
	for (uint64_t i = 1; i < m->pack_count; i++)
		if (m->packs[i] != m->packs[kept])
			m->packs[++kept] = m->packs[i];
	m->pack_count = kept + 1;
}

int merge_write(struct merge *m, struct store *s)
{
	struct run_recipe recipe = {.next = next_entry, .arg = m};
	char name[RUN_NAME_MAX];

	sort_packs(m);
	recipe.packs = m->packs;
	recipe.pack_count = m->pack_count;
	for (unsigned int i = m->count / 2; i-- > 0;)
		sift_down(m, i);
	return run_write(s, &recipe, name);
}
