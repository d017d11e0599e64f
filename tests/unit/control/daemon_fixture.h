/*
 * A whole daemon in this process, over a store with one snapshot, and VMMs
 * in processes of their own.
 */
#pragma once

#include <sys/types.h>

#include "pagerd/control/daemon.h"
#include "tests/unit/store/scratch.h"

#define FIXTURE_SNAPSHOT "guest"
#define FIXTURE_PAGES	 64u

struct daemon_fixture {
	char folder[SCRATCH_PATH_MAX];
	struct daemon *daemon;
};

/* For cmocka; *state is a struct daemon_fixture. Four sessions at most. */
int daemon_fixture_set_up(void **state);

/* Every VMM must be gone, or go. */
int daemon_fixture_tear_down(void **state);

/*
 * Forks a VMM that connects to a session's socket, hands its memory over and
 * reads one page of it, which is checked, and then waits for its end. Returns
 * when the page was right.
 */
pid_t daemon_fixture_vmm(const char *socket_path);

/* SIGKILL, and reaps it. */
void daemon_fixture_kill(pid_t vmm);

/* Reaps it; the signal that ended it. */
int daemon_fixture_reap(pid_t vmm);

/* A session with this id, NULL for any, and policy kill; a reference. */
struct session *daemon_fixture_create(struct daemon_fixture *f, const char *id);
