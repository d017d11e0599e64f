#include "pagerd/control/cache/cacheapi.h"

#include <errno.h>
#include <stddef.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/cache/admin/jobs.h"
#include "fs/io/text.h"
#include "fs/store/pack/packfind.h"
#include "pagerd/control/cache/cachejson.h"
#include "pagerd/control/http/body.h"

DEFINE_CLEANUP(json, json_t *, json_decref)

#define NOT_GIVEN UINT64_MAX

int cacheapi_show(const struct request *rq, struct reply *rp)
{
	return reply_json(rp, 200, cachejson_show(rq->daemon));
}

int cacheapi_curve(const struct request *rq, struct reply *rp)
{
	return reply_json(rp, 200, cachejson_curve(rq->daemon->cache));
}

int cacheapi_snapshots(const struct request *rq, struct reply *rp)
{
	return reply_json(rp, 200, cachejson_snapshots(rq->daemon));
}

struct evict_body {
	const char *snapshot, *block;
	uint64_t bytes, idle;
	bool all, force;
};

static const struct body_field evict_fields[] = {
	{"all", BODY_FLAG, false, offsetof(struct evict_body, all)},
	{"snapshot", BODY_STRING, false, offsetof(struct evict_body, snapshot)},
	{"force", BODY_FLAG, false, offsetof(struct evict_body, force)},
	{"block", BODY_STRING, false, offsetof(struct evict_body, block)},
	{"bytes", BODY_NUMBER, false, offsetof(struct evict_body, bytes)},
	{"idle", BODY_NUMBER, false, offsetof(struct evict_body, idle)},
	{0},
};

static int evict_named(const struct daemon *d, const struct evict_body *b,
		       struct evict_report *report)
{
	struct snapshot *snap cleanup(cleanup_snapshot) = NULL;
	int r = snapshot_open(d->store, b->snapshot, &snap);

	if (r < 0)
		return r;
	return evict_snapshot(d->cache, snap, b->force ? d->pins : NULL,
			      report);
}

struct digest_eviction {
	struct cache *cache;
	struct evict_report *report;
	unsigned int found;
};

static int evict_candidate(void *arg, uint64_t block)
{
	struct digest_eviction *e = arg;

	e->found++;
	evict_block(e->cache, block, e->report);
	return 0;
}

/* A digest may name several blocks; each is only dropped from the cache. */
static int evict_digest(const struct daemon *d, const char *text,
			struct evict_report *report)
{
	struct digest_eviction e = {.cache = d->cache, .report = report};
	struct pager_digest digest;
	int r = text_from_hex(text, sizeof(digest.bytes), digest.bytes);

	if (r < 0)
		return err_set(-EINVAL,
			       "'block' must be a digest of 32 hex digits");
	r = packfind_all(d->store, &digest, evict_candidate, &e);
	if (r < 0)
		return r;
	return e.found ? 0
		       : err_set(-ENOENT, "%s: the store has no such block",
				 text);
}

static uint64_t blocks_for(uint64_t bytes)
{
	return bytes / PAGER_PAGE_SIZE + (bytes % PAGER_PAGE_SIZE != 0);
}

static int evict(const struct daemon *d, const struct evict_body *b,
		 struct evict_report *report)
{
	int ways = b->all + (b->snapshot != NULL) + (b->block != NULL) +
		   (b->bytes != NOT_GIVEN) + (b->idle != NOT_GIVEN);

	if (ways != 1)
		return err_set(-EINVAL, "exactly one of 'all', 'snapshot', "
					"'block', 'bytes' and 'idle' is "
					"needed");
	if (b->force && !b->snapshot)
		return err_set(-EINVAL, "'force' goes with 'snapshot'");
	if (b->snapshot)
		return evict_named(d, b, report);
	if (b->block)
		return evict_digest(d, b->block, report);
	if (b->bytes != NOT_GIVEN)
		evict_coldest(d->cache, blocks_for(b->bytes), report);
	else if (b->all)
		evict_all(d->cache, report);
	else
		evict_idle(d->cache,
			   b->idle < UINT32_MAX ? (uint32_t)b->idle
						: UINT32_MAX,
			   report);
	return 0;
}

int cacheapi_evict(const struct request *rq, struct reply *rp)
{
	struct evict_body b = {.bytes = NOT_GIVEN, .idle = NOT_GIVEN};
	json_t *object cleanup(cleanup_json) = NULL;
	struct evict_report report = {0};
	int r = body_read(rq->body, rq->length, evict_fields, &b, &object);

	if (r == 0)
		r = evict(rq->daemon, &b, &report);
	return r < 0 ? r : reply_json(rp, 200, cachejson_evicted(&report));
}

struct resize_body {
	uint64_t bytes;
};

static const struct body_field resize_fields[] = {
	{"bytes", BODY_NUMBER, true, offsetof(struct resize_body, bytes)},
	{0},
};

int cacheapi_resize(const struct request *rq, struct reply *rp)
{
	json_t *object cleanup(cleanup_json) = NULL;
	struct resize_body b = {0};
	struct resize_report report;
	int r = body_read(rq->body, rq->length, resize_fields, &b, &object);

	if (r == 0)
		r = resize_cache(rq->daemon->cache, b.bytes, &report);
	return r < 0 ? r
		     : reply_json(rp, 200, cachejson_resized(b.bytes, &report));
}

struct load_body {
	const char *snapshot;
	uint64_t rate;
	bool working_set;
};

static const struct body_field warm_fields[] = {
	{"snapshot", BODY_STRING, true, offsetof(struct load_body, snapshot)},
	{"rate", BODY_NUMBER, false, offsetof(struct load_body, rate)},
	{"working_set", BODY_FLAG, false,
	 offsetof(struct load_body, working_set)},
	{0},
};

static const struct body_field pin_fields[] = {
	{"snapshot", BODY_STRING, true, offsetof(struct load_body, snapshot)},
	{"rate", BODY_NUMBER, false, offsetof(struct load_body, rate)},
	{0},
};

static const struct body_field unpin_fields[] = {
	{"snapshot", BODY_STRING, true, offsetof(struct load_body, snapshot)},
	{0},
};

typedef int load_fn(struct jobs *j, struct snapshot *snap,
		    const struct jobs_options *options, uint64_t *ret_id);

static int load(const struct request *rq, const struct body_field *fields,
		load_fn *start, struct reply *rp)
{
	struct snapshot *snap cleanup(cleanup_snapshot) = NULL;
	json_t *object cleanup(cleanup_json) = NULL;
	struct load_body b = {0};
	uint64_t id = 0;
	int r = body_read(rq->body, rq->length, fields, &b, &object);

	if (r == 0)
		r = snapshot_open(rq->daemon->store, b.snapshot, &snap);
	if (r == 0) {
		const struct jobs_options options = {
			.rate = b.rate,
			.working_set = b.working_set,
		};

		r = start(rq->daemon->jobs, snap, &options, &id);
	}
	return r < 0 ? r
		     : reply_json(rp, 202,
				  json_pack("{s:I, s:s}", "job", (json_int_t)id,
					    "snapshot", b.snapshot));
}

int cacheapi_warm(const struct request *rq, struct reply *rp)
{
	return load(rq, warm_fields, jobs_warm, rp);
}

int cacheapi_pin(const struct request *rq, struct reply *rp)
{
	return load(rq, pin_fields, jobs_pin, rp);
}

int cacheapi_cancel(const struct request *rq, struct reply *rp)
{
	uint64_t id;
	int r = text_parse_u64(rq->parameter, &id);

	if (r < 0)
		return err_set(-EINVAL, "a job's id is a number");
	r = jobs_cancel(rq->daemon->jobs, id);
	return r < 0 ? r
		     : reply_json(rp, 202,
				  json_pack("{s:I}", "job", (json_int_t)id));
}

int cacheapi_unpin(const struct request *rq, struct reply *rp)
{
	json_t *object cleanup(cleanup_json) = NULL;
	struct load_body b = {0};
	int r = body_read(rq->body, rq->length, unpin_fields, &b, &object);

	if (r == 0)
		r = pins_remove(rq->daemon->pins, b.snapshot);
	return r < 0 ? r
		     : reply_json(rp, 200,
				  json_pack("{s:s}", "snapshot", b.snapshot));
}
