/*
 * Where copies of userfaultfds outlive the daemon: systemd's FDSTORE where we
 * are a unit, else the holder. By the session's id. From any thread, but for
 * vault_open().
 */
#pragma once

#include <stdbool.h>

struct vault;

/*
 * Finds out what a daemon before us has kept. To be called once a process and
 * before it has other threads. -ENOMEM. Where nothing can be kept, that is a
 * warning in the log: the VMMs' own copies remain.
 */
int vault_open(const char *runtime, struct vault **ret_vault);

/* What is kept stays so. Accepts NULL, as all calls below. */
void vault_close(struct vault *v);

/* What was kept under that id, once; the caller's to close. -1: nothing. */
int vault_take(struct vault *v, const char *id);

/* After the last vault_take(): what nobody took is let go. */
void vault_settle(struct vault *v);

/* Keeps a copy. A failure is logged once. */
void vault_keep(struct vault *v, const char *id, int uffd);
void vault_drop(struct vault *v, const char *id);

/*
 * Whether what vault_keep() was given is certain to outlive us. systemd says
 * so by $FDSTORE from version 254 on; an older one may have thrown it away.
 */
bool vault_is_certain(struct vault *v);
