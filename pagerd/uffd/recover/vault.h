/*
 * Where copies of descriptors outlive the daemon: systemd's FDSTORE where we
 * are a unit, else the holder. A session's userfaultfd goes by its id, its
 * listening socket by "@" and its id: a VMM that connects while no daemon
 * runs is not refused, and what it says waits. A connection whose handshake
 * is under way goes by "+" and the id, its lease of the snapshot by "=" and
 * the id: nobody removes that between two daemons. From any thread, but for
 * vault_open().
 */
#pragma once

#include <stdbool.h>

#include "pagerd/uffd/session.h"

#define VAULT_NAME_MAX	 (SESSION_ID_MAX + 1)
#define VAULT_LISTENER	 '@'
#define VAULT_CONNECTION '+'
#define VAULT_LEASE	 '='

struct vault;

void vault_name(char kind, const char *id, char ret_name[VAULT_NAME_MAX + 1]);

/*
 * Finds out what a daemon before us has kept. To be called once a process and
 * before it has other threads. -ENOMEM. Where nothing can be kept, that is a
 * warning in the log: the VMMs' own copies remain. `sandbox` is for the holder,
 * where we make one: see sandbox/sandbox.h.
 */
int vault_open(const char *runtime, bool sandbox, struct vault **ret_vault);

/* What is kept stays so. Accepts NULL, as all calls below. */
void vault_close(struct vault *v);

/* What was kept under that name, once; the caller's to close. -1: nothing. */
int vault_take(struct vault *v, const char *name);

/* After the last vault_take(): what nobody took is let go. */
void vault_settle(struct vault *v);

/* Keeps a copy. A failure is logged once. */
void vault_keep(struct vault *v, const char *name, int fd);
void vault_drop(struct vault *v, const char *name);

/*
 * As accept4(2), close-on-exec and non-blocking, at a session's listening
 * socket, which was kept. `ret_kept` tells whether the connection is kept
 * beside us. By the holder it is at no instant in our hands alone; by systemd
 * it is until a message has left us, which is the next system call.
 */
int vault_accept(struct vault *v, const char *id, int listener, bool *ret_kept);

/*
 * Whether what vault_keep() was given is certain to outlive us. systemd says
 * so by $FDSTORE from version 254 on; an older one may have thrown it away.
 */
bool vault_is_certain(struct vault *v);
