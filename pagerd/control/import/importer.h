/*
 * From the path of a memory file, as clients of the pager before this one
 * name an image, to a snapshot:
 *
 * 1. MOUNT/snapshots/NAME/memory, where MOUNT is a mount of the daemon's store
 *    that the daemon sees: NAME. Told by the path's text and the list of
 *    mounts; the mount is not touched, which might be our own.
 * 2. A file that was published and has not changed since: that snapshot; see
 *    fs/store/origin/origin.h. The file is looked at, wherever it lies, but
 *    not opened.
 * 3. A file below a folder that the operator allows: it is published, as
 *    "import-DEVICE-INODE-SIZE-MTIME", with its path as the label "path".
 *
 * One import runs at a time; a second one of the same file finds the first
 * one's snapshot.
 */
#pragma once

#include "fs/io/confine.h"
#include "fs/store/store.h"
#include "pager/manifest.h"

struct importer;
struct publish_options;
struct publish_result;

/* Both are borrowed for its life. The store is opened anew to be written. */
int importer_new(struct store *store, const struct confine *allowed,
		 struct importer **ret_importer);
void importer_free(struct importer *im); /* accepts NULL; nobody is in it */

/*
 * Takes as long as a publish may. -ENOENT: none of the three; -EINVAL: no
 * absolute path; -ECANCELED; else what publish() or store_open() gave. Any
 * thread.
 */
int importer_resolve(struct importer *im, const char *path,
		     char ret_name[PAGER_NAME_MAX + 1]);

/*
 * Publishes for a client. `options` is as for publish(), but its files are
 * opened within the allowed folders, and how it runs is for us to say. Errors
 * of confine_open(), publish() and store_open(); -ECANCELED. Any thread.
 */
int importer_publish(struct importer *im, const struct publish_options *options,
		     struct publish_result *ret_result);

/* For good: imports that run or come end soon. */
void importer_cancel(struct importer *im);
