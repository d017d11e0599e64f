/*
 * Leases: OFD locks on a snapshot's manifest, so they follow the file, not the
 * name, and die with their holder.
 *
 *   byte 0   whoever reads the snapshot holds it shared
 *   byte 1   so does whoever will ask for it by its name again
 *   all      held exclusively by who removes the file
 *
 * A lease is held by the open file, not by a process: a copy of the fd that
 * another process keeps holds it on.
 *
 * To rename a snapshot, or take it out of sight, needs byte 1 alone: who reads
 * goes on.
 */
#pragma once

#include "fs/store/store.h"

enum lease {
	LEASE_READ,    /* byte 0, shared */
	LEASE_LASTING, /* bytes 0 and 1, shared */
	LEASE_NAME,    /* byte 1, exclusive */
	LEASE_ALL,     /* the whole file, exclusive */
};

/*
 * Opens the manifest of that name and takes the lease: its fd, to close. A
 * shared one waits for a removal that is under way, an exclusive one is -EBUSY
 * while another stands against it. -ENOENT: no such snapshot.
 */
int lease_open(struct store *s, const char *name, enum lease kind);

/* Takes a further one on an fd that is open, without waiting: -EBUSY. */
int lease_take(int fd, enum lease kind);

/*
 * Drops what is held through this fd, and through every copy of it in any
 * process, and closes it. Closing alone drops nothing while there is a copy.
 */
void lease_drop(int fd);

/* 1: `name` in `folder` is this file; 0: it is none or another by now. */
int lease_still_named(int folder, const char *name, int fd);
