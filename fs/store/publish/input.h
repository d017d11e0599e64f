/*
 * A file that is being published, cut into units of 512 pages: what one leaf
 * node maps. A regular file is read in parallel, and its holes are skipped; a
 * pipe is read in order until it ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/store/origin/origin.h"
#include "fs/store/publish/publish.h"
#include "pager/pagetable.h"

#define INPUT_UNIT_PAGES PAGER_NODE_ENTRIES
#define INPUT_UNIT_SIZE	 (INPUT_UNIT_PAGES * (size_t)PAGER_PAGE_SIZE)

struct input;

struct input_unit {
	uint8_t *data; /* INPUT_UNIT_SIZE bytes, the caller's */

	/* Filled by input_next(). */
	uint64_t ticket;    /* 0, 1, 2 ... in the order of the file */
	uint64_t number;    /* of the unit; whole holes are left out */
	unsigned int pages; /* 1..512; the last one is padded with zeros */
};

/*
 * -ENOENT, -EACCES and so on of open(2); -EINVAL where it is no regular file
 * and no pipe; -EFBIG. Opening a named pipe waits for its writer. `file` and
 * `cancelled` are borrowed for the input's life.
 */
int input_open(const struct publish_file *file, const volatile int *cancelled,
	       struct input **ret_input);
void input_free(struct input *in); /* accepts NULL */
DEFINE_CLEANUP(input, struct input *, input_free)

/* Exact bytes: of a pipe as many as have been read. */
uint64_t input_size(struct input *in);
bool input_is_pipe(const struct input *in);

/* Which file it is, as it stands now; see origin.h. -EINVAL: a pipe. */
int input_origin(const struct input *in, struct manifest_origin *ret_origin);

/*
 * Reads the next unit that is no hole: 1; 0 at the end. -ENODATA where the
 * file has become shorter than it was, -ECANCELED, or what read(2) says. Any
 * thread.
 */
int input_next(struct input *in, struct input_unit *unit);
