/*
 * Snapshots that are out of sight and still read: their manifests, in the
 * store's folder `removed`, which is made with the first one. Garbage
 * collection has to mark through them as through the others.
 *
 * Whoever drops the last lease of one unlinks it. Where that does not happen,
 * because the holder was killed or may not write, the next sweep does: one
 * comes with each removal, publish and start of a daemon.
 *
 * All calls are safe from any thread and block.
 */
#pragma once

#include "fs/store/store.h"

#define REMOVED_FOLDER "removed"

/*
 * Takes a snapshot out of sight, durably. The caller has its LEASE_NAME, so
 * the name stays what it is.
 */
int removed_put(struct store *s, const char *name);

/*
 * Unlinks what nobody leases any more. Best effort: whatever fails stays.
 * Leaves err_text() alone.
 */
void removed_sweep(struct store *s);
