/* The commands on the daemon itself. Each returns the exit status. */
#pragma once

#include <jansson.h>

struct invocation;

int service_health(const struct invocation *inv);
int service_stats(const struct invocation *inv);
int service_drain(const struct invocation *inv);
int service_undrain(const struct invocation *inv);

/*
 * One call of the daemon's control API, as api_call(); the connection is made
 * for it.
 */
int service_call(const struct invocation *inv, const char *method,
		 const char *path, const json_t *body, json_t **ret_reply);
