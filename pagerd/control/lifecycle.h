/*
 * From "ready" to the end of the daemon: signals, what systemd is told, and
 * the wait for VMs.
 *
 *   running --SIGTERM, SIGINT--> ending --no session is left--> over
 *      |________SIGQUIT________> forced --no session is left--> over
 *
 * ending: new sessions are refused, those without a VM are closed, the others
 * are waited for: a VM's memory would read as zero if we left it alone.
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
 * Says ready, and returns when no session is left and none can come. 0, or
 * what signalfd(2) or poll(2) said.
 */
int lifecycle_run(struct daemon *d);
