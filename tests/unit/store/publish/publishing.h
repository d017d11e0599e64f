/* A private store, an image file beside it, and publishes into the one. */
#pragma once

#include "fs/store/publish/publish.h"
#include "tests/unit/store/scratch.h"

#define PAGE ((size_t)PAGER_PAGE_SIZE)
#define UNIT (512 * PAGE) /* what one leaf node maps */

struct publishing {
	char folder[SCRATCH_PATH_MAX];
	char path[2 * SCRATCH_PATH_MAX]; /* of the store */
	char file[2 * SCRATCH_PATH_MAX]; /* the image, not made yet */
	struct store *store;		 /* open for writing */
	struct publish_result result;	 /* of the last publish that worked */
};

/* The running test's own. */
extern struct publishing t;

int publishing_setup(void **state);
int publishing_teardown(void **state);

/* Another store in the same folder takes the store's place. */
void publishing_store(const char *name, const uint8_t *secret);

/* Publishes t.file as NAME; to be changed at will. */
struct publish_options publishing_options(const char *name);

/* Fails the test unless the publish works. */
void publishing_good(const struct publish_options *o);

/*
 * Fails the test unless the publish, of the name "bad", fails with `code` and
 * `line` (NULL: any) and leaves nothing behind.
 */
void publishing_bad(const struct publish_options *o, int code,
		    const char *line);

unsigned int publishing_packs(void);
