#include "pagerd/control/http/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/io/text.h"

#define TYPE_JSON "application/json"

static const struct {
	int error;
	unsigned int status;
	const char *code;
} errors[] = {
	{-EINVAL, 400, "bad_request"},
	{-ENAMETOOLONG, 400, "bad_request"},
	{-ENOENT, 404, "not_found"},
	{-ENOTUNIQ, 409, "exists"},
	{-EBUSY, 409, "in_use"},
	{-ENOTCONN, 409, "not_connected"},
	{-ENOSPC, 409, "does_not_fit"},
	{-ERANGE, 400, "bad_request"},
	{-EXDEV, 403, "forbidden"},
	{-ESHUTDOWN, 503, "draining"},
	{-EUSERS, 503, "too_many_sessions"},
	{-ENOMEM, 503, "no_memory"},
	{-EAGAIN, 503, "busy"},
	{-ECANCELED, 503, "busy"},
	{-EMFILE, 503, "too_many_files"},
	{-EBADMSG, 500, "damaged"},
};

void reply_release(struct reply *rp)
{
	free(rp->body);
	*rp = (struct reply){0};
}

static void set_body(struct reply *rp, const char *type, char *body,
		     size_t length)
{
	free(rp->body);
	rp->type = type;
	rp->body = body;
	rp->length = length;
}

int reply_json(struct reply *rp, unsigned int status, json_t *json)
{
	char *text;

	if (!json)
		return -ENOMEM;
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (!text)
		return -ENOMEM;
	set_body(rp, TYPE_JSON, text, strlen(text));
	rp->status = status;
	return 0;
}

void reply_text(struct reply *rp, const char *type, char *text, size_t length)
{
	set_body(rp, type, text, length);
	rp->status = 200;
}

void reply_nothing(struct reply *rp)
{
	set_body(rp, NULL, NULL, 0);
	rp->status = 204;
}

/* A message may quote what a client sent, cut in the middle of a letter. */
static json_t *message_text(const char *message)
{
	size_t len = strlen(message);

	while (len > 0 && !text_is_utf8(message, len))
		len--;
	return json_stringn(message, len);
}

void reply_refusal(struct reply *rp, unsigned int status, const char *code,
		   const char *message)
{
	json_t *json = json_pack("{s:{s:s, s:o}}", "error", "code", code,
				 "message", message_text(message));

	if (reply_json(rp, status, json) < 0) {
		set_body(rp, NULL, NULL, 0);
		rp->status = status;
	}
}

void reply_error(struct reply *rp, int error)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].error == error) {
			reply_refusal(rp, errors[i].status, errors[i].code,
				      err_text(error));
			return;
		}
	reply_refusal(rp, 500, "internal", err_text(error));
}
