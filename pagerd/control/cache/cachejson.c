#include "pagerd/control/cache/cachejson.h"

#include "fs/base/cleanup.h"
#include "fs/cache/admin/jobs.h"
#include "fs/cache/admin/usage.h"
#include "fs/cache/observe/curve.h"
#include "pagerd/control/stats.h"

#define SNAPSHOTS_SHOWN 20

static json_t *bytes_of(uint64_t blocks)
{
	uint64_t bytes = blocks * PAGER_PAGE_SIZE;

	return json_integer((json_int_t)bytes);
}

static json_t *pins(const struct daemon *d)
{
	json_t *array = json_array();
	struct pin_status *list;
	size_t count;

	if (pins_list(d->pins, &list, &count) < 0) {
		json_decref(array);
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(
			array, json_pack("{s:s, s:I, s:I, s:o}", "snapshot",
					 list[i].snapshot, "blocks",
					 (json_int_t)list[i].blocks, "held",
					 (json_int_t)list[i].held, "bytes",
					 bytes_of(list[i].held)));
	pins_list_free(list, count);
	return array;
}

static json_t *job(const struct job_status *s)
{
	return json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:s*}", "id",
			 (json_int_t)s->id, "kind", s->kind, "snapshot",
			 s->snapshot, "state", jobs_state_name(s->state),
			 "blocks", (json_int_t)s->blocks, "done",
			 (json_int_t)s->done, "found", (json_int_t)s->found,
			 "seconds", (double)s->elapsed_ns / 1e9, "error",
			 s->error);
}

static json_t *jobs(const struct daemon *d)
{
	json_t *array = json_array();
	struct job_status *list;
	size_t count;

	if (jobs_list(d->jobs, &list, &count) < 0) {
		json_decref(array);
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(array, job(&list[i]));
	jobs_list_free(list, count);
	return array;
}

json_t *cachejson_show(const struct daemon *d)
{
	struct cache_stats stats;
	json_t *object;

	cache_stats(d->cache, &stats);
	object = stats_cache(&stats);
	if (json_object_set_new(object, "pins", pins(d)) < 0 ||
	    json_object_set_new(object, "jobs", jobs(d)) < 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}

json_t *cachejson_curve(struct cache *c)
{
	json_t *points = json_array();
	struct curve_report r;

	cache_curve(c, &r);
	for (int i = 0; i < CURVE_POINTS; i++)
		(void)json_array_append_new(
			points,
			json_pack("{s:f, s:I, s:I, s:f, s:f}", "scale",
				  (double)curve_quarters[i] / 4, "blocks",
				  (json_int_t)r.points[i].slots, "bytes",
				  (json_int_t)r.points[i].bytes, "hit_ratio",
				  r.points[i].hit_ratio, "fault_hit_ratio",
				  r.points[i].fault_hit_ratio));
	return json_pack("{s:f, s:I, s:I, s:o}", "sampled_share", r.rate,
			 "lookups", (json_int_t)r.lookups, "sampled_lookups",
			 (json_int_t)r.sampled, "points", points);
}

json_t *cachejson_snapshots(const struct daemon *d)
{
	struct usage *list;
	json_t *array;
	size_t count;

	if (usage_top(d->cache, d->store, SNAPSHOTS_SHOWN, &list, &count) < 0)
		return NULL;
	array = json_array();
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(
			array, json_pack("{s:s, s:I, s:o}", "snapshot",
					 list[i].snapshot, "blocks",
					 (json_int_t)list[i].blocks, "bytes",
					 bytes_of(list[i].blocks)));
	usage_free(list, count);
	return json_pack("{s:o}", "snapshots", array);
}

json_t *cachejson_evicted(const struct evict_report *r)
{
	return json_pack("{s:I, s:o, s:{s:I, s:I, s:I, s:I, s:I}}", "blocks",
			 (json_int_t)r->blocks, "freed_bytes",
			 bytes_of(r->blocks), "skipped", "pinned",
			 (json_int_t)r->held, "in_use", (json_int_t)r->pinned,
			 "being_read", (json_int_t)r->filling, "absent",
			 (json_int_t)r->absent, "recent",
			 (json_int_t)r->recent);
}

json_t *cachejson_resized(uint64_t asked, const struct resize_report *r)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "asked",
			 (json_int_t)asked, "before", (json_int_t)r->before,
			 "limit", (json_int_t)r->limit, "bytes",
			 (json_int_t)r->bytes, "evicted_blocks",
			 (json_int_t)r->evicted, "blocks_in_the_way",
			 (json_int_t)r->stragglers);
}
