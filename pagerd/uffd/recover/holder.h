/*
 * A small process that holds descriptors while no daemon runs, for where no
 * systemd does so: without a copy of its own, a VMM whose daemon died would
 * silently read zeros, and with one it can only be got at by who may trace
 * the VMM. It is forked before the daemon has threads or a cache, so it costs
 * some 100 KiB, does nothing while the daemon lives, and outlives it. It ends
 * when it holds nothing, or its socket was removed, and nobody is connected;
 * a userfaultfd whose address space is gone it lets go by itself.
 *
 * Spoken to over RUNTIME/holder.sock (0600, SOCK_SEQPACKET), by one daemon at
 * a time. Each request is a struct holder_message and is answered by one, but
 * for LIST: one FD a descriptor, and OK.
 *
 * It accepts on the daemon's behalf, so that at no instant the daemon alone
 * has a connection: one that a daemon had accepted by itself would end with
 * it, and a VMM that has said its handshake does not say it again.
 */
#pragma once

#include "pagerd/uffd/recover/vault.h"

#define HOLDER_SOCKET  "holder.sock"
#define HOLDER_FDS_MAX 16384u

enum holder_op {
	HOLDER_KEEP = 'K', /* with the descriptor; replaces one of that name */
	HOLDER_DROP = 'D',
	HOLDER_LIST = 'L',
	HOLDER_ACCEPT = 'A', /* at what is held as "@" and that name */
	HOLDER_OK = '+',
	HOLDER_FAILED = '-',
	HOLDER_FD = 'F', /* with the descriptor; of ACCEPT: not held */
};

struct holder_message {
	char op;
	char name[VAULT_NAME_MAX + 1]; /* ends with NUL */
};

/*
 * Connects to the holder of the runtime directory, or begins one and connects
 * to that. While the caller has no other thread. Returns the socket; -ENOSPC,
 * -ENAMETOOLONG, -EMFILE and what else a socket or fork(2) may say.
 */
int holder_connect(const char *runtime, bool sandbox);

/* `fd` -1: none goes along. 0 or -errno. */
int holder_send(int socket, enum holder_op op, const char *name, int fd);

/* `ret_fd` -1 where none came; blocks. -EPROTO, -ECONNRESET. */
int holder_receive(int socket, struct holder_message *ret_message, int *ret_fd);
