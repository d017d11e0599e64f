/*
 * A worker that sleeps is woken by the guest's fault, which costs both of them
 * a switch of the processor and, where it had gone idle, much more: 20 to 50
 * us against 3 for the answer. So for a moment after it ran out of work a
 * worker looks on, by epoll_wait(2) without a wait, which tells of everything
 * it would be woken for.
 *
 * It does so only while it may gain:
 *  - for HOT_NS after a VM's handshake, when faults come one upon another;
 *  - while no more workers are awake than half the processors, this one
 *    counted: each fault has a guest's processor, too, and a worker that
 *    spins where the guest could run makes it slower;
 *  - not for REST_NS after a look took so long that somebody else must have
 *    had the processor, as then others want it;
 *  - nor after VAIN spins in a row met nothing: the guest is busy otherwise,
 *    or waits for a disk.
 *
 * Measured (pagerbench fault, 2 processors, quiet, off and on): warm p50 45.0
 * and 35.3 us, cold 56.7 and 47.5. Where others keep the processors busy, or
 * the guest shares ours, it is 7.6 us with and without.
 */
#include "pagerd/uffd/serve/turn/spin.h"

#include <sys/epoll.h>

#include "pagerd/uffd/serve/worker.h"

#define HOT_NS	  UINT64_C(2000000000)
#define STOLEN_NS UINT64_C(20000)
#define REST_NS	  UINT64_C(50000000)
#define VAIN	  8u

void spin_heat(struct session *s)
{
	struct worker *w = atomic_load(&s->worker);

	w->spin.hot = s;
	w->spin.hot_until = worker_now() + HOT_NS;
	w->spin.in_vain = 0;
	w->spin.not_before = 0;
}

void spin_leave(struct session *s)
{
	struct worker *w = atomic_load(&s->worker);

	if (w->spin.hot == s)
		w->spin.hot = NULL;
}

static bool is_promising(struct worker *w, uint64_t now)
{
	const struct spin_shared *shared = w->spinning;
	struct spin *spin = &w->spin;

	if (now >= spin->hot_until)
		spin->hot = NULL;
	if (!spin->hot || now < spin->not_before)
		return false;
	return 2 * atomic_load_explicit(&shared->awake, memory_order_relaxed) <=
	       shared->processors;
}

/* Until there is something, or `until`. False where others want to run. */
static bool look(struct worker *w, uint64_t now, uint64_t until,
		 struct epoll_event *events, int max, int *ret_count)
{
	while (now < until) {
		uint64_t before = now;

		*ret_count = epoll_wait(w->epoll_fd, events, max, 0);
		if (*ret_count > 0)
			return true;
		now = worker_now();
		if (now - before > STOLEN_NS)
			return false;
	}
	return true;
}

int spin_for_events(struct worker *w, struct epoll_event *events, int max)
{
	struct spin *spin = &w->spin;
	uint64_t begin, end;
	int count = 0;
	bool alone;

	if (!spin->hot || w->spinning->most_ns == 0)
		return 0;
	begin = worker_now();
	if (!is_promising(w, begin))
		return 0;
	alone = look(w, begin, begin + w->spinning->most_ns, events, max,
		     &count);
	end = worker_now();
	session_count(spin->hot, SESSION_COUNT_SPINS, 1);
	session_count(spin->hot, SESSION_COUNT_SPUN, (end - begin) / 1000);
	if (count > 0) {
		session_count(spin->hot, SESSION_COUNT_SPIN_HITS, 1);
		spin->in_vain = 0;
		return count;
	}
	if (!alone || ++spin->in_vain == VAIN) {
		spin->in_vain = 0;
		spin->not_before = end + REST_NS;
	}
	return 0;
}

void spin_sleeps(struct worker *w)
{
	atomic_fetch_sub(&w->spinning->awake, 1);
}

void spin_wakes(struct worker *w)
{
	atomic_fetch_add(&w->spinning->awake, 1);
}
