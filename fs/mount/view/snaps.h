/*
 * The snapshots of a store as a mount shows them: manifests by name, kept
 * while somebody refers to them and read anew when the name has become
 * another file. They hold no lease, so a snapshot that was only looked at can
 * be removed; whoever reads its pages opens it (read/image.h).
 *
 * All calls are safe from any thread.
 */
#pragma once

#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/mount/view/view.h"
#include "fs/store/snapshot/manifest.h"

struct snaps;

/* One published snapshot. Constant, and alive while referenced. */
struct snap {
	char *name;
	struct manifest manifest;
	/*
	 * Of name, time of publishing and content, with the store's secret:
	 * the same for the same snapshot in every mount of the store.
	 */
	uint8_t identity[16];
};

/* -ENOMEM. `view` is borrowed. */
int snaps_new(const struct view *view, struct snaps **ret_snaps);
void snaps_free(struct snaps *s); /* accepts NULL; no snap may be left */

/*
 * The snapshot that has this name now. -ENOENT; -EBADMSG or -ENOTSUP as
 * manifest_decode() has it; -EIO and the like.
 */
int snaps_get(struct snaps *s, const char *name, struct snap **ret_snap);

struct snap *snap_ref(struct snap *snap);
void snap_unref(struct snap *snap); /* accepts NULL */
DEFINE_CLEANUP(snap, struct snap *, snap_unref)
