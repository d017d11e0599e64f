/*
 * The daemon's control API: JSON in, JSON out, and its refusals as errors.
 */
#pragma once

#include <jansson.h>

#include "pagerd/client/http.h"

/* `name` of RUNTIME; NULL for `runtime` is $PAGERD_RUNTIME, else /run/pagerd.
 * The caller frees. NULL: out of memory. */
char *api_runtime_path(const char *runtime, const char *name);

/* The HTTP client of a daemon's control socket. Errors as http_new(). */
int api_open(const char *runtime, struct http **ret_http);

/*
 * One call: `body` is borrowed and may be NULL; *ret_reply is a new
 * reference, NULL for 204, and may be asked for with NULL. A status from 400
 * gives the daemon's message as the error's line. Its error code decides:
 * -ENOTUNIQ exists, -EBUSY in_use, -ESHUTDOWN draining, -EBADMSG damaged; else
 * its status: -EINVAL (400, 413), -EACCES (403), -ENOENT (404), -EBUSY (409),
 * -EAGAIN (503), -ETIMEDOUT (504) or -EIO. -EPROTO: an answer that is no JSON.
 * Else as http_request().
 */
int api_call(struct http *h, const char *method, const char *path,
	     const json_t *body, json_t **ret_reply);
