#include "pagerd/ctl/run/cachectl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/text.h"
#include "pager/block.h"
#include "pagerd/client/api.h"
#include "pagerd/ctl/run/cacheshow.h"
#include "pagerd/ctl/run/service.h"
#include "pagerd/ctl/term/interrupt.h"
#include "pagerd/ctl/term/output.h"
#include "pagerd/ctl/term/progress.h"

#define POLL_NS 100000000L

DEFINE_CLEANUP(http, struct http *, http_free)
DEFINE_CLEANUP(json, json_t *, json_decref)

static int fail(const struct invocation *inv, int r)
{
	return output_error(inv->command->name, r);
}

static unsigned long long number(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (unsigned long long)n : 0;
}

int cachectl_stats(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	json_t *users cleanup(cleanup_json) = NULL;
	int r = service_call(inv, "GET", "/v1/cache", NULL, &reply);

	if (r == 0 && parse_count(inv, OPTION_SNAPSHOTS))
		r = service_call(inv, "GET", "/v1/cache/snapshots", NULL,
				 &users);
	if (r == 0 && users)
		r = json_object_update(reply, users) ? -ENOMEM : 0;
	if (r < 0)
		return fail(inv, r);
	return inv->json ? output_json(inv, steal_ptr(reply))
			 : cacheshow_stats(inv, reply);
}

int cachectl_curve(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	int r = service_call(inv, "GET", "/v1/cache/curve", NULL, &reply);

	if (r < 0)
		return fail(inv, r);
	return inv->json ? output_json(inv, steal_ptr(reply))
			 : cacheshow_curve(inv, reply);
}

static void print_resized(const json_t *reply)
{
	char before[TEXT_SIZE_MAX], limit[TEXT_SIZE_MAX];

	output_line("%s -> %s%s; %llu blocks evicted",
		    text_size(number(reply, "before"), before),
		    text_size(number(reply, "limit"), limit),
		    number(reply, "limit") > number(reply, "asked")
			    ? ", the least that works"
			    : "",
		    number(reply, "evicted_blocks"));
	if (number(reply, "blocks_in_the_way"))
		output_line("%llu blocks are in use and go when they are not",
			    number(reply, "blocks_in_the_way"));
}

int cachectl_resize(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	json_t *body cleanup(cleanup_json) = NULL;
	uint64_t bytes;
	int r = text_parse_size(inv->operands[0], &bytes);

	if (r == 0) {
		body = json_pack("{s:I}", "bytes", (json_int_t)bytes);
		r = service_call(inv, "POST", "/v1/cache/resize", body, &reply);
	}
	if (r < 0)
		return fail(inv, r);
	if (inv->json)
		return output_json(inv, steal_ptr(reply));
	if (!inv->quiet)
		print_resized(reply);
	return STATUS_DONE;
}

/* "; passed over: 3 pinned, 1 in use", what there was of it. */
static void print_evicted(const json_t *reply)
{
	static const struct {
		const char *key, *text;
	} reasons[] = {
		{"pinned", "pinned"},		{"in_use", "in use"},
		{"being_read", "being read"},	{"recent", "used since"},
		{"absent", "not in the cache"},
	};
	const json_t *skipped = json_object_get(reply, "skipped");
	const char *before = "; passed over: ";

	(void)printf("freed %llu bytes, %llu blocks",
		     number(reply, "freed_bytes"), number(reply, "blocks"));
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (!number(skipped, reasons[i].key))
			continue;
		(void)printf("%s%llu %s", before,
			     number(skipped, reasons[i].key), reasons[i].text);
		before = ", ";
	}
	(void)putchar('\n');
}

static json_t *number_or_null(const struct invocation *inv, enum option_id id,
			      uint64_t value)
{
	return parse_count(inv, id) ? json_integer((json_int_t)value) : NULL;
}

/* What stands for "not given" is left out. */
static json_t *evict_body(const struct invocation *inv)
{
	return json_pack(
		"{s:s*, s:s*, s:o*, s:o*, s:o*, s:o*}", "snapshot",
		parse_value(inv, OPTION_SNAPSHOT), "block",
		parse_value(inv, OPTION_BLOCK), "all",
		parse_count(inv, OPTION_ALL) ? json_true() : NULL, "force",
		parse_count(inv, OPTION_FORCE) ? json_true() : NULL, "bytes",
		number_or_null(inv, OPTION_BYTES,
			       parse_size(inv, OPTION_BYTES, 0)),
		"idle",
		number_or_null(inv, OPTION_IDLE,
			       parse_number(inv, OPTION_IDLE, 0)));
}

int cachectl_evict(const struct invocation *inv)
{
	unsigned int ways = parse_count(inv, OPTION_ALL) +
			    parse_count(inv, OPTION_SNAPSHOT) +
			    parse_count(inv, OPTION_BLOCK) +
			    parse_count(inv, OPTION_BYTES) +
			    parse_count(inv, OPTION_IDLE);
	json_t *reply cleanup(cleanup_json) = NULL;
	json_t *body cleanup(cleanup_json) = NULL;
	int r;

	if (ways != 1)
		return output_usage(inv, "exactly one of --all, --snapshot, "
					 "--block, --bytes and --idle is "
					 "needed");
	if (parse_count(inv, OPTION_FORCE) &&
	    !parse_count(inv, OPTION_SNAPSHOT))
		return output_usage(inv, "--force goes with --snapshot");
	body = evict_body(inv);
	r = body ? service_call(inv, "POST", "/v1/cache/evict", body, &reply)
		 : err_set(-EINVAL, "the text is not UTF-8");
	if (r < 0)
		return fail(inv, r);
	if (inv->json)
		return output_json(inv, steal_ptr(reply));
	if (!inv->quiet)
		print_evicted(reply);
	return STATUS_DONE;
}

int cachectl_unpin(const struct invocation *inv)
{
	json_t *body cleanup(cleanup_json) =
		json_pack("{s:s}", "snapshot", inv->operands[0]);
	json_t *reply cleanup(cleanup_json) = NULL;
	int r = service_call(inv, "POST", "/v1/cache/unpin", body, &reply);

	if (r < 0)
		return fail(inv, r);
	return inv->json ? output_json(inv, steal_ptr(reply)) : STATUS_DONE;
}

/* A reference to the job; NULL where the daemon does not know it any more. */
static json_t *find_job(const json_t *cache, unsigned long long id)
{
	const json_t *jobs = json_object_get(cache, "jobs");
	json_t *job;
	size_t i;

	json_array_foreach(jobs, i, job)
	{
		if (number(job, "id") == id)
			return json_incref(job);
	}
	return NULL;
}

static int ask_for_job(struct http *h, unsigned long long id, json_t **ret_job)
{
	json_t *cache cleanup(cleanup_json) = NULL;
	int r = api_call(h, "GET", "/v1/cache", NULL, &cache);

	if (r < 0)
		return r;
	*ret_job = find_job(cache, id);
	return *ret_job ? 0
			: err_set(-EPROTO, "the daemon has forgotten the job");
}

static int cancel_job(struct http *h, unsigned long long id)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/v1/cache/jobs/%llu", id);
	return api_call(h, "DELETE", path, NULL, NULL);
}

/*
 * Its end is only to be had by asking. Interrupted, the job is ended, and
 * followed to there; a second signal does not wait for that.
 */
static int follow(struct http *h, unsigned long long id, struct progress *p,
		  json_t **ret_job)
{
	const volatile int *interrupted = interrupt_watch();
	const struct timespec pause = {.tv_nsec = POLL_NS};
	bool cancelled = false;
	json_t *job;
	int r;

	while ((r = ask_for_job(h, id, &job)) == 0) {
		const char *state =
			json_string_value(json_object_get(job, "state"));

		progress_report(p, number(job, "done") * PAGER_PAGE_SIZE,
				number(job, "blocks") * PAGER_PAGE_SIZE);
		if (!state || strcmp(state, "running") != 0) {
			*ret_job = job;
			return 0;
		}
		json_decref(job);
		(void)nanosleep(&pause, NULL);
		if (!*interrupted || cancelled)
			continue;
		r = cancel_job(h, id);
		if (r < 0)
			return r;
		cancelled = true;
	}
	return r;
}

static int run_job(const struct invocation *inv, const char *path,
		   const json_t *body, json_t **ret_job)
{
	struct http *h cleanup(cleanup_http) = NULL;
	json_t *reply cleanup(cleanup_json) = NULL;
	struct progress progress;
	int r = api_open(inv->runtime, &h);

	if (r == 0)
		r = api_call(h, "POST", path, body, &reply);
	if (r < 0)
		return r;
	progress_init(&progress, inv->command->name, inv->quiet || inv->json);
	r = follow(h, number(reply, "job"), &progress, ret_job);
	progress_release(&progress);
	return r;
}

/* By our own signal, or by somebody else. */
static int tell_cancelled(const struct invocation *inv, const json_t *job)
{
	int status = fail(inv, err_set(-ECANCELED,
				       "%s: cancelled after %llu of %llu "
				       "blocks",
				       inv->operands[0], number(job, "done"),
				       number(job, "blocks")));

	return interrupt_status() ? interrupt_status() : status;
}

static int tell_job(const struct invocation *inv, json_t *job)
{
	const char *error = json_string_value(json_object_get(job, "error"));
	const char *state = json_string_value(json_object_get(job, "state"));
	char size[TEXT_SIZE_MAX];
	int status = STATUS_DONE;

	if (error)
		status = fail(inv, err_set(-EIO, "%s", error));
	else if (strcmp(state, "cancelled") == 0)
		status = tell_cancelled(inv, job);
	if (inv->json)
		(void)output_json(inv, json_incref(job));
	else if (status == STATUS_DONE && !inv->quiet)
		output_line(
			"%s: %llu blocks, %s, of which %llu were there",
			inv->operands[0], number(job, "done"),
			text_size(number(job, "done") * PAGER_PAGE_SIZE, size),
			number(job, "found"));
	return status;
}

static int load(const struct invocation *inv, const char *path,
		bool working_set)
{
	json_t *body cleanup(cleanup_json) = json_pack(
		"{s:s, s:o*, s:o*}", "snapshot", inv->operands[0], "rate",
		number_or_null(inv, OPTION_RATE,
			       parse_size(inv, OPTION_RATE, 0)),
		"working_set", working_set ? json_true() : NULL);
	json_t *job cleanup(cleanup_json) = NULL;
	int r = run_job(inv, path, body, &job);

	return r < 0 ? fail(inv, r) : tell_job(inv, job);
}

int cachectl_pin(const struct invocation *inv)
{
	return load(inv, "/v1/cache/pin", false);
}

int cachectl_warm(const struct invocation *inv)
{
	return load(inv, "/v1/cache/warm",
		    parse_count(inv, OPTION_WORKING_SET) > 0);
}

int cachectl_cancel(const struct invocation *inv)
{
	struct http *h cleanup(cleanup_http) = NULL;
	uint64_t id;
	int r = text_parse_u64(inv->operands[0], &id);

	if (r == 0)
		r = api_open(inv->runtime, &h);
	if (r == 0)
		r = cancel_job(h, id);
	return r < 0 ? fail(inv, r) : STATUS_DONE;
}
