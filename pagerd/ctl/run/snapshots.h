/* The commands on the store. Each returns the exit status. */
#pragma once

struct invocation;

int snapshots_init(const struct invocation *inv);
int snapshots_publish(const struct invocation *inv);
int snapshots_list(const struct invocation *inv);
int snapshots_show(const struct invocation *inv);
int snapshots_export(const struct invocation *inv);
int snapshots_rm(const struct invocation *inv);
int snapshots_rename(const struct invocation *inv);
