#include "pagerd/control/http/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "pagerd/control/http/body.h"
#include "pagerd/control/http/route.h"
#include "pagerd/control/http/slow/slow.h"
#include "pagerd/control/import/importer.h"

#define SERVER_CONNECTIONS 2048u
#define SERVER_BODIES	   (64u << 20) /* of all requests together */
#define SERVER_MEMORY	   (16u << 10) /* a connection's, headers included */

struct server {
	struct MHD_Daemon *mhd;
	struct daemon *daemon;
	struct slow *slow;
	_Atomic size_t bodies; /* bytes held for bodies */
};

/* One request; owned by its connection, or while it is slow by its thread. */
struct exchange {
	struct server *server;
	struct MHD_Connection *connection;
	char *body;
	size_t length, room;
	bool stranger; /* may not speak */
	bool too_large;
	bool no_memory;
	const char *method, *path; /* the connection's */
	struct reply reply;
	bool answered;
};

static void exchange_free(struct exchange *x)
{
	if (!x)
		return;
	atomic_fetch_sub(&x->server->bodies, x->room);
	reply_release(&x->reply);
	free(x->body);
	free(x);
}

/* Room for so much in all; false where there is none. */
static bool make_room(struct exchange *x, size_t length)
{
	size_t room = x->room ?: 4096;
	char *body;

	while (room < length)
		room *= 2;
	if (room == x->room)
		return true;
	if (atomic_fetch_add(&x->server->bodies, room - x->room) + room -
		    x->room >
	    SERVER_BODIES)
		body = NULL;
	else
		body = realloc(x->body, room);
	if (!body) {
		atomic_fetch_sub(&x->server->bodies, room - x->room);
		return false;
	}
	x->body = body;
	x->room = room;
	return true;
}

/*
 * What is too much is read on and thrown away: a client that is still writing
 * would see a broken pipe where it should see the answer.
 */
static void take_body(struct exchange *x, const char *data, size_t length)
{
	if (length > BODY_MAX - x->length)
		x->too_large = true;
	if (x->stranger || x->too_large || x->no_memory)
		return;
	if (!make_room(x, x->length + length)) {
		x->no_memory = true;
		return;
	}
	memcpy(x->body + x->length, data, length);
	x->length += length;
}

/* The socket's mode keeps others out already; this holds if it is changed. */
static bool peer_may_speak(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED,
				&peer, &len) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static enum MHD_Result send_reply(struct MHD_Connection *connection,
				  struct reply *rp)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	response = MHD_create_response_from_buffer(rp->length, rp->body,
						   MHD_RESPMEM_MUST_FREE);
	if (!response)
		return MHD_NO;
	rp->body = NULL;
	if (rp->type)
		(void)MHD_add_response_header(
			response, MHD_HTTP_HEADER_CONTENT_TYPE, rp->type);
	if (rp->allow[0])
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW,
					      rp->allow);
	result = MHD_queue_response(connection, rp->status, response);
	MHD_destroy_response(response);
	return result;
}

static void refuse_method(const char *path, struct reply *rp)
{
	route_allowed(path, rp->allow);
	reply_refusal(rp, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed",
		      "this path has other methods, see Allow");
}

static void find_route(struct exchange *x, const struct route **ret_route,
		       char parameter[ROUTE_PARAMETER_MAX])
{
	const char *method = x->method;
	int r;

	/* The library leaves the body of an answer to HEAD away. */
	if (strcmp(method, MHD_HTTP_METHOD_HEAD) == 0)
		method = MHD_HTTP_METHOD_GET;
	r = route_find(method, x->path, ret_route, parameter);
	if (r == -EOPNOTSUPP)
		refuse_method(x->path, &x->reply);
	else if (r < 0)
		reply_refusal(&x->reply, MHD_HTTP_NOT_FOUND, "not_found",
			      "no such path");
}

static const char *query(const struct exchange *x, const char *key)
{
	return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND,
					   key);
}

static void handle(struct exchange *x, const struct route *route,
		   const char *parameter)
{
	const struct request request = {
		.daemon = x->server->daemon,
		.parameter = parameter[0] ? parameter : NULL,
		.force = query(x, "force"),
		.when_unused = query(x, "when_unused"),
		.body = x->body,
		.length = x->length,
	};
	int r;

	err_clear();
	r = route->handle(&request, &x->reply);
	if (r < 0)
		reply_error(&x->reply, r);
	log_debug("%s %s: %u", x->method, x->path, x->reply.status);
}

/* On a thread of its own. The connection is the library's again behind it. */
static void handle_slowly(void *arg)
{
	struct exchange *x = arg;
	char parameter[ROUTE_PARAMETER_MAX];
	const struct route *route = NULL;

	find_route(x, &route, parameter);
	handle(x, route, parameter);
	x->answered = true;
	MHD_resume_connection(x->connection);
}

static void start_slowly(struct exchange *x)
{
	int r;

	MHD_suspend_connection(x->connection);
	r = slow_run(x->server->slow, handle_slowly, x);
	if (r == 0)
		return;
	reply_error(&x->reply, r);
	x->answered = true;
	MHD_resume_connection(x->connection);
}

/*
 * False where the answer comes later: then `x` is another thread's, until the
 * library calls again.
 */
static bool answer(struct exchange *x)
{
	char parameter[ROUTE_PARAMETER_MAX];
	const struct route *route = NULL;
	struct reply *rp = &x->reply;

	if (x->stranger)
		reply_refusal(rp, MHD_HTTP_FORBIDDEN, "forbidden",
			      "this socket is for root and the daemon's user");
	else if (x->too_large)
		reply_refusal(rp, MHD_HTTP_CONTENT_TOO_LARGE, "too_large",
			      "the body is over 1 MiB");
	else if (x->no_memory)
		reply_error(rp, -ENOMEM);
	else
		find_route(x, &route, parameter);
	if (route && route->slow) {
		start_slowly(x);
		return false;
	}
	if (route)
		handle(x, route, parameter);
	return true;
}

static enum MHD_Result begin(struct server *s,
			     struct MHD_Connection *connection, void **state)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return MHD_NO;
	x->server = s;
	x->connection = connection;
	x->stranger = !peer_may_speak(connection);
	*state = x;
	return MHD_YES;
}

/*
 * Called once with the headers, then with each part of the body, then again;
 * and once more where a slow answer is there.
 */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
				  const char *path, const char *method,
				  const char *version, const char *data,
				  size_t *length, void **state)
{
	struct exchange *x = *state;

	(void)version;
	if (!x)
		return begin(arg, connection, state);
	if (*length > 0) {
		take_body(x, data, *length);
		*length = 0;
		return MHD_YES;
	}
	if (!x->answered) {
		x->method = method;
		x->path = path;
		if (!answer(x))
			return MHD_YES;
	}
	return send_reply(connection, &x->reply);
}

static void on_completed(void *arg, struct MHD_Connection *connection,
			 void **state, enum MHD_RequestTerminationCode how)
{
	(void)arg;
	(void)connection;
	(void)how;
	exchange_free(*state);
	*state = NULL;
}

static void on_log(void *arg, const char *format, va_list ap)
{
	char line[512];

	(void)arg;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)vsnprintf(line, sizeof(line), format, ap);
#pragma GCC diagnostic pop
	log_debug("http: %s", line);
}

static int start(struct server *s, int fd, unsigned int silence_s)
{
	int r = slow_new(&s->slow);

	if (r < 0)
		return r;
	s->mhd = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG |
			MHD_ALLOW_SUSPEND_RESUME,
		0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
		on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_THREAD_POOL_SIZE, SERVER_THREADS,
		MHD_OPTION_CONNECTION_LIMIT, SERVER_CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, silence_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_MEMORY,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
		MHD_OPTION_END);
	if (s->mhd)
		return 0;
	slow_free(s->slow);
	return err_set(-EIO, "the HTTP server does not start");
}

int server_new(struct daemon *daemon, int listen_fd, unsigned int silence_s,
	       struct server **ret_server)
{
	_cleanup_close_ int fd = listen_fd;
	_cleanup_free_ struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->daemon = daemon;
	r = start(s, fd, silence_s);
	if (r < 0)
		return r;
	(void)steal_fd(fd); /* MHD_stop_daemon() closes it */
	*ret_server = steal_ptr(s);
	return 0;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	/* No connection may be suspended when the library stops. */
	importer_cancel(s->daemon->importer);
	slow_stop(s->slow);
	MHD_stop_daemon(s->mhd);
	slow_free(s->slow);
	free(s);
}
