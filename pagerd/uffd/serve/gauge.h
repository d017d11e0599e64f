/*
 * A cross-check by the kernel's own books. /proc/self/fdinfo of a userfaultfd
 * tells how many threads wait for an answer. Where threads wait, and we know
 * of no fault, at two looks in a row and without a message in between, then a
 * message was lost: by the kernel, or by a bug of ours. It is counted, logged
 * and mended, as waking the memory makes whoever waits fault anew; while it
 * lasts, health names the session.
 */
#pragma once

#include "pagerd/uffd/session_impl.h"

/* Looks at the worker's sessions from now on, as long as it has any. */
void gauge_start(struct worker *w);
