#include "pagerd/uffd/fault/policy.h"

#include <errno.h>
#include <inttypes.h>

#include "fs/base/err.h"
#include "fs/base/log.h"
#include "pagerd/uffd/connect/peer.h"
#include "pagerd/uffd/serve/worker.h"

/* What is tried one after the other; the last always works. */
static const enum session_policy orders[][3] = {
	[SESSION_KILL] = {SESSION_KILL, SESSION_POISON, SESSION_STALL},
	[SESSION_POISON] = {SESSION_POISON, SESSION_KILL, SESSION_STALL},
	[SESSION_STALL] = {SESSION_STALL, SESSION_STALL, SESSION_STALL},
};

/* Steps of a forced poisoning at a time, each of up to 2 MiB. */
#define POISON_STEPS 256
#define POISON_PAUSE UINT64_C(1000000)

static bool kill_vmm(struct session *s, enum session_end end)
{
	int r;

	if (s->vmm.fd < 0)
		return false;
	r = peer_kill(s->vmm.fd);
	if (r < 0 && r != -ESRCH)
		return false;
	/* The pidfd tells when it is dead; nothing is closed before. */
	s->end = end;
	session_set_state(s, SESSION_FAILING);
	return true;
}

static bool was_killed(const struct session *s)
{
	return session_state(s) == SESSION_FAILING &&
	       s->end == SESSION_END_FAILED;
}

static void tell(const struct fault *f, const char *what, int error)
{
	struct session *s = f->session;

	log_error("a page cannot be had: %s; %s session=%s snapshot=%s "
		  "page=%" PRIu64 " address=0x%" PRIx64 " pack=%" PRIu64
		  " slot=%" PRIu32 " vmm=%d",
		  err_text(error), what, s->id, s->snapshot_name, f->page,
		  f->address, pager_block_pack(f->fetch.block),
		  pager_block_slot(f->fetch.block), (int)s->shown.vmm_pid);
}

static void stall_over(struct timer *t)
{
	fault_step(container_of(t, struct fault, timer));
}

static void stall(struct fault *f, int error)
{
	struct session *s = f->session;
	uint64_t now = worker_now();

	session_count(s, SESSION_COUNT_STALLS, 1);
	session_adjust(&s->shown.stalled, 1);
	if (now >= s->next_alarm) {
		tell(f, "the VM is stalled until it can", error);
		s->next_alarm = now + s->stall_ns;
	}
	f->stage = FAULT_STALLED;
	f->put_off_since = 0;
	timer_arm(&f->worker->timers, &f->timer, now + s->stall_ns, stall_over);
}

void policy_poison(struct fault *f)
{
	struct session *s = f->session;
	uint64_t size = f->region ? f->region->page_size : PAGER_PAGE_SIZE;
	struct uffd_outcome o = uffd_poison(s->uffd.fd, f->address, size);

	if (o.result == UFFD_DONE) {
		session_count(s, SESSION_COUNT_POISONED,
			      size / PAGER_PAGE_SIZE);
		if (f->region)
			pagestate_set(s->pages, f->page, size / PAGER_PAGE_SIZE,
				      PAGER_PAGE_POISONED);
	}
	if (o.result == UFFD_FAILED)
		f->poisoning = false;
	fault_settle(f, o);
}

/* False where it is of no use here. */
static bool apply(struct fault *f, enum session_policy policy, int error)
{
	switch (policy) {
	case SESSION_KILL:
		if (!kill_vmm(f->session, SESSION_END_FAILED))
			return false;
		tell(f, "the VMM is killed", error);
		f->stage = FAULT_DOOMED;
		return true;
	case SESSION_POISON:
		tell(f, "it is poisoned", error);
		f->poisoning = true;
		f->put_off_since = 0;
		policy_poison(f);
		return true;
	case SESSION_STALL:
		break;
	}
	stall(f, error);
	return true;
}

void policy_page(struct fault *f, int error)
{
	struct session *s = f->session;

	if (was_killed(s)) {
		f->stage = FAULT_DOOMED;
		return;
	}
	if (f->policies == 0)
		session_count(s, SESSION_COUNT_FAILURES, 1);
	for (int i = 0; i < 3; i++) {
		enum session_policy policy = orders[s->policy][i];

		if (policy != SESSION_STALL && f->policies & 1u << policy)
			continue;
		f->policies |= 1u << policy;
		if (apply(f, policy, error))
			return;
	}
}

static void poison_slice(struct timer *t);

/* One run of absent pages, or of others, which are passed over. */
static struct uffd_outcome poison_run(struct session *s, const struct region *r)
{
	const struct uffd_outcome passed = {UFFD_DONE, 0, 0};
	uint64_t unit = r->page_size, page, left, count;
	enum pager_page_state state;
	struct uffd_outcome o;

	if (s->poison_address < r->base)
		s->poison_address = r->base;
	page = region_page(r, s->poison_address);
	left = (r->base + r->size - s->poison_address) / PAGER_PAGE_SIZE;
	state = pagestate_get(s->pages, page);
	count = pagestate_run(
		s->pages, page,
		left < PAGER_NODE_ENTRIES ? left : PAGER_NODE_ENTRIES, state);
	if (state != PAGER_PAGE_ABSENT) {
		s->poison_address += count * PAGER_PAGE_SIZE;
		return passed;
	}
	o = uffd_poison(s->uffd.fd, s->poison_address, count * PAGER_PAGE_SIZE);
	if (o.result == UFFD_UNMAPPED && count * PAGER_PAGE_SIZE > unit)
		o = uffd_poison(s->uffd.fd, s->poison_address, unit);
	session_count(s, SESSION_COUNT_POISONED, o.done / PAGER_PAGE_SIZE);
	pagestate_set(s->pages, page, o.done / PAGER_PAGE_SIZE,
		      PAGER_PAGE_POISONED);
	s->poison_address += o.done;
	if (o.done == 0 &&
	    (o.result == UFFD_EXISTS || o.result == UFFD_UNMAPPED))
		s->poison_address += unit;
	return o;
}

/* Goes on with a forced poisoning; -errno where the kernel will not. */
static int poison_on(struct session *s)
{
	struct worker *w = atomic_load(&s->worker);
	uint64_t pause = 0;

	for (int i = 0; i < POISON_STEPS && pause == 0; i++) {
		const struct region *r =
			regions_from(&s->regions, s->poison_address);
		struct uffd_outcome o;

		if (!r) {
			worker_end(s, s->end);
			return 0;
		}
		o = poison_run(s, r);
		if (o.result == UFFD_FAILED)
			return o.error;
		if (o.result == UFFD_GONE) {
			worker_end(s, s->end);
			return 0;
		}
		if (o.result == UFFD_RETRY && o.done == 0)
			pause = POISON_PAUSE;
	}
	timer_arm(&w->timers, &s->timer, worker_now() + pause, poison_slice);
	return 0;
}

static void poison_slice(struct timer *t)
{
	struct session *s = container_of(t, struct session, timer);
	int r = poison_on(s);

	if (r == 0 || kill_vmm(s, s->end))
		return;
	session_set_state(s, SESSION_SERVING);
	log_error("cannot poison, nor kill: the session goes on: %s session=%s",
		  err_text(r), s->id);
}

static bool poison_all(struct session *s, enum session_end end)
{
	s->end = end;
	s->poison_address = 0;
	session_set_state(s, SESSION_FAILING);
	if (poison_on(s) == 0)
		return true;
	session_set_state(s, SESSION_SERVING);
	s->end = SESSION_END_VMM_GONE;
	return false;
}

static bool give_up(struct session *s, enum session_end end)
{
	switch (s->policy) {
	case SESSION_KILL:
		return kill_vmm(s, end) || poison_all(s, end);
	case SESSION_POISON:
		return poison_all(s, end) || kill_vmm(s, end);
	case SESSION_STALL:
		break;
	}
	return false;
}

int policy_give_up(struct session *s)
{
	if (give_up(s, SESSION_END_CLOSED))
		return 0;
	return err_set(-EBUSY,
		       "session %s: a live VM depends on it, and by its policy "
		       "(%s) nothing can be done to it",
		       s->id, session_policy_name(s->policy));
}

void policy_broken(struct session *s, int error)
{
	worker_mute(atomic_load(&s->worker), &s->uffd);
	session_count(s, SESSION_COUNT_FAILURES, 1);
	log_error("the session cannot go on: %s session=%s snapshot=%s vmm=%d",
		  err_text(error), s->id, s->snapshot_name,
		  (int)s->shown.vmm_pid);
	if (!give_up(s, SESSION_END_FAILED))
		log_error("the VM hangs: kill it session=%s vmm=%d", s->id,
			  (int)s->shown.vmm_pid);
}
