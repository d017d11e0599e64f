#include "pagerd/control/session/sessionapi.h"

#include <errno.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pagerd/control/http/body.h"
#include "pagerd/control/session/overlays.h"

/*
 * How long a request waits for a completion to end. There are few threads for
 * requests: who wants to wait longer asks again.
 */
#define COMPLETE_WAIT_NS UINT64_C(2000000000)

DEFINE_CLEANUP(json, json_t *, json_decref)

struct create_body {
	const char *snapshot, *id, *policy;
	uint32_t uid, gid;
	bool prefetch, record;
	const json_t *overlays;
};

static const struct body_field create_fields[] = {
	{"snapshot", BODY_STRING, true, offsetof(struct create_body, snapshot)},
	{"id", BODY_STRING, false, offsetof(struct create_body, id)},
	{"policy", BODY_STRING, false, offsetof(struct create_body, policy)},
	{"uid", BODY_ID32, false, offsetof(struct create_body, uid)},
	{"gid", BODY_ID32, false, offsetof(struct create_body, gid)},
	{"prefetch", BODY_FLAG, false, offsetof(struct create_body, prefetch)},
	{"record", BODY_FLAG, false, offsetof(struct create_body, record)},
	{"overlays", BODY_LIST, false, offsetof(struct create_body, overlays)},
	{0},
};

static enum session_record record_of(const json_t *object, bool record)
{
	if (!json_object_get(object, "record"))
		return SESSION_RECORD_NEW;
	return record ? SESSION_RECORD_ALWAYS : SESSION_RECORD_NEVER;
}

static int fill_request(const struct create_body *b, const json_t *object,
			struct registry_request *request)
{
	*request = (struct registry_request){
		.id = b->id,
		.snapshot = b->snapshot,
		.policy = SESSION_KILL,
		.uid = b->uid,
		.gid = b->gid,
		.no_prefetch = !b->prefetch,
		.record = record_of(object, b->record),
	};
	if (b->policy && session_policy_parse(b->policy, &request->policy) < 0)
		return err_set(-EINVAL,
			       "'policy' must be kill, poison or stall");
	return 0;
}

static int create(struct daemon *d, const struct create_body *b,
		  const json_t *object, struct reply *rp)
{
	struct overlays overlays cleanup(overlays_release) = {0};
	struct registry_request request;
	struct session *s;
	int r = fill_request(b, object, &request);

	if (r == 0)
		r = overlays_read(b->overlays, d->imports, &overlays);
	if (r < 0)
		return r;
	request.overlays = overlays.pieces;
	request.overlay_count = overlays.count;
	r = registry_create(d->registry, &request, &s);
	if (r < 0)
		return r;
	r = reply_json(rp, 201,
		       json_pack("{s:s, s:s}", "id", session_id(s),
				 "socket_path", session_socket_path(s)));
	session_unref(s);
	return r;
}

int sessionapi_create(const struct request *rq, struct reply *rp)
{
	struct create_body b = {
		.uid = geteuid(),
		.gid = getegid(),
		.prefetch = true,
	};
	json_t *object cleanup(cleanup_json) = NULL;
	int r = body_read(rq->body, rq->length, create_fields, &b, &object);

	return r < 0 ? r : create(rq->daemon, &b, object, rp);
}

static int complete(const struct request *rq)
{
	int r = session_id_check(rq->parameter);

	return r < 0 ? r
		     : registry_complete(rq->daemon->registry, rq->parameter,
					 COMPLETE_WAIT_NS);
}

int sessionapi_complete(const struct request *rq, struct reply *rp)
{
	int r = complete(rq);

	if (r < 0 && r != -EINPROGRESS)
		return r;
	return reply_json(rp, r == 0 ? 200 : 202,
			  json_pack("{s:s, s:s}", "id", rq->parameter, "state",
				    r == 0 ? "completed" : "completing"));
}

int sessionapi_complete_old(const struct request *rq, struct reply *rp)
{
	int r = complete(rq);

	if (r == -EINPROGRESS)
		reply_refusal(rp, 504, "timeout",
			      "the session is not complete yet; it goes on");
	else if (r < 0)
		return r;
	else
		reply_nothing(rp);
	return 0;
}
