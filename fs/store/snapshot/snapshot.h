/*
 * Snapshots of a store by name: list, open with a lease, commit, remove.
 *
 * An open snapshot holds a lease: a shared OFD lock on its manifest, which
 * dies with the process. Removal takes it exclusively, so it fails with
 * -EBUSY while a mount, a session or an export reads the snapshot.
 */
#pragma once

#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/store/snapshot/manifest.h"
#include "fs/store/store.h"

struct snapshot;

/* -ENOENT: no such snapshot; -EBADMSG: damaged manifest. */
int snapshot_open(struct store *s, const char *name,
		  struct snapshot **ret_snapshot);
struct snapshot *snapshot_ref(struct snapshot *snap);
void snapshot_unref(struct snapshot *snap); /* accepts NULL; drops the lease */
DEFINE_CLEANUP(snapshot, struct snapshot *, snapshot_unref)

const char *snapshot_name(const struct snapshot *snap);
const struct manifest *snapshot_manifest(const struct snapshot *snap);
struct store *snapshot_store(const struct snapshot *snap);

/*
 * 0 where a snapshot of that name could be committed now; -EINVAL a bad name,
 * -ENOTUNIQ a taken one.
 */
int snapshot_check_free(struct store *s, const char *name);

/*
 * The commit of a publish: writes the manifest to tmp/, fsyncs, renames it
 * without replacing, fsyncs the folder. -ENOTUNIQ where the name is taken.
 * Every block that the manifest reaches must be durable before.
 * After any failure the name is free again.
 */
int snapshot_commit(struct store *s, const char *name,
		    const struct manifest *m);

/* -EBUSY while leased, -ENOENT. The blocks stay until garbage collection. */
int snapshot_remove(struct store *s, const char *name);

/* Names, sorted bytewise. The caller frees with snapshot_names_free(). */
int snapshot_list(struct store *s, char ***ret_names, size_t *ret_count);
void snapshot_names_free(char **names, size_t count);
