/* A set of block ids, for a walk that is to see each node once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct idset {
	uint64_t *ids; /* owned; hashed openly, 0: vacant */
	size_t room;   /* a power of two, at least twice `count` */
	size_t count;
};

/* Begins as {0}. */
void idset_release(struct idset *set);

/* 1: it was not there and is now; 0: it was; -ENOMEM. `id` is not 0. */
int idset_add(struct idset *set, uint64_t id);
