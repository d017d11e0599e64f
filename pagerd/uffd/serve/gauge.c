#include "pagerd/uffd/serve/gauge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/log.h"
#include "pagerd/uffd/serve/worker.h"

/* A look costs some 10 us a session. */
#define GAUGE_NS UINT64_C(3000000000)

/* Threads that wait; 0 where it cannot be told. */
static uint64_t threads_waiting(int uffd)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[40], line[64];
	uint64_t total;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", uffd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "total: %" SCNu64, &total) == 1)
			return total;
	return 0;
}

static bool is_idle(const struct session *s)
{
	return session_state(s) == SESSION_SERVING &&
	       atomic_load(&s->shown.outstanding) == 0;
}

static void mend(struct session *s, uint64_t waiting)
{
	session_count(s, SESSION_COUNT_LOST, waiting);
	log_error("%" PRIu64 " thread(s) wait for faults that we were never "
		  "told of: they are woken session=%s snapshot=%s vmm=%d",
		  waiting, s->id, s->snapshot_name, (int)s->shown.vmm_pid);
	regions_wake(&s->regions, s->uffd.fd);
}

static void look(struct session *s, uint64_t now)
{
	uint64_t heard = session_counter(s, SESSION_COUNT_FAULTS);
	uint64_t waiting = is_idle(s) ? threads_waiting(s->uffd.fd) : 0;
	bool again = waiting && s->gauge_waiting && heard == s->gauge_heard;

	s->gauge_waiting = waiting > 0;
	s->gauge_heard = heard;
	if (!again) {
		atomic_store(&s->shown.unheard_since, 0);
		return;
	}
	if (!atomic_load(&s->shown.unheard_since))
		atomic_store(&s->shown.unheard_since, now - GAUGE_NS);
	mend(s, waiting);
}

static void look_at_all(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, gauge_timer);
	uint64_t now = worker_now();

	list_foreach (n, &w->sessions)
		look(container_of(n, struct session, node), now);
	gauge_start(w);
}

void gauge_start(struct worker *w)
{
	if (!list_empty(&w->sessions) && !w->gauge_timer.armed)
		timer_arm(&w->timers, &w->gauge_timer, worker_now() + GAUGE_NS,
			  look_at_all);
}
