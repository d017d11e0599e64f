#include "pagerd/control/http/api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "pagerd/control/http/body.h"
#include "pagerd/control/metrics.h"
#include "pagerd/control/stats.h"

/* For whom a DELETE waits; the answer to a longer end is 202. */
#define CLOSE_WAIT_NS UINT64_C(2000000000)

int api_health(const struct request *rq, struct reply *rp)
{
	return reply_json(rp, 200, stats_health(rq->daemon));
}

int api_stats(const struct request *rq, struct reply *rp)
{
	struct stats s;
	int r = stats_take(rq->daemon, &s);

	return r < 0 ? r : reply_json(rp, 200, stats_to_json(&s));
}

int api_metrics(const struct request *rq, struct reply *rp)
{
	struct stats s;
	char *text = NULL;
	size_t length;
	FILE *out;
	int r = stats_take(rq->daemon, &s);

	if (r < 0)
		return r;
	out = open_memstream(&text, &length);
	if (!out)
		return -ENOMEM;
	metrics_print(out, &s);
	if (fclose(out) != 0) {
		free(text);
		return -ENOMEM;
	}
	reply_text(rp, "text/plain; version=0.0.4; charset=utf-8", text,
		   length);
	return 0;
}

int api_sessions(const struct request *rq, struct reply *rp)
{
	return reply_json(rp, 200, stats_sessions(rq->daemon));
}

int api_session_show(const struct request *rq, struct reply *rp)
{
	struct session *s;
	int r = session_id_check(rq->parameter);

	if (r < 0)
		return r;
	s = registry_find(rq->daemon->registry, rq->parameter);
	if (!s)
		return err_set(-ENOENT, "session %s: no such session",
			       rq->parameter);
	r = reply_json(rp, 200, stats_session(s));
	session_unref(s);
	return r;
}

static int read_force(const char *text, enum pool_close *ret_how)
{
	if (!text || strcmp(text, "0") == 0)
		*ret_how = POOL_CLOSE_IDLE;
	else if (strcmp(text, "1") == 0)
		*ret_how = POOL_CLOSE_FORCE;
	else
		return err_set(-EINVAL, "'force' must be 0 or 1");
	return 0;
}

int api_session_delete(const struct request *rq, struct reply *rp)
{
	enum pool_close how = POOL_CLOSE_IDLE;
	int r = session_id_check(rq->parameter);

	if (r == 0)
		r = read_force(rq->force, &how);
	if (r < 0)
		return r;
	r = registry_close(rq->daemon->registry, rq->parameter, how,
			   CLOSE_WAIT_NS);
	if (r == -EINPROGRESS)
		return reply_json(rp, 202,
				  json_pack("{s:s, s:s}", "id", rq->parameter,
					    "state", "ending"));
	if (r == 0)
		reply_nothing(rp);
	return r;
}

static int reply_draining(const struct request *rq, struct reply *rp)
{
	struct registry *r = rq->daemon->registry;

	return reply_json(rp, 200,
			  json_pack("{s:b, s:I}", "draining",
				    registry_draining(r), "sessions",
				    (json_int_t)registry_count(r)));
}

int api_drain(const struct request *rq, struct reply *rp)
{
	registry_drain(rq->daemon->registry);
	return reply_draining(rq, rp);
}

int api_undrain(const struct request *rq, struct reply *rp)
{
	int r = registry_undrain(rq->daemon->registry);

	return r < 0 ? r : reply_draining(rq, rp);
}
