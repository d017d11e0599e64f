#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "pagerd/client/api.h"
#include "pagerd/client/private.h"

DEFINE_CLEANUP(json, json_t *, json_decref)

static void session_free(struct pager_session *s)
{
	if (!s)
		return;
	pager_unref(s->pager);
	free(s->id);
	free(s->socket);
	free(s);
}

DEFINE_CLEANUP(session, struct pager_session *, session_free)

/* A handle; `id` may be NULL. Both texts are copied. */
static int session_new(struct pager *p, const char *id, const char *socket,
		       struct pager_session **ret_session)
{
	struct pager_session *s cleanup(cleanup_session) = NULL;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->pager = p;
	p->refs++;
	s->socket = strdup(socket);
	s->id = id ? strdup(id) : NULL;
	if (!s->socket || (id && !s->id))
		return -ENOMEM;
	*ret_session = steal_ptr(s);
	return 0;
}

static int request_body(const struct pager_session_options *o,
			json_t **ret_body)
{
	json_t *body cleanup(cleanup_json) = NULL;

	if (!o->snapshot)
		return err_set(-EINVAL, "no snapshot is named");
	body = json_pack("{s:s, s:s*, s:s*}", "snapshot", o->snapshot, "id",
			 o->id, "policy", o->policy);
	if (!body)
		return err_set(-EINVAL, "a name that is not UTF-8");
	if (o->uid >= 0 &&
	    json_object_set_new(body, "uid", json_integer(o->uid)) < 0)
		return -ENOMEM;
	if (o->gid >= 0 &&
	    json_object_set_new(body, "gid", json_integer(o->gid)) < 0)
		return -ENOMEM;
	if (o->prefetch >= 0 &&
	    json_object_set_new(body, "prefetch", json_boolean(o->prefetch)) <
		    0)
		return -ENOMEM;
	if (o->record >= 0 &&
	    json_object_set_new(body, "record", json_boolean(o->record)) < 0)
		return -ENOMEM;
	*ret_body = steal_ptr(body);
	return 0;
}

static int create(struct pager *p, const struct pager_session_options *o,
		  struct pager_session **ret_session)
{
	json_t *body cleanup(cleanup_json) = NULL;
	json_t *reply cleanup(cleanup_json) = NULL;
	const char *id, *socket;
	int r = request_body(o, &body);

	if (r < 0)
		return r;
	r = api_call(p->http, "POST", "/v1/sessions", body, &reply);
	if (r < 0)
		return r;
	id = json_string_value(json_object_get(reply, "id"));
	socket = json_string_value(json_object_get(reply, "socket_path"));
	if (!id || !socket)
		return err_set(-EPROTO, "the daemon's answer has no id or no "
					"socket_path");
	return session_new(p, id, socket, ret_session);
}

int pager_session_create(struct pager *p,
			 const struct pager_session_options *options,
			 struct pager_session **ret_session)
{
	int r = create(p, options, ret_session);

	return r < 0 ? pager_note(p, r) : 0;
}

int pager_session_attach(struct pager *p, const char *socket_path,
			 struct pager_session **ret_session)
{
	int r = session_new(p, NULL, socket_path, ret_session);

	return r < 0 ? pager_note(p, r) : 0;
}

const char *pager_session_id(const struct pager_session *s)
{
	return s->id;
}

const char *pager_session_socket(const struct pager_session *s)
{
	return s->socket;
}

static int call_by_id(struct pager_session *s, const char *method,
		      json_t **ret_reply)
{
	_cleanup_free_ char *path = http_path("/v1/sessions/", s->id);

	if (!path)
		return -ENOMEM;
	return api_call(s->pager->http, method, path, NULL, ret_reply);
}

int session_ask(struct pager_session *s, json_t **ret_status)
{
	if (!s->id)
		return err_set(-ENOTSUP,
			       "%s: the status of a session that was attached "
			       "is not known",
			       s->socket);
	return call_by_id(s, "GET", ret_status);
}

int pager_session_status(struct pager_session *s, char **ret_json)
{
	json_t *status cleanup(cleanup_json) = NULL;
	int r = session_ask(s, &status);
	char *text;

	if (r < 0)
		return pager_note(s->pager, r);
	text = json_dumps(status, JSON_COMPACT);
	if (!text)
		return pager_note(s->pager, -ENOMEM);
	*ret_json = text;
	return 0;
}

int pager_session_close(struct pager_session *s)
{
	int r = 0;

	if (s->map)
		return pager_note(s->pager,
				  err_set(-EBUSY,
					  "the session is mapped; unmap it "
					  "first"));
	if (s->id)
		r = call_by_id(s, "DELETE", NULL);
	/* The daemon ends a session itself when its memory is let go. */
	if (r == -ENOENT)
		r = 0;
	if (r < 0)
		(void)pager_note(s->pager, r);
	session_free(s);
	return r;
}
