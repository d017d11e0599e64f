/*
 * What a daemon must know of a session to take it over from a dead one:
 * RUNTIME/sessions/ID.journal; pager/RUNTIME.md gives its bytes.
 *
 * A file is replaced as a whole by rename(2). It need not outlive the
 * machine, whose end is that of its VMs too, so nothing is synced; "boot"
 * tells a file that was left from before.
 *
 * VERSION is raised for what an older daemon must not misread. A daemon that
 * finds a newer version leaves all that the session has alone.
 */
#pragma once

#include <stdbool.h>

#include "pager/block.h"
#include "pagerd/uffd/memory/regions.h"
#include "pagerd/uffd/session.h"

#define JOURNAL_VERSION	   1u
#define JOURNAL_SUFFIX	   ".journal"
#define JOURNAL_SUFFIX_NEW ".journal.new" /* while it is written */
#define JOURNAL_MAX	   (1u << 20)	  /* bytes of a file */

struct journal {
	char *id, *snapshot;
	struct pager_digest image;
	enum session_policy policy;
	uid_t uid;
	gid_t gid;
	bool overlays;	/* ID.overlay belongs to it */
	bool same_boot; /* read: the machine has not been started since */

	/* Of the VM; where it is not served yet, the session listens. */
	bool served;
	pid_t vmm_pid;	    /* 0: not visible from here */
	uint64_t vmm_start; /* clock ticks after boot, as /proc/PID/stat says */
	uid_t peer_uid;
	int uffd_number; /* in the VMM; -1: it was not found there */
	struct region *regions;
	size_t region_count;
};

void journal_release(struct journal *j);

/* Makes or replaces the file at `path`. -ENOSPC, -EIO, -ENOMEM. */
int journal_write(const char *path, const struct journal *j);

/*
 * -ENOTSUP a newer format, -EBADMSG not whole or not ours, -ENOENT, -ENOMEM.
 * The caller releases.
 */
int journal_read(const char *path, struct journal *ret_journal);

/* The same of a file's bytes; `path` is for the error's text. */
int journal_decode(const char *path, const uint8_t *file, size_t len,
		   struct journal *ret_journal);
