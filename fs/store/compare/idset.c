#include "fs/store/compare/idset.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_LEAST 64u

void idset_release(struct idset *set)
{
	free(set->ids);
	*set = (struct idset){0};
}

/* The place of `id`, or the vacant one where it belongs. */
static size_t place_of(const struct idset *set, uint64_t id)
{
	size_t at = (id * UINT64_C(0x9e3779b97f4a7c15)) >> 20;

	for (at &= set->room - 1; set->ids[at] && set->ids[at] != id;
	     at = (at + 1) & (set->room - 1))
		;
	return at;
}

static int grow(struct idset *set)
{
	struct idset grown = {.room = set->room ? 2 * set->room : ROOM_LEAST,
			      .count = set->count};

	grown.ids = calloc(grown.room, sizeof(*grown.ids));
	if (!grown.ids)
		return -ENOMEM;
	for (size_t i = 0; i < set->room; i++)
		if (set->ids[i])
			grown.ids[place_of(&grown, set->ids[i])] = set->ids[i];
	idset_release(set);
	*set = grown;
	return 0;
}

int idset_add(struct idset *set, uint64_t id)
{
	size_t at;
	int r = 2 * (set->count + 1) > set->room ? grow(set) : 0;

	if (r < 0)
		return r;
	at = place_of(set, id);
	if (set->ids[at])
		return 0;
	set->ids[at] = id;
	set->count++;
	return 1;
}
