/* The commands on the daemon's cache. Each returns the exit status. */
#pragma once

struct invocation;

int cachectl_stats(const struct invocation *inv);
int cachectl_curve(const struct invocation *inv);
int cachectl_resize(const struct invocation *inv);
int cachectl_evict(const struct invocation *inv);
int cachectl_pin(const struct invocation *inv);
int cachectl_unpin(const struct invocation *inv);
int cachectl_warm(const struct invocation *inv);
int cachectl_cancel(const struct invocation *inv);
