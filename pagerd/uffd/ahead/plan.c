#include "pagerd/uffd/ahead/plan.h"

#include <stdlib.h>

/* Pieces by their page: open addressing, at most half full. */
struct places {
	uint32_t *pieces; /* + 1, so that 0 is a free place */
	size_t room;	  /* a power of two */
};

static uint32_t *place_of(const struct places *at, const struct plan *p,
			  uint64_t page)
{
	size_t i = (size_t)(page * UINT64_C(0x9e3779b97f4a7c15) >> 20);

	for (i &= at->room - 1; at->pieces[i]; i = (i + 1) & (at->room - 1))
		if (p->pieces[at->pieces[i] - 1].page == page)
			break;
	return &at->pieces[i];
}

static void add_page(struct plan *p, const struct places *places, uint64_t page)
{
	uint64_t first = page - page % PLAN_PIECE_PAGES;
	uint32_t *place = place_of(places, p, first);

	if (!*place) {
		p->pieces[p->count].page = first;
		*place = (uint32_t)++p->count;
	}
	p->pieces[*place - 1].mask |= (uint16_t)(1u << (page - first));
	p->pages++;
}

struct plan *plan_new(const struct workingset *set)
{
	struct plan *p = calloc(1, sizeof(*p));
	struct places places = {.room = 64};

	while (places.room < 2 * set->count)
		places.room *= 2;
	places.pieces = calloc(places.room, sizeof(*places.pieces));
	if (p)
		p->pieces = calloc(set->count + 1, sizeof(*p->pieces));
	if (!p || !places.pieces || !p->pieces) {
		free(places.pieces);
		plan_free(p);
		return NULL;
	}
	for (size_t i = 0; i < set->count; i++)
		add_page(p, &places, set->entries[i].page);
	free(places.pieces);
	return p;
}

void plan_free(struct plan *p)
{
	if (!p)
		return;
	free(p->pieces);
	free(p);
}
