#include "pagerd/control/lifecycle.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "pagerd/control/mount/daemonmount.h"

#define REPORT_MS      10000
#define RETRY_MS       50 /* whether all may be left yet */
#define REPORT_NS      (UINT64_C(1000000) * REPORT_MS)
#define EXTEND_US      "30000000" /* three reports' worth */
#define NAMES_SHOWN    8
#define NAMES_TEXT_MAX (NAMES_SHOWN * (SESSION_ID_MAX + 2) + 16)

enum phase { PHASE_RUNNING, PHASE_ENDING, PHASE_FORCED };

struct lifecycle {
	struct daemon *daemon;
	enum phase phase;
	size_t reported;      /* sessions, as told last */
	uint64_t reported_ns; /* when */
	int watchdog_ms;      /* between two feedings; 0: none wanted */
	uint64_t feed_at;
};

static void fill_set(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGQUIT);
}

void lifecycle_block_signals(void)
{
	sigset_t set;

	fill_set(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* A peer that has gone is an error of its write, no more. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* The terminal's end is no reason to leave VMs alone. */
	(void)signal(SIGHUP, SIG_IGN);
}

/* "a, b, c and 5 more" */
static void name_sessions(struct registry *r, char text[NAMES_TEXT_MAX])
{
	struct session **sessions;
	size_t count, at = 0;

	text[0] = '\0';
	if (registry_list(r, &sessions, &count) < 0)
		return;
	for (size_t i = 0; i < count && i < NAMES_SHOWN; i++)
		at += (size_t)snprintf(text + at, NAMES_TEXT_MAX - at, "%s%s",
				       i ? ", " : "", session_id(sessions[i]));
	if (count > NAMES_SHOWN)
		(void)snprintf(text + at, NAMES_TEXT_MAX - at, " and %zu more",
			       count - NAMES_SHOWN);
	registry_list_free(sessions, count);
}

static void report_waiting(struct lifecycle *l, size_t count)
{
	char names[NAMES_TEXT_MAX];

	(void)sd_notifyf(0,
			 "EXTEND_TIMEOUT_USEC=" EXTEND_US
			 "\nSTATUS=Ending: waiting for %zu session(s)",
			 count);
	if (count == l->reported && daemon_now() - l->reported_ns < REPORT_NS)
		return;
	name_sessions(l->daemon->registry, names);
	log_info("ending: waiting for %zu session(s) that VMs depend on: %s",
		 count, names);
	l->reported = count;
	l->reported_ns = daemon_now();
}

static void report_running(struct lifecycle *l, size_t count)
{
	if (count == l->reported)
		return;
	l->reported = count;
	(void)sd_notifyf(0, "STATUS=Serving %zu session(s)", count);
}

/*
 * Again at each wake-up: a session that was just being made when the end
 * began is known by now, and a VM that was busy may have gone.
 */
static bool is_over(struct lifecycle *l)
{
	struct registry *r = l->daemon->registry;
	size_t count;

	if (l->phase == PHASE_RUNNING) {
		count = registry_count(r);
		report_running(l, count);
		if (count > 0 || !l->daemon->exit_when_drained ||
		    !registry_draining(r))
			return false;
		/* Now an undrain comes too late for another session. */
		registry_stop(r);
		l->phase = PHASE_ENDING;
	}
	if (l->phase == PHASE_ENDING && registry_leave(r) == 0)
		return true;
	if (l->phase == PHASE_FORCED)
		registry_close_all(r, POOL_CLOSE_FORCE);
	count = registry_count(r);
	if (count > 0)
		report_waiting(l, count);
	return count == 0;
}

static void take_signal(struct lifecycle *l, const struct signalfd_siginfo *si)
{
	enum phase phase = si->ssi_signo == SIGQUIT ? PHASE_FORCED
						    : PHASE_ENDING;

	log_info("SIG%s from process %u: %s", sigabbrev_np((int)si->ssi_signo),
		 si->ssi_pid,
		 phase == PHASE_FORCED
			 ? "ending every session by its policy"
			 : "ending, and leaving VMs to the next daemon");
	if (phase > l->phase)
		l->phase = phase;
	l->reported = 0;
	registry_stop(l->daemon->registry);
	(void)sd_notify(0, "STOPPING=1");
}

static void read_signals(struct lifecycle *l, int fd)
{
	struct signalfd_siginfo si;

	while (read(fd, &si, sizeof(si)) == sizeof(si))
		take_signal(l, &si);
}

/*
 * Twice in the time that systemd gives us, and only while the workers get on:
 * one that hangs leaves its VMs hanging, and the next daemon need not.
 */
static void feed_watchdog(struct lifecycle *l)
{
	uint64_t now = daemon_now();

	if (l->watchdog_ms == 0 || now < l->feed_at)
		return;
	l->feed_at = now + (uint64_t)l->watchdog_ms * 1000000;
	if (registry_progresses(l->daemon->registry))
		(void)sd_notify(0, "WATCHDOG=1");
	else
		log_error("a worker has made no progress for %d ms",
			  l->watchdog_ms);
}

static int wait_for_end(struct lifecycle *l, int signal_fd)
{
	static const int timeouts[] = {
		[PHASE_RUNNING] = -1,
		[PHASE_ENDING] = RETRY_MS,
		[PHASE_FORCED] = REPORT_MS,
	};
	struct pollfd fds[] = {
		{.fd = signal_fd, .events = POLLIN},
		{.fd = registry_fd(l->daemon->registry), .events = POLLIN},
		{.events = POLLIN},
	};
	struct daemonmount *mount = l->daemon->mount;
	eventfd_t events;

	while (!is_over(l)) {
		int timeout = timeouts[l->phase];

		if (l->watchdog_ms > 0 &&
		    (timeout < 0 || timeout > l->watchdog_ms))
			timeout = l->watchdog_ms;
		feed_watchdog(l);
		fds[2].fd = daemonmount_fd(mount);
		if (poll(fds, 3, timeout) < 0 && errno != EINTR)
			return err_set(-errno, "poll: %s",
				       strerrordesc_np(errno));
		(void)eventfd_read(fds[1].fd, &events);
		read_signals(l, signal_fd);
		if (fds[2].revents)
			daemonmount_note(mount);
	}
	return 0;
}

int lifecycle_run(struct daemon *d)
{
	_cleanup_close_ int signal_fd = -1;
	struct lifecycle l = {.daemon = d};
	uint64_t watchdog_us = 0;
	sigset_t set;
	int r;

	if (sd_watchdog_enabled(0, &watchdog_us) > 0)
		l.watchdog_ms = (int)(watchdog_us / 2000) ?: 1;
	/* Its workers are just starting, which is no hang. */
	l.feed_at = daemon_now() + (uint64_t)l.watchdog_ms * 1000000;
	fill_set(&set);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return err_set(-errno, "signalfd: %s", strerrordesc_np(errno));
	log_info("pagerd " PAGER_VERSION " ready store=%s runtime=%s",
		 store_path(d->store), rundir_path(d->rundir));
	(void)sd_notify(0, "READY=1\nSTATUS=Serving 0 session(s)");
	r = wait_for_end(&l, signal_fd);
	if (r < 0)
		return r;
	return registry_count(d->registry) > 0;
}
