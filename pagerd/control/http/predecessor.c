#include "pagerd/control/http/predecessor.h"

#include <errno.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/base/log.h"
#include "pagerd/control/http/body.h"
#include "pagerd/control/import/importer.h"

int predecessor_health(const struct request *rq, struct reply *rp)
{
	struct registry *r = rq->daemon->registry;

	return reply_json(rp, 200,
			  json_pack("{s:s, s:b, s:I}", "version", PAGER_VERSION,
				    "draining", registry_draining(r),
				    "active_sessions",
				    (json_int_t)registry_count(r)));
}

struct create_body {
	const char *session_id, *instance_id, *backing_memory_path, *cache_key;
};

#define FIELD(name, required)                              \
	{                                                  \
#name, BODY_STRING, required,              \
			offsetof(struct create_body, name) \
	}
static const struct body_field create_fields[] = {
	FIELD(session_id, false),
	FIELD(instance_id, true),
	FIELD(backing_memory_path, true),
	FIELD(cache_key, true),
	{0},
};
#undef FIELD

/* To the old pager an empty field was a missing one. */
static int check_fields(const struct create_body *b)
{
	if (!b->instance_id[0])
		return err_set(-EINVAL, "'instance_id' is missing");
	if (!b->backing_memory_path[0])
		return err_set(-EINVAL, "'backing_memory_path' is missing");
	if (!b->cache_key[0])
		return err_set(-EINVAL, "'cache_key' is missing");
	return 0;
}

/*
 * The key of its cache is for nothing here: equal pages are one. A session
 * without an id has that of its instance, as it had there.
 */
static int create(struct daemon *d, const struct create_body *b,
		  struct reply *rp)
{
	char snapshot[PAGER_NAME_MAX + 1];
	struct registry_request request = {
		.id = b->session_id && b->session_id[0] ? b->session_id
							: b->instance_id,
		.snapshot = snapshot,
		.policy = SESSION_KILL,
		.uid = geteuid(),
		.gid = getegid(),
	};
	struct session *s;
	int r = session_id_check(request.id);

	/* Before there is work for nothing. */
	if (r == 0 && registry_draining(d->registry))
		r = err_set(-ESHUTDOWN,
			    "the daemon is draining: no new sessions");
	if (r == 0)
		r = importer_resolve(d->importer, b->backing_memory_path,
				     snapshot);
	if (r == 0)
		r = registry_create(d->registry, &request, &s);
	if (r < 0)
		return r;
	r = reply_json(rp, 200,
		       json_pack("{s:s, s:s, s:s}", "session_id", session_id(s),
				 "uffd_socket_path", session_socket_path(s),
				 "pager_version", PAGER_VERSION));
	session_unref(s);
	return r;
}

int predecessor_create(const struct request *rq, struct reply *rp)
{
	struct create_body b = {0};
	json_t *object = NULL;
	int r = body_read(rq->body, rq->length, create_fields, &b, &object);

	if (r == 0)
		r = check_fields(&b);
	if (r == 0)
		r = create(rq->daemon, &b, rp);
	json_decref(object);
	return r;
}

int predecessor_drain(const struct request *rq, struct reply *rp)
{
	registry_drain(rq->daemon->registry);
	reply_nothing(rp);
	return 0;
}

int predecessor_close(const struct request *rq, struct reply *rp)
{
	int r = registry_close(rq->daemon->registry, rq->parameter,
			       POOL_CLOSE_LINGER, 0);

	if (r < 0)
		log_debug("close of session %s: %s", rq->parameter,
			  err_text(r));
	reply_nothing(rp);
	return 0;
}
