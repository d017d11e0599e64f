#include "pagerd/control/http/server.h"

#include <errno.h>
#include <microhttpd.h>
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

#define SERVER_THREADS	   4u
#define SERVER_CONNECTIONS 2048u
#define SERVER_SILENCE_S   30u
#define SERVER_MEMORY	   (16u << 10) /* a connection's, headers included */

struct server {
	struct MHD_Daemon *mhd;
	struct daemon *daemon;
};

/* One request while it comes in; owned by its connection. */
struct exchange {
	char *body;
	size_t length, room;
	bool too_large;
	bool no_memory;
};

static void exchange_free(struct exchange *x)
{
	if (!x)
		return;
	free(x->body);
	free(x);
}

/*
 * What is too much is read on and thrown away: a client that is still writing
 * would see a broken pipe where it should see the answer.
 */
static void take_body(struct exchange *x, const char *data, size_t length)
{
	size_t room = x->room ?: 4096;
	char *body;

	if (length > BODY_MAX - x->length)
		x->too_large = true;
	if (x->too_large || x->no_memory)
		return;
	while (room < x->length + length)
		room *= 2;
	body = room > x->room ? realloc(x->body, room) : x->body;
	if (!body) {
		x->no_memory = true;
		return;
	}
	memcpy(body + x->length, data, length);
	x->body = body;
	x->room = room;
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

static void dispatch(const char *method, const char *path,
		     struct request *request, struct reply *rp)
{
	char parameter[ROUTE_PARAMETER_MAX];
	const struct route *route;
	int r;

	/* The library leaves the body of an answer to HEAD away. */
	if (strcmp(method, MHD_HTTP_METHOD_HEAD) == 0)
		method = MHD_HTTP_METHOD_GET;
	r = route_find(method, path, &route, parameter);
	if (r == -EOPNOTSUPP) {
		refuse_method(path, rp);
		return;
	}
	if (r < 0) {
		reply_refusal(rp, MHD_HTTP_NOT_FOUND, "not_found",
			      "no such path");
		return;
	}
	request->parameter = parameter[0] ? parameter : NULL;
	err_clear();
	r = route->handle(request, rp);
	if (r < 0)
		reply_error(rp, r);
	log_debug("%s %s: %u", method, path, rp->status);
}

static void answer(struct server *s, struct MHD_Connection *connection,
		   const char *method, const char *path,
		   const struct exchange *x, struct reply *rp)
{
	struct request request = {
		.daemon = s->daemon,
		.force = MHD_lookup_connection_value(
			connection, MHD_GET_ARGUMENT_KIND, "force"),
		.body = x->body,
		.length = x->length,
	};

	if (!peer_may_speak(connection))
		reply_refusal(rp, MHD_HTTP_FORBIDDEN, "forbidden",
			      "this socket is for root and the daemon's user");
	else if (x->too_large)
		reply_refusal(rp, MHD_HTTP_CONTENT_TOO_LARGE, "too_large",
			      "the body is over 1 MiB");
	else if (x->no_memory)
		reply_error(rp, -ENOMEM);
	else
		dispatch(method, path, &request, rp);
}

/* Called once with the headers, then with each part of the body, then again. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
				  const char *path, const char *method,
				  const char *version, const char *data,
				  size_t *length, void **state)
{
	struct exchange *x = *state;
	struct reply reply = {0};
	enum MHD_Result result;

	(void)version;
	if (!x) {
		*state = calloc(1, sizeof(*x));
		return *state ? MHD_YES : MHD_NO;
	}
	if (*length > 0) {
		take_body(x, data, *length);
		*length = 0;
		return MHD_YES;
	}
	answer(arg, connection, method, path, x, &reply);
	result = send_reply(connection, &reply);
	reply_release(&reply);
	return result;
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

int server_new(struct daemon *daemon, int listen_fd, struct server **ret_server)
{
	_cleanup_close_ int fd = listen_fd;
	_cleanup_free_ struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->daemon = daemon;
	s->mhd = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL,
		NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE,
		SERVER_THREADS, MHD_OPTION_CONNECTION_LIMIT, SERVER_CONNECTIONS,
		MHD_OPTION_CONNECTION_TIMEOUT, SERVER_SILENCE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_MEMORY,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
		MHD_OPTION_END);
	if (!s->mhd)
		return err_set(-EIO, "the HTTP server does not start");
	(void)steal_fd(fd); /* MHD_stop_daemon() closes it */
	*ret_server = steal_ptr(s);
	return 0;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	MHD_stop_daemon(s->mhd);
	free(s);
}
