/*
 * From "ready" to the end of the daemon: signals, what systemd is told, and
 * the wait for VMs.
 *
 *   running --SIGTERM, SIGINT--> ending --all may be left--> over
 *      |________SIGQUIT________> forced --no session is left--> over
 *
 * ending: new sessions and new VMs are refused, and all sessions are left to
 * the daemon that comes after us, as soon as that is possible for each: where
 * ours is the last copy of a userfaultfd, its VM is waited for, because its
 * memory would read as zero if we left it alone.
 * Where the daemon is to exit when drained, it does so from running too.
 * forced: each session is closed by its policy. One whose VM cannot be ended
 * is waited for all the same.
 */
#pragma once

#include "pagerd/control/daemon.h"

/*
 * Blocks the signals that lifecycle_run() answers, for the calling thread and
 * those it starts; to be called while there is no other one.
 */
void lifecycle_block_signals(void);

/*
 * Says ready, and returns when no session is left and none can come: 0. 1
 * where all are left to the daemon after us: daemon_leave() is to follow. Or
 * what signalfd(2) or poll(2) said.
 */
int lifecycle_run(struct daemon *d);
