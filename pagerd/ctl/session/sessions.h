/* The commands on the daemon's sessions. Each returns the exit status. */
#pragma once

struct invocation;

int sessions_create(const struct invocation *inv);
int sessions_list(const struct invocation *inv);
int sessions_show(const struct invocation *inv);
int sessions_close(const struct invocation *inv);
int sessions_complete(const struct invocation *inv);
