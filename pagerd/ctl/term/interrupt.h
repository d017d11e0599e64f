/*
 * Ctrl-C and friends during work that is to end cleanly: the first SIGINT,
 * SIGTERM or SIGHUP sets a flag, which the work looks at; a second one has
 * its ordinary effect.
 */
#pragma once

/* Begins to watch; returns the flag, to be given to the work. */
const volatile int *interrupt_watch(void);

/* The exit status of a program that a signal ended; 0: none came. */
int interrupt_status(void);
