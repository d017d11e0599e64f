/*
 * The store as a mount of the daemon: the tree of fs/mount, through the store,
 * the block index and the cache that VMs are served from, with the daemon's
 * figures in .pager.
 *
 * No VM waits for a reader of the mount:
 * - The mount has threads of its own, few of them, and they are less urgent
 *   than the workers. Not much less: a fault may meet a block that one of
 *   them is reading just now, and waits for that.
 * - They never take the slots of the cache that are kept back for faults
 *   (shard.h), and what they read passes through the cache's scan queue.
 * - Files that are open in it take no more than a part of the descriptors.
 *
 * A mount that somebody ends, or aborts, is gone until the daemon starts
 * again; sessions do not notice.
 *
 * All calls but those that the mount's threads make are of one thread at a
 * time.
 */
#pragma once

#include <stdbool.h>

struct daemon;
struct daemonmount;

/*
 * Mounts, and answers from then on. `d` is borrowed; what it is made of is
 * there already. What mount_new() says.
 */
int daemonmount_new(struct daemon *d, const char *path,
		    struct daemonmount **ret_mount);

/* Readable when daemonmount_note() is due; -1 where there is no mount. */
int daemonmount_fd(const struct daemonmount *m);
void daemonmount_note(struct daemonmount *m);

/* For the end of the process: off its path, no thread waited for. */
void daemonmount_leave(struct daemonmount *m); /* accepts NULL */
void daemonmount_free(struct daemonmount *m);  /* accepts NULL */
