/*
 * HTTP on the control socket, by libmicrohttpd: connections, limits, who may
 * speak, and from a request to the handler of its route.
 *
 * Bounded: connections, headers, bodies (body.h), and how long a connection
 * may be silent. A slow client costs one connection; a handler runs only when
 * its request is complete. Handlers run on the server's own few threads.
 */
#pragma once

#include "pagerd/control/daemon.h"

struct server;

/*
 * Takes over `listen_fd`, also on failure. `daemon` is borrowed for the
 * server's life. -ENOMEM, or -EIO where the library does not start.
 */
int server_new(struct daemon *daemon, int listen_fd,
	       struct server **ret_server);

/* Waits for handlers that run. Accepts NULL. */
void server_free(struct server *s);
