/*
 * Which snapshot has an image of that digest: for digests/ of the mount. Of
 * several with equal images, the first by name.
 *
 * All calls are safe from any thread; one that finds the store changed reads
 * the manifests that are new, and the others wait for it.
 */
#pragma once

#include <stddef.h>

#include "fs/mount/view/snaps.h"

struct digests;

/* -ENOMEM. `view` and `snaps` are borrowed. */
int digests_new(const struct view *view, struct snaps *snaps,
		struct digests **ret_digests);
void digests_free(struct digests *d); /* accepts NULL */

/* The name, which the caller frees; -ENOENT. */
int digests_find(struct digests *d, const struct pager_digest *digest,
		 char **ret_name);

/* Every digest once, sorted; the caller frees. */
int digests_list(struct digests *d, struct pager_digest **ret_digests,
		 size_t *ret_count);
