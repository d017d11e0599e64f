#include "pagerd/client/api.h"

#include <errno.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"

#define RUNTIME_DEFAULT "/run/pagerd"

char *api_runtime_path(const char *runtime, const char *name)
{
	char *path;

	if (!runtime)
		runtime = getenv("PAGERD_RUNTIME");
	if (!runtime || !*runtime)
		runtime = RUNTIME_DEFAULT;
	return asprintf(&path, "%s/%s", runtime, name) < 0 ? NULL : path;
}

int api_open(const char *runtime, struct http **ret_http)
{
	_cleanup_free_ char *socket = NULL;

	socket = api_runtime_path(runtime, "control.sock");
	if (!socket)
		return -ENOMEM;
	return http_new(socket, ret_http);
}

/* The daemon's words for what a status alone does not tell apart. */
static const struct {
	const char *code;
	int error;
} codes[] = {
	{"exists", -ENOTUNIQ},
	{"in_use", -EBUSY},
	{"draining", -ESHUTDOWN},
	{"damaged", -EBADMSG},
};

static int status_error(long status)
{
	switch (status) {
	case 400:
	case 413:
		return -EINVAL;
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 409:
		return -EBUSY;
	case 503:
		return -EAGAIN;
	case 504:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

static int refusal(const struct http_reply *reply, const json_t *json)
{
	const json_t *error = json_object_get(json, "error");
	const char *message =
		json_string_value(json_object_get(error, "message"));
	const char *code = json_string_value(json_object_get(error, "code"));
	int r = status_error(reply->status);

	for (size_t i = 0; code && i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(code, codes[i].code) == 0)
			r = codes[i].error;
	if (message)
		return err_set(r, "%s", message);
	return err_set(r, "the daemon answers with status %ld and no reason",
		       reply->status);
}

static int read_reply(const struct http *h, const struct http_reply *reply,
		      json_t **ret_reply)
{
	json_error_t error;
	json_t *json = json_loadb(reply->body, reply->length,
				  JSON_REJECT_DUPLICATES, &error);
	int r = 0;

	if (reply->status >= 400)
		r = refusal(reply, json);
	else if (reply->status < 200 || reply->status >= 300)
		r = err_set(-EPROTO, "%s: an answer of status %ld",
			    http_socket(h), reply->status);
	else if (!json && reply->status != 204)
		r = err_set(-EPROTO, "%s: an answer that is no JSON: %s",
			    http_socket(h), error.text);
	if (r == 0 && ret_reply)
		*ret_reply = json;
	else
		json_decref(json);
	return r;
}

int api_call(struct http *h, const char *method, const char *path,
	     const json_t *body, json_t **ret_reply)
{
	_cleanup_free_ char *text = NULL;
	struct http_reply reply;
	int r;

	if (body) {
		text = json_dumps(body, JSON_COMPACT);
		if (!text)
			return -ENOMEM;
	}
	r = http_request(h, method, path, text, &reply);
	if (r < 0)
		return r;
	r = read_reply(h, &reply, ret_reply);
	http_reply_release(&reply);
	return r;
}
