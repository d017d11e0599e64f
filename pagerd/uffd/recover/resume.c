/*
 * How a session survives its daemon.
 *
 * What is written when. The journal is made with the session, and replaced at
 * the end of its handshake, before the first fault is answered. The page
 * states stand in a shared file at all times; userfaultfd messages are read
 * into that file (pagestate.h). The userfaultfd outlives us in the VMM, and in
 * the vault (vault.h).
 *
 * What a death leaves in doubt, and why it does no harm:
 *
 *  1. A fault that was read and not answered. The kernel does not tell it
 *     again; waking the range makes its thread fault anew.
 *  2. A COPY or ZEROPAGE that landed, its state absent. Nobody faults there
 *     while the page is there, an install by prefetch or completion meets
 *     EEXIST, whereupon the state is present; and if the guest gives it back,
 *     REMOVE is told and the state is removed. Only a client that drops pages
 *     without telling, after the death, gets the image's bytes again for the
 *     page that was just being installed; it is outside what we promise.
 *  3. A state present, its page not there. That is a page that was dropped
 *     without telling: a state is set after its install. It is zero.
 *  4. A REMOVE that was read and not applied: the guest runs on, the page is
 *     gone, its state says absent, and nothing in the kernel would tell it
 *     from one never touched (/proc/PID/pagemap neither: both are empty). So
 *     the message must not get lost: it stands in the inbox, and all REMOVEs
 *     there are applied again.
 *  5. A REMOVE that was not read is still told; the guest's madvise(2) waits
 *     until we have read it.
 *  6. A POISON that landed, its state absent: as 2, nobody faults there, an
 *     install meets EEXIST.
 *  7. A 2 MiB page whose 512 states were just being set: pagestate_level().
 *
 * pagemap would only make pages_present exact at once in case 2; completion
 * comes upon these pages anyway.
 *
 * Which userfaultfd is ours cannot be told by its number alone, which the VMM
 * may have used again. The kernel keeps two of them from registering one
 * range, so registering a page again that is registered tells them apart.
 */
#include "pagerd/uffd/recover/resume.h"

#include <errno.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/io/inject.h"
#include "pagerd/uffd/connect/peer.h"
#include "pagerd/uffd/recover/journal.h"
#include "pagerd/uffd/recover/vault.h"
#include "pagerd/uffd/recover/vmm.h"
#include "pagerd/uffd/serve/connect.h"
#include "pagerd/uffd/serve/events.h"
#include "pagerd/uffd/serve/worker.h"

int resume_record(struct session *s)
{
	struct journal j = {
		.id = s->id,
		.snapshot = s->snapshot_name,
		.image = snapshot_manifest(s->snapshot)->image.digest,
		.policy = s->policy,
		.uid = s->uid,
		.gid = s->gid,
		.overlays = s->overlay,
		.served = s->uffd.fd >= 0,
		.peer_uid = s->peer_uid,
		.uffd_number = -1,
		.regions = s->regions.all,
		.region_count = s->regions.count,
	};
	pid_t pid = atomic_load(&s->shown.vmm_pid);

	/* A pid names nobody without a pidfd that vouches for it. */
	if (j.served && s->vmm.fd >= 0 &&
	    vmm_start_time(pid, &j.vmm_start) == 0 && !peer_exited(s->vmm.fd)) {
		j.vmm_pid = pid;
		j.uffd_number = vmm_find_uffd(pid, s->uffd.fd);
	}
	s->uffd_number = j.uffd_number;
	return journal_write(s->journal_path, &j);
}

static int open_vmm(struct session *s, const struct journal *j)
{
	int fd;

	if (j->vmm_pid <= 0)
		return 0;
	fd = vmm_open(j->vmm_pid, j->vmm_start);
	if (fd < 0)
		return fd;
	s->vmm.fd = fd;
	return 0;
}

/* What was kept is right, else the VMM's own. */
static int open_uffd(struct session *s, const struct journal *j, int kept)
{
	_cleanup_close_ int fd = kept;
	int r;

	if (fd >= 0) {
		r = uffd_check(fd, &s->features);
		if (r == 0)
			r = vmm_check_uffd(fd, &s->regions);
		if (r == 0 || r == -ESRCH) {
			s->uffd.fd = r == 0 ? steal_fd(fd) : -1;
			s->uffd_kept = true;
			return r;
		}
	}
	if (s->vmm.fd < 0)
		return err_set(-ENOENT, "its userfaultfd was not kept, and its "
					"VMM is not visible from here");
	r = vmm_fetch_uffd(s->vmm.fd, j->vmm_pid, j->uffd_number, &s->regions,
			   &s->uffd.fd);
	if (r < 0 && !vmm_maps_any(j->vmm_pid, &s->regions))
		return err_set(-ESRCH, "the VMM has let its memory go");
	return r < 0 ? r : uffd_check(s->uffd.fd, &s->features);
}

static int take_over(struct session *s, const struct journal *j, int kept)
{
	_cleanup_close_ int fd = kept;
	int r;

	if (!j->same_boot)
		return err_set(-ESRCH, "the machine was started since");
	r = regions_init(&s->regions, j->regions, j->region_count,
			 s->image_size);
	if (r < 0)
		return r;
	r = open_vmm(s, j);
	if (r == 0)
		r = open_uffd(s, j, steal_fd(fd));
	if (r < 0)
		return r;
	s->peer_uid = j->peer_uid;
	s->uffd_number = j->uffd_number;
	s->end = SESSION_END_VMM_GONE;
	atomic_store(&s->shown.vmm_pid, j->vmm_pid);
	atomic_store(&s->shown.pages_total, regions_pages(&s->regions));
	session_set_state(s, SESSION_SERVING);
	return 0;
}

int resume_session(struct session *s, const struct journal *j, int kept)
{
	int r = take_over(s, j, kept);

	(void)inject_pass(INJECT_RESUME, NULL);
	if (r == 0)
		return 0;
	close_quietly(steal_fd(s->uffd.fd));
	close_quietly(steal_fd(s->vmm.fd));
	regions_release(&s->regions);
	return r;
}

static void level_huge(struct session *s)
{
	for (size_t i = 0; i < s->regions.count; i++) {
		const struct region *r = &s->regions.all[i];
		uint64_t page = r->offset / PAGER_PAGE_SIZE;
		uint64_t end = page + r->size / PAGER_PAGE_SIZE;

		if (r->page_size != PAGER_HUGE_PAGE_SIZE)
			continue;
		for (; page < end; page += PAGER_NODE_ENTRIES)
			pagestate_level(s->pages, page);
	}
}

void resume_serve(struct session *s)
{
	(void)inject_pass(INJECT_RESUME, NULL);
	events_replay(s);
	(void)inject_pass(INJECT_RESUME, NULL);
	level_huge(s);
	regions_wake(&s->regions, s->uffd.fd);
	(void)inject_pass(INJECT_RESUME, NULL);
	log_info("a VM is served again session=%s snapshot=%s vmm=%d "
		 "regions=%zu",
		 s->id, s->snapshot_name, (int)s->shown.vmm_pid,
		 s->regions.count);
}

bool resume_give_up(const struct journal *j)
{
	_cleanup_close_ int vmm = -1;

	if (!j->served || j->vmm_pid <= 0 || j->policy == SESSION_STALL)
		return !j->served;
	/* Nothing is left to poison with: the next policy is to kill. */
	vmm = vmm_open(j->vmm_pid, j->vmm_start);
	if (vmm < 0)
		return vmm == -ESRCH;
	return peer_kill(vmm) == 0;
}

static bool is_kept(struct session *s)
{
	pid_t pid = atomic_load(&s->shown.vmm_pid);

	return vault_is_certain(s->vault) ||
	       vmm_has_uffd(pid, s->uffd_number, s->uffd.fd);
}

int resume_leave(struct session *s)
{
	connect_stop(s);
	switch (session_state(s)) {
	case SESSION_LISTENING:
	case SESSION_ENDED:
		return 0;
	case SESSION_HANDSHAKE:
		if (s->connection_kept && vault_is_certain(s->vault))
			return 0;
		return err_set(-EBUSY, "session %s: a VMM is just speaking",
			       s->id);
	case SESSION_SERVING:
		if (is_kept(s))
			return 0;
		return err_set(-EBUSY,
			       "session %s: nobody else has its userfaultfd",
			       s->id);
	default:
		return err_set(-EBUSY, "session %s is %s", s->id,
			       session_state_name(session_state(s)));
	}
}
