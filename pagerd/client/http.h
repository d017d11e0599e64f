/*
 * A small HTTP client on a unix socket, over libcurl: one connection, kept
 * between requests. No proxies, no redirects, no signals, bounded in time and
 * in what it reads. One thread at a time.
 */
#pragma once

#include <stddef.h>

struct http;

#define HTTP_REPLY_MAX	(64u << 20)
#define HTTP_TIMEOUT_MS 60000L

struct http_reply {
	long status;
	char *body; /* NUL behind it, not counted; never NULL */
	size_t length;
};

void http_reply_release(struct http_reply *reply);

/* Connects to nobody yet. -ENAMETOOLONG where `socket` fits no address. */
int http_new(const char *socket, struct http **ret_http);
void http_free(struct http *h); /* accepts NULL */

/* The socket's path, as given. */
const char *http_socket(const struct http *h);

/*
 * One request; `body` is JSON text or NULL. 0 for a reply of any status.
 * -ECONNREFUSED: nobody to talk to; -EACCES; -ETIMEDOUT; -EFBIG: a reply over
 * HTTP_REPLY_MAX; -EPROTO: no HTTP, or cut short;
 * -ECONNRESET: no answer, but the end; -ENOMEM.
 */
int http_request(struct http *h, const char *method, const char *path,
		 const char *body, struct http_reply *ret_reply);

/*
 * "PREFIX" and `segment` behind it, escaped so that it stays one segment of a
 * path; the caller frees. NULL: out of memory.
 */
char *http_path(const char *prefix, const char *segment);
