#include "pagerd/client/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

#define CONNECT_TIMEOUT_MS 5000L

struct http {
	CURL *curl;
	char *socket;
};

/* What the write callback gathers. */
struct gathering {
	char *data;
	size_t length, capacity;
	int error;
};

DEFINE_CLEANUP(http, struct http *, http_free)

static void cleanup_headers(struct curl_slist **headers)
{
	curl_slist_free_all(*headers);
}

void http_reply_release(struct http_reply *reply)
{
	free(reply->body);
	*reply = (struct http_reply){0};
}

int http_new(const char *socket, struct http **ret_http)
{
	struct http *h cleanup(cleanup_http) = NULL;

	if (strlen(socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(-ENAMETOOLONG,
			       "%s: the path is too long for a socket; choose "
			       "a shorter runtime directory",
			       socket);
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->socket = strdup(socket);
	/* Initialises libcurl where needed, under a lock of libcurl's own. */
	h->curl = curl_easy_init();
	if (!h->socket || !h->curl)
		return -ENOMEM;
	*ret_http = steal_ptr(h);
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	curl_easy_cleanup(h->curl);
	free(h->socket);
	free(h);
}

const char *http_socket(const struct http *h)
{
	return h->socket;
}

static int make_room(struct gathering *g, size_t more)
{
	size_t capacity = g->capacity ?: 4096;
	char *data;

	if (more > HTTP_REPLY_MAX - g->length)
		return -EFBIG;
	while (capacity < g->length + more + 1)
		capacity *= 2;
	if (capacity == g->capacity)
		return 0;
	data = realloc(g->data, capacity);
	if (!data)
		return -ENOMEM;
	g->data = data;
	g->capacity = capacity;
	return 0;
}

static size_t gather(char *data, size_t size, size_t count, void *arg)
{
	struct gathering *g = arg;

	size *= count; /* libcurl's size is 1 */
	g->error = make_room(g, size);
	if (g->error < 0)
		return CURL_WRITEFUNC_ERROR;
	memcpy(g->data + g->length, data, size);
	g->length += size;
	g->data[g->length] = '\0';
	return size;
}

static CURLcode set_up(struct http *h, const char *method, const char *body,
		       struct gathering *g)
{
	const struct {
		CURLoption option;
		const void *value;
	} pointers[] = {
		{CURLOPT_UNIX_SOCKET_PATH, h->socket},
		{CURLOPT_PROTOCOLS_STR, "http"},
		{CURLOPT_PROXY, ""}, /* whatever the environment says */
		{CURLOPT_CUSTOMREQUEST, method},
		{CURLOPT_WRITEDATA, g},
	};
	const struct {
		CURLoption option;
		long value;
	} numbers[] = {
		{CURLOPT_NOSIGNAL, 1},
		{CURLOPT_PATH_AS_IS, 1},
		{CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS},
		{CURLOPT_TIMEOUT_MS, HTTP_TIMEOUT_MS},
		{CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
	};
	CURLcode c = CURLE_OK;

	/* Keeps the connection, forgets the last request's options. */
	curl_easy_reset(h->curl);
	for (size_t i = 0; c == CURLE_OK && i < 5; i++)
		c = curl_easy_setopt(h->curl, pointers[i].option,
				     pointers[i].value);
	for (size_t i = 0; c == CURLE_OK && i < 5; i++)
		c = curl_easy_setopt(h->curl, numbers[i].option,
				     numbers[i].value);
	if (c == CURLE_OK)
		c = curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, gather);
	if (c == CURLE_OK && body)
		c = curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, body);
	return c;
}

static CURLcode set_url(struct http *h, const char *path)
{
	_cleanup_free_ char *url = NULL;

	if (asprintf(&url, "http://localhost%s", path) < 0) {
		url = NULL;
		return CURLE_OUT_OF_MEMORY;
	}
	return curl_easy_setopt(h->curl, CURLOPT_URL, url);
}

/* connect(2)'s own reason, which libcurl folds into one code. */
static int connect_error(const struct http *h)
{
	long reason = 0;

	(void)curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &reason);
	switch (reason) {
	case ENOENT:
		return err_set(-ECONNREFUSED,
			       "%s: no daemon is there; start pagerd, or name "
			       "its runtime directory",
			       h->socket);
	case EACCES:
	case EPERM:
		return err_set(-EACCES,
			       "%s: permission denied; only the daemon's user "
			       "may use it",
			       h->socket);
	default:
		return err_set(-ECONNREFUSED,
			       "%s: nobody answers; is pagerd running?",
			       h->socket);
	}
}

static int transfer_error(const struct http *h, CURLcode c)
{
	switch (c) {
	case CURLE_COULDNT_CONNECT:
		return connect_error(h);
	case CURLE_OPERATION_TIMEDOUT:
		return err_set(-ETIMEDOUT, "%s: no answer in %ld seconds",
			       h->socket, HTTP_TIMEOUT_MS / 1000);
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		return err_set(-ECONNRESET, "%s: the daemon has hung up",
			       h->socket);
	default:
		return err_set(-EPROTO, "%s: no HTTP answer: %s", h->socket,
			       curl_easy_strerror(c));
	}
}

static CURLcode perform(struct http *h, const char *body)
{
	struct curl_slist *headers cleanup(cleanup_headers) = NULL;

	headers = curl_slist_append(NULL, body ? "Content-Type: "
						 "application/json"
					       : "Accept: application/json");
	if (!headers)
		return CURLE_OUT_OF_MEMORY;
	(void)curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
	return curl_easy_perform(h->curl);
}

int http_request(struct http *h, const char *method, const char *path,
		 const char *body, struct http_reply *ret_reply)
{
	struct gathering g = {0};
	long status = 0;
	CURLcode c = set_up(h, method, body, &g);

	if (c == CURLE_OK)
		c = set_url(h, path);
	if (c == CURLE_OK)
		c = perform(h, body);
	if (c == CURLE_OK)
		g.error = make_room(&g, 0); /* an empty body has had none */
	if (c != CURLE_OK || g.error < 0) {
		free(g.data);
		if (g.error == -EFBIG)
			return err_set(-EFBIG, "%s: an answer of over %u bytes",
				       h->socket, HTTP_REPLY_MAX);
		return g.error < 0 ? g.error : transfer_error(h, c);
	}
	g.data[g.length] = '\0';
	(void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
	*ret_reply = (struct http_reply){status, g.data, g.length};
	return 0;
}

char *http_path(const char *prefix, const char *segment)
{
	char *escaped = curl_easy_escape(NULL, segment, 0);
	char *path = NULL;

	/* "." and ".." need no escape and would be more than a segment. */
	if (escaped &&
	    asprintf(&path, "%s%s%s", prefix, *segment == '.' ? "%2E" : "",
		     escaped + (*segment == '.')) < 0)
		path = NULL;
	curl_free(escaped);
	return path;
}
