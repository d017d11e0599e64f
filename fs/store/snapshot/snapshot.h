/*
 * Snapshots of a store by name: list, open with a lease, commit, remove.
 *
 * An open snapshot holds a lease (lease/lease.h), which dies with the process.
 * While a mount, a session or an export reads a snapshot it is not removed, or
 * only taken out of sight.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/base/cleanup.h"
#include "fs/store/snapshot/manifest.h"
#include "fs/store/store.h"

struct snapshot;

/* -ENOENT: no such snapshot; -EBADMSG: damaged manifest. */
int snapshot_open(struct store *s, const char *name,
		  struct snapshot **ret_snapshot);

/*
 * The same for who will ask for it by this name once more, as a session does
 * after the daemon's death: it keeps its name meanwhile.
 */
int snapshot_open_lasting(struct store *s, const char *name,
			  struct snapshot **ret_snapshot);
struct snapshot *snapshot_ref(struct snapshot *snap);
void snapshot_unref(struct snapshot *snap); /* accepts NULL; drops the lease */
DEFINE_CLEANUP(snapshot, struct snapshot *, snapshot_unref)

const char *snapshot_name(const struct snapshot *snap);
const struct manifest *snapshot_manifest(const struct snapshot *snap);
struct store *snapshot_store(const struct snapshot *snap);

/*
 * What holds the lease, for a copy that is to outlive this process. The lease
 * ends with the snapshot's last reference all the same.
 */
int snapshot_lease_fd(const struct snapshot *snap);

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

/*
 * -EBUSY while leased, with a line that says by whom; -ENOENT. The blocks stay
 * until garbage collection.
 */
int snapshot_remove(struct store *s, const char *name);

/*
 * The same, but one that is only read leaves its name at once, and is gone
 * with its last reader: *ret_read tells that there are some. -EBUSY where
 * somebody needs the name.
 */
int snapshot_remove_when_unused(struct store *s, const char *name,
				bool *ret_read);

/*
 * -ENOTUNIQ: `to` is taken; -EBUSY: somebody needs the name `from`. Who reads
 * the snapshot goes on. Parents are noted by name: those that its children
 * have stay as they were.
 */
int snapshot_rename(struct store *s, const char *from, const char *to);

/* Names, sorted bytewise. The caller frees with snapshot_names_free(). */
int snapshot_list(struct store *s, char ***ret_names, size_t *ret_count);
void snapshot_names_free(char **names, size_t count);
