#include "pagerd/control/http/predecessor.h"

#include "fs/base/err.h"
#include "fs/base/log.h"

int predecessor_health(const struct request *rq, struct reply *rp)
{
	struct registry *r = rq->daemon->registry;

	return reply_json(rp, 200,
			  json_pack("{s:s, s:b, s:I}", "version", PAGER_VERSION,
				    "draining", registry_draining(r),
				    "active_sessions",
				    (json_int_t)registry_count(r)));
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
