/*
 * What the control socket answers: one row a method and path.
 * contrib/openapi.yaml describes the same rows; a test compares the two.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pagerd/control/daemon.h"
#include "pagerd/control/http/reply.h"

/* Longer segments than this name nothing. */
#define ROUTE_PARAMETER_MAX 512

struct request {
	struct daemon *daemon;
	const char *parameter; /* what stands for "{id}"; NULL: no such part */
	const char *force;     /* the query's "force"; NULL: not there */
	const char *when_unused; /* likewise */
	const char *body;	 /* NULL where there is none */
	size_t length;
};

/* Makes a reply, or returns a negative errno for reply_error(). */
typedef int route_handler(const struct request *rq, struct reply *rp);

struct route {
	const char *method;
	const char *path; /* segments; one may be "{id}" */
	route_handler *handle;
	const char *doc; /* one line */
	bool slow;	 /* may take long: has a thread of its own */
};

extern const struct route routes[];
extern const size_t route_count;

/*
 * 0 with the row; a parameter goes to `ret_parameter`, which is "" where the
 * path has none. -ENOENT: no row has the path. -EOPNOTSUPP: none has the
 * method with it.
 */
int route_find(const char *method, const char *path,
	       const struct route **ret_route,
	       char ret_parameter[ROUTE_PARAMETER_MAX]);

/* "GET, POST": the methods of a path. */
void route_allowed(const char *path, char ret_methods[REPLY_ALLOW_MAX]);
