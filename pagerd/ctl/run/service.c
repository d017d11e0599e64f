#include "pagerd/ctl/run/service.h"

#include <string.h>

#include "fs/base/cleanup.h"
#include "pagerd/client/api.h"
#include "pagerd/ctl/term/output.h"

DEFINE_CLEANUP(http, struct http *, http_free)
DEFINE_CLEANUP(json, json_t *, json_decref)

int service_call(const struct invocation *inv, const char *method,
		 const char *path, const json_t *body, json_t **ret_reply)
{
	struct http *h cleanup(cleanup_http) = NULL;
	int r = api_open(inv->runtime, &h);

	return r < 0 ? r : api_call(h, method, path, body, ret_reply);
}

static int print(const struct invocation *inv, const json_t *reply)
{
	return inv->json ? output_json(inv, json_deep_copy(reply))
			 : output_fields(inv, reply);
}

int service_health(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	const char *state;
	int r = service_call(inv, "GET", "/v1/health", NULL, &reply);

	if (r < 0)
		return output_error("health", r);
	r = print(inv, reply);
	state = json_string_value(json_object_get(reply, "status"));
	if (r == STATUS_DONE && (!state || strcmp(state, "ok") != 0))
		return STATUS_FAILED;
	return r;
}

int service_stats(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	int r = service_call(inv, "GET", "/v1/stats", NULL, &reply);

	return r < 0 ? output_error("stats", r) : print(inv, reply);
}

/* Both tell whether it drains now, and how many sessions are left. */
static int set_draining(const struct invocation *inv, const char *what,
			const char *path)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	int r = service_call(inv, "POST", path, NULL, &reply);

	return r < 0 ? output_error(what, r) : print(inv, reply);
}

int service_drain(const struct invocation *inv)
{
	return set_draining(inv, "drain", "/v1/drain");
}

int service_undrain(const struct invocation *inv)
{
	return set_draining(inv, "undrain", "/v1/undrain");
}
