#include "tests/bench/cache/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/cache/cache.h"
#include "fs/cache/shard/hash.h"
#include "fs/io/file.h"
#include "pager/trace.h"

/* Blocks; a template's image holds its working set. */
#define COMMON	     2000u /* touched by every guest */
#define TEMPLATES    48u
#define IMAGE	     8192u
#define WORKING_SET  1500u
#define CLONES	     24u /* of each template */
#define TAIL	     250u
#define TOUCH_TENTHS 9u /* of common and working set, that one restore does */
#define PARALLEL     8u

#define FILE_MAX (UINT64_C(1) << 30)

#define FIRST_IMAGE COMMON
#define FIRST_TAIL  (FIRST_IMAGE + TEMPLATES * IMAGE)
#define FLEET_ITEMS (FIRST_TAIL + TEMPLATES * CLONES * TAIL)
#define RESTORE_MAX (COMMON + WORKING_SET + TAIL)

struct maker {
	uint64_t seed;
	double templates[TEMPLATES], clones[CLONES]; /* cumulated shares */
	uint32_t sessions;
	struct trace trace;
};

struct restore {
	uint32_t items[RESTORE_MAX];
	uint32_t count, next, session;
};

void trace_release(struct trace *t)
{
	free(t->lookups);
	*t = (struct trace){0};
}

static int add(struct trace *t, uint32_t item, enum cache_class class,
	       uint32_t session)
{
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 1u << 16;
		void *grown =
			reallocarray(t->lookups, room, sizeof(*t->lookups));

		if (!grown)
			return err_set(-ENOMEM, "no memory for a trace");
		t->lookups = grown;
		t->room = room;
	}
	t->lookups[t->count++] = (struct trace_lookup){
		.item = item,
		.class = class & 0xff,
		.session = session & 0xffffff,
	};
	return 0;
}

static uint32_t draw(struct maker *m, uint32_t range)
{
	m->seed = m->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)((m->seed >> 33) * range >> 31);
}

static void fill_zipf(double *shares, uint32_t count)
{
	double sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += 1.0 / (i + 1);
	for (uint32_t i = 0; i < count; i++)
		shares[i] = (i ? shares[i - 1] : 0) + 1.0 / (i + 1) / sum;
}

static uint32_t draw_zipf(struct maker *m, const double *shares, uint32_t count)
{
	double x = draw(m, 1u << 30) / (double)(1u << 30);
	uint32_t i = 0;

	while (i < count - 1 && shares[i] < x)
		i++;
	return i;
}

static void shuffle(struct maker *m, struct restore *r)
{
	for (uint32_t i = r->count; i > 1; i--) {
		uint32_t k = draw(m, i), item = r->items[k];

		r->items[k] = r->items[i - 1];
		r->items[i - 1] = item;
	}
}

static void touch_most(struct maker *m, struct restore *r, uint32_t first,
		       uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (draw(m, 10) < TOUCH_TENTHS)
			r->items[r->count++] = first + i;
}

static void begin_restore(struct maker *m, struct restore *r, uint32_t template)
{
	uint32_t clone = draw_zipf(m, m->clones, CLONES);
	uint32_t tail = FIRST_TAIL + (template * CLONES + clone) * TAIL;

	r->count = r->next = 0;
	r->session = ++m->sessions;
	touch_most(m, r, 0, COMMON);
	touch_most(m, r, FIRST_IMAGE + template * IMAGE, WORKING_SET);
	for (uint32_t i = 0; i < TAIL; i++)
		r->items[r->count++] = tail + i;
	shuffle(m, r);
}

static int scan_image(struct maker *m)
{
	uint32_t first = FIRST_IMAGE + draw(m, TEMPLATES) * IMAGE;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < IMAGE; i++)
		r = add(&m->trace, first + i, CACHE_MOUNT, 0);
	return r;
}

static void maker_init(struct maker *m, uint64_t seed)
{
	*m = (struct maker){.seed = seed};
	fill_zipf(m->templates, TEMPLATES);
	fill_zipf(m->clones, CLONES);
	m->trace.items = FLEET_ITEMS;
}

/* Which template is restored next; the last one is new half-way, in a burst. */
static uint32_t choose(struct maker *m, unsigned int at, unsigned int restores,
		       bool burst)
{
	uint32_t template = draw_zipf(m, m->templates, TEMPLATES);

	if (!burst)
		return template;
	if (at > restores / 2 && at < restores * 3 / 4 && draw(m, 10) < 8)
		return TEMPLATES - 1;
	return template == TEMPLATES - 1 ? 0 : template;
}

/* One look-up of one of the restores that run at the same time, in turn. */
static int run(struct maker *m, unsigned int restores, unsigned int scans,
	       bool burst)
{
	_cleanup_free_ struct restore *running =
		calloc(PARALLEL, sizeof(*running));
	unsigned int begun = 0, scanned = 0;
	int r = running ? 0 : -ENOMEM;

	while (r == 0 && begun < restores) {
		struct restore *one = &running[draw(m, PARALLEL)];

		if (one->next == one->count) {
			begin_restore(m, one,
				      choose(m, begun, restores, burst));
			begun++;
			if (scans &&
			    begun >= (scanned + 1) * restores / (scans + 1)) {
				scanned++;
				r = scan_image(m);
			}
		}
		if (r == 0)
			r = add(&m->trace, one->items[one->next++], CACHE_FAULT,
				one->session);
	}
	return r;
}

static int hand_over(struct maker *m, int r, struct trace *ret_trace)
{
	if (r < 0)
		trace_release(&m->trace);
	else
		*ret_trace = m->trace;
	return r;
}

int trace_make_fleet(uint64_t seed, unsigned int restores, unsigned int scans,
		     struct trace *ret_trace)
{
	struct maker m;

	maker_init(&m, seed);
	return hand_over(&m, run(&m, restores, scans, false), ret_trace);
}

int trace_make_burst(uint64_t seed, unsigned int restores,
		     struct trace *ret_trace)
{
	struct maker m;

	maker_init(&m, seed);
	return hand_over(&m, run(&m, restores, 0, true), ret_trace);
}

bool trace_is_tail(const struct trace_lookup *l)
{
	return l->item >= FIRST_TAIL;
}

/* From a page of its own on, all around. */
static int restore_in_turn(struct maker *m, uint32_t image)
{
	uint32_t start = draw(m, WORKING_SET);
	int r = 0;

	m->sessions++;
	for (uint32_t i = 0; r == 0 && i < WORKING_SET; i++)
		if (draw(m, 10) < TOUCH_TENTHS)
			r = add(&m->trace,
				image * WORKING_SET + (start + i) % WORKING_SET,
				CACHE_FAULT, m->sessions);
	return r;
}

int trace_make_turns(uint64_t seed, unsigned int images, unsigned int restores,
		     struct trace *ret_trace)
{
	struct maker m;
	int r = 0;

	maker_init(&m, seed);
	m.trace.items = images * WORKING_SET;
	fill_zipf(m.templates, images);
	for (unsigned int i = 0; r == 0 && i < restores; i++)
		r = restore_in_turn(&m, draw_zipf(&m, m.templates, images));
	return hand_over(&m, r, ret_trace);
}

int trace_without_scans(const struct trace *t, struct trace *ret_trace)
{
	struct trace kept = {.items = t->items};
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->count; i++)
		if (t->lookups[i].class != CACHE_MOUNT)
			r = add(&kept, t->lookups[i].item, t->lookups[i].class,
				t->lookups[i].session);
	if (r < 0)
		trace_release(&kept);
	else
		*ret_trace = kept;
	return r;
}

/* Gives dense numbers to block ids: a table, hashed openly. */
struct numbering {
	uint64_t *ids;
	uint32_t *numbers;
	uint32_t size, count;
};

static uint32_t number_of(struct numbering *n, uint64_t id)
{
	uint32_t at = hash_bucket(hash_block(id), n->size);

	while (n->ids[at] && n->ids[at] != id)
		at = at + 1 == n->size ? 0 : at + 1;
	if (!n->ids[at]) {
		n->ids[at] = id;
		n->numbers[at] = n->count++;
	}
	return n->numbers[at];
}

static int add_records(const struct pager_trace_record *records, size_t count,
		       struct trace *t)
{
	struct numbering n = {.size = (uint32_t)(2 * count + 1)};
	int r = 0;

	n.ids = calloc(n.size, sizeof(*n.ids));
	n.numbers = calloc(n.size, sizeof(*n.numbers));
	if (!n.ids || !n.numbers)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < count; i++) {
		const struct pager_trace_record *from = &records[i];

		if (!from->block || from->class >= CACHE_CLASS_COUNT)
			r = err_set(-EBADMSG, "a record that cannot be");
		else
			r = add(t, number_of(&n, from->block),
				(enum cache_class)from->class, from->session);
	}
	t->items = n.count;
	free(n.ids);
	free(n.numbers);
	return r;
}

int trace_read(const char *path, struct trace *ret_trace)
{
	const struct pager_trace_header *header;
	_cleanup_free_ uint8_t *bytes = NULL;
	struct trace t = {0};
	size_t length;
	int r = file_read_all(AT_FDCWD, path, FILE_MAX, &bytes, &length);

	if (r < 0)
		return err_wrap(r, "%s", path);
	header = (const void *)bytes;
	if (length < sizeof(*header) ||
	    memcmp(header->magic, PAGER_TRACE_MAGIC, sizeof(header->magic)) !=
		    0 ||
	    header->version != PAGER_TRACE_VERSION ||
	    header->record_size != sizeof(struct pager_trace_record))
		return err_set(-EBADMSG, "%s: not a fault trace", path);
	r = add_records((const void *)(header + 1),
			(length - sizeof(*header)) /
				sizeof(struct pager_trace_record),
			&t);
	if (r < 0) {
		trace_release(&t);
		return r;
	}
	*ret_trace = t;
	return 0;
}
