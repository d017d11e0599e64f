/*
 * A session's peer: the listening socket, the one connection, the handshake,
 * and the end of the VMM.
 *
 * A refused handshake costs the peer its connection and is one line in the
 * log; the session listens on.
 */
#pragma once

#include "pagerd/uffd/session_impl.h"

/*
 * Starts to listen, and to serve a VM that was taken over: the session was
 * just added to its worker.
 */
int connect_start(struct session *s);

/*
 * Lets in nobody any more: who connects waits for the next daemon, where the
 * listening socket is kept; else who has connected is let in yet, and from
 * there on to connect fails at once.
 */
void connect_stop(struct session *s);

/*
 * True while a VM depends on the session: its VMM lives, and has memory
 * registered with our userfaultfd.
 */
bool connect_vm_lives(const struct session *s);
