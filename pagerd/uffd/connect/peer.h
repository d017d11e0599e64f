/* Who is at the other end of a session's connection, and holding on to it. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct peer {
	pid_t pid; /* 0: in a pid namespace that we do not see */
	uid_t uid;
	int pidfd; /* -1: not to be had; the caller's to close */
};

/*
 * Asks the kernel who connected. The pidfd is the kernel's own (Linux 6.5),
 * or else is opened by number and kept only where that process belongs to the
 * same user and the connection had not been closed yet: a pid that was used
 * again must never be taken for a VMM, which may be killed.
 */
int peer_identify(int socket, struct peer *ret_peer);

/* True once the process is dead. */
bool peer_exited(int pidfd);

/* SIGKILL. -ESRCH where it is dead, -EPERM. */
int peer_kill(int pidfd);
