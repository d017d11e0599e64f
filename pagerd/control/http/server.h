/*
 * HTTP on the control socket, by libmicrohttpd: connections, limits, who may
 * speak, and from a request to the handler of its route.
 *
 * Bounded: connections, headers, bodies (body.h) by itself and in all, and how
 * long a connection may be silent. A slow client costs one connection; a
 * handler runs only when its request is complete, and of a peer that may not
 * speak nothing is kept. Handlers run on the server's own few threads, those
 * of slow routes on threads of their own (slow/slow.h).
 */
#pragma once

#include "pagerd/control/daemon.h"

#define SERVER_THREADS 4u

struct server;

/* How long a connection may be silent. */
#define SERVER_SILENCE_S 30u

/*
 * Takes over `listen_fd`, also on failure. `daemon` is borrowed for the
 * server's life. -ENOMEM, or -EIO where the library does not start.
 */
int server_new(struct daemon *daemon, int listen_fd, unsigned int silence_s,
	       struct server **ret_server);

/* Waits for handlers that run; imports are cancelled. Accepts NULL. */
void server_free(struct server *s);
