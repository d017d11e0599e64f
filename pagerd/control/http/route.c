#include "pagerd/control/http/route.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "pagerd/control/cache/cacheapi.h"
#include "pagerd/control/http/api.h"
#include "pagerd/control/http/predecessor.h"
#include "pagerd/control/session/sessionapi.h"
#include "pagerd/control/snapshot/snapshotapi.h"

const struct route routes[] = {
	{"GET", "/v1/health", api_health, "Is every VM being served?", false},
	{"GET", "/v1/stats", api_stats, "Sums over all sessions, and the cache",
	 false},
	{"GET", "/v1/snapshots", snapshotapi_list, "The snapshots of the store",
	 false},
	{"POST", "/v1/snapshots", snapshotapi_publish,
	 "Publish a guest's memory from files", true},
	{"DELETE", "/v1/snapshots/{id}", snapshotapi_delete,
	 "Remove a snapshot", true},
	{"GET", "/v1/sessions", api_sessions, "All sessions", false},
	{"POST", "/v1/sessions", sessionapi_create, "Make a session", false},
	{"GET", "/v1/sessions/{id}", api_session_show, "One session", false},
	{"DELETE", "/v1/sessions/{id}", api_session_delete, "End a session",
	 true},
	{"POST", "/v1/sessions/{id}/complete", sessionapi_complete,
	 "Install all that is absent and let the VM go", true},
	{"GET", "/v1/cache", cacheapi_show, "The block cache", false},
	{"GET", "/v1/cache/curve", cacheapi_curve,
	 "Hit ratios predicted for other sizes of the cache", false},
	{"GET", "/v1/cache/snapshots", cacheapi_snapshots,
	 "The snapshots that use most of the cache", false},
	{"POST", "/v1/cache/evict", cacheapi_evict, "Evict blocks", false},
	{"POST", "/v1/cache/resize", cacheapi_resize,
	 "Change the cache's limit", false},
	{"POST", "/v1/cache/pin", cacheapi_pin,
	 "Read a snapshot into the cache and keep it there", false},
	{"POST", "/v1/cache/unpin", cacheapi_unpin, "Let a pinned snapshot go",
	 false},
	{"POST", "/v1/cache/warm", cacheapi_warm,
	 "Read a snapshot into the cache", false},
	{"DELETE", "/v1/cache/jobs/{id}", cacheapi_cancel,
	 "End a warm, or a pin that is being loaded", false},
	{"POST", "/v1/drain", api_drain, "Refuse new sessions", false},
	{"POST", "/v1/undrain", api_undrain, "Take new sessions again", false},
	{"GET", "/metrics", api_metrics, "Every counter, for Prometheus",
	 false},
	{"GET", "/health", predecessor_health, "Version and sessions", false},
	{"GET", "/stats", api_stats, "As /v1/stats", false},
	{"POST", "/sessions", predecessor_create, "Make a session", true},
	{"POST", "/drain", predecessor_drain, "Refuse new sessions", false},
	{"POST", "/sessions/{id}/complete", sessionapi_complete_old,
	 "Install all that is absent and let the VM go", true},
	{"POST", "/sessions/{id}/close", predecessor_close,
	 "End a session, or let it end with its VM", false},
};
const size_t route_count = sizeof(routes) / sizeof(routes[0]);

/* The length of a path's first segment, its '/' not counted. */
static size_t segment(const char *path)
{
	return strcspn(path, "/");
}

static bool take_parameter(const char *text, size_t len,
			   char parameter[ROUTE_PARAMETER_MAX])
{
	if (len == 0 || len >= ROUTE_PARAMETER_MAX)
		return false;
	memcpy(parameter, text, len);
	parameter[len] = '\0';
	return true;
}

static bool match(const char *pattern, const char *path,
		  char parameter[ROUTE_PARAMETER_MAX])
{
	parameter[0] = '\0';
	while (*pattern == '/' && *path == '/') {
		size_t wanted = segment(++pattern), given = segment(++path);

		if (*pattern == '{') {
			if (!take_parameter(path, given, parameter))
				return false;
		} else if (wanted != given ||
			   memcmp(pattern, path, wanted) != 0) {
			return false;
		}
		pattern += wanted;
		path += given;
	}
	return *pattern == '\0' && *path == '\0';
}

int route_find(const char *method, const char *path,
	       const struct route **ret_route,
	       char ret_parameter[ROUTE_PARAMETER_MAX])
{
	char parameter[ROUTE_PARAMETER_MAX];
	int r = -ENOENT;

	for (size_t i = 0; i < route_count; i++) {
		if (!match(routes[i].path, path, parameter))
			continue;
		r = -EOPNOTSUPP;
		if (strcmp(routes[i].method, method) == 0) {
			*ret_route = &routes[i];
			memcpy(ret_parameter, parameter, sizeof(parameter));
			return 0;
		}
	}
	return r;
}

void route_allowed(const char *path, char ret_methods[REPLY_ALLOW_MAX])
{
	char parameter[ROUTE_PARAMETER_MAX];
	size_t at = 0;

	ret_methods[0] = '\0';
	for (size_t i = 0; i < route_count; i++)
		if (match(routes[i].path, path, parameter))
			at += (size_t)snprintf(
				ret_methods + at, REPLY_ALLOW_MAX - at, "%s%s",
				at ? ", " : "", routes[i].method);
}
