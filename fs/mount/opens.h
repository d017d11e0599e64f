/*
 * What the kernel holds open in a mount: files and folders. Kept in a list,
 * because a mount can end while they are open, and their leases must end with
 * it.
 */
#pragma once

#include <stdbool.h>

#include "fs/base/list.h"
#include "fs/base/lock.h"
#include "fs/mount/handle.h"
#include "fs/mount/tree/listing.h"

struct opens {
	struct lock lock;      /* innermost */
	struct list_node list; /* protected by lock */
	unsigned int files;    /* likewise: those in it or about to be */
	unsigned int most;     /* of these; constant */
};

/* An open file, or an open folder. */
struct opened {
	struct handle *handle; /* of a file, else NULL */
	/* Of a folder: what it held when it was opened or rewound. */
	struct listing listing;
	bool begun;	       /* somebody has read it from the start */
	struct list_node node; /* protected by the lock of opens */
};

/* For at most so many files at a time; 0: any number. */
void opens_init(struct opens *o, unsigned int most);

/* Closes what is left; no thread may use it any more. */
void opens_release(struct opens *o);

/* -ENFILE: as many as may be; -EISDIR, -ELOOP or what opening gave. */
int opens_file(struct opens *o, struct tree *t, const struct node *n,
	       struct opened **ret_opened);
int opens_folder(struct opens *o, struct tree *t, const struct node *n,
		 struct opened **ret_opened);
void opens_close(struct opens *o, struct opened *opened);
