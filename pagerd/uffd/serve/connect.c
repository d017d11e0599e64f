/*
 * No death of ours loses a VM that has spoken. The listening socket is in the
 * vault, and so is a connection before it is read from. What is said there
 * stays in the socket until the userfaultfd is in the vault too and the
 * journal tells of the VM; only then the connection leaves the vault. So a
 * daemon after us finds either the journal of a served VM, or the connection
 * with all that was said, and begins with it anew; whether its VMM still
 * holds the other end, or a copy of the userfaultfd, does not matter.
 *
 * That holds for a handshake that comes within LEAVE_IN_NS and in few pieces,
 * as VMMs send it. Another is read as it comes, and a death loses it: to leave
 * very many pieces in the socket would stop the sender.
 */
#include "pagerd/uffd/serve/connect.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/io/inject.h"
#include "pagerd/uffd/connect/peer.h"
#include "pagerd/uffd/recover/resume.h"
#include "pagerd/uffd/recover/vault.h"
#include "pagerd/uffd/serve/events.h"
#include "pagerd/uffd/serve/worker.h"

/* A peer that keeps connecting gets no more lines than this in the log. */
#define REFUSALS_TOLD  32
#define ACCEPTS_A_TURN 4
#define ACCEPT_REST    UINT64_C(100000000)

#define LEAVE_IN_NS UINT64_C(100000000)

/* How often a VM is looked at whose VMM's death nothing tells us. */
#define PROBE_FIRST UINT64_C(50000000)
#define PROBE_LATER UINT64_C(5000000000)

static struct worker *worker_of(const struct session *s)
{
	return atomic_load(&s->worker);
}

static bool memory_lives(const struct session *s)
{
	for (size_t i = 0; i < s->regions.count; i++) {
		const struct region *r = &s->regions.all[i];
		uint64_t last = r->base + r->size - PAGER_PAGE_SIZE;
		enum uffd_result head = uffd_probe(s->uffd.fd, r->base);

		if (head == UFFD_GONE)
			return false;
		if (head == UFFD_DONE ||
		    uffd_probe(s->uffd.fd, last) == UFFD_DONE)
			return true;
	}
	return false;
}

bool connect_vm_lives(const struct session *s)
{
	return session_serves(s) && memory_lives(s);
}

static void probe(struct timer *t)
{
	struct session *s = container_of(t, struct session, timer);

	if (connect_vm_lives(s))
		timer_arm(&worker_of(s)->timers, t, worker_now() + PROBE_LATER,
			  probe);
	else
		worker_end(s, s->end);
}

/* Nothing will tell of the VMM's end any more: look now and then. */
static void start_probing(struct session *s)
{
	/* A forced close that poisons has the timer, and ends by itself. */
	if (!s->timer.armed)
		timer_arm(&worker_of(s)->timers, &s->timer,
			  worker_now() + PROBE_FIRST, probe);
}

static void refuse(struct session *s, const struct peer *peer, int error)
{
	char excerpt[HANDSHAKE_EXCERPT_MAX];

	if (session_count(s, SESSION_COUNT_REFUSED, 1) > REFUSALS_TOLD)
		return;
	log_warn("handshake refused: %s; text '%s' session=%s snapshot=%s "
		 "pid=%d uid=%u",
		 err_text(error), handshake_excerpt(&s->handshake, excerpt),
		 s->id, s->snapshot_name, (int)peer->pid, peer->uid);
}

/* Its connection is the vault's no more. */
static void let_connection_go(struct session *s)
{
	if (s->connection_kept)
		vault_drop(s->vault, s->connection_name);
	s->connection_kept = false;
}

/* Back to listening, with nothing left of the peer. */
static void drop_peer(struct session *s, int error)
{
	struct worker *w = worker_of(s);
	struct peer peer = {.pid = s->shown.vmm_pid, .uid = s->peer_uid};

	refuse(s, &peer, error);
	worker_unwatch(w, &s->connection);
	worker_unwatch(w, &s->vmm);
	let_connection_go(s);
	handshake_release(&s->handshake);
	timer_disarm(&w->timers, &s->timer);
	atomic_store(&s->shown.vmm_pid, 0);
	session_set_state(s, SESSION_LISTENING);
}

static void deadline_passed(struct timer *t)
{
	struct session *s = container_of(t, struct session, timer);

	drop_peer(s, err_set(-ETIMEDOUT,
			     "the deadline of %" PRIu64 " ms has passed: %s",
			     s->handshake_ns / 1000000,
			     handshake_lacks(&s->handshake)));
}

static int check_uffd(struct session *s)
{
	int r = uffd_check(s->uffd.fd, &s->features);

	if (r < 0)
		return r;
	if (s->features & UFFD_FEATURE_EVENT_FORK)
		return err_set(-EPROTO, "the userfaultfd follows forks, whose "
					"memory cannot be served");
	if (!memory_lives(s))
		return err_set(-EPROTO, "no region is registered with the "
					"userfaultfd, or the VMM is gone");
	return 0;
}

static int learn_regions(struct session *s)
{
	_cleanup_free_ struct region *list = NULL;
	size_t count;
	int r;

	r = handshake_parse(s->handshake.body, s->handshake.len, &list, &count);
	if (r < 0)
		return r;
	return regions_init(&s->regions, list, count, s->image_size);
}

/*
 * Before anybody is told that we serve, and the first answer. The order is
 * what the note above stands on.
 */
static int make_lasting(struct session *s)
{
	int r;

	(void)inject_pass(INJECT_HANDSHAKE, NULL);
	vault_keep(s->vault, s->id, s->uffd.fd);
	(void)inject_pass(INJECT_HANDSHAKE, NULL);
	r = resume_record(s);
	if (r < 0) {
		vault_drop(s->vault, s->id);
		return r;
	}
	(void)inject_pass(INJECT_HANDSHAKE, NULL);
	let_connection_go(s);
	(void)inject_pass(INJECT_HANDSHAKE, NULL);
	handshake_take_out(&s->handshake, s->connection.fd);
	(void)worker_rewatch(worker_of(s), &s->connection,
			     EPOLLIN | EPOLLRDHUP);
	return 0;
}

static int begin(struct session *s)
{
	struct worker *w = worker_of(s);
	int r = learn_regions(s);

	if (r < 0)
		return r;
	s->uffd.fd = handshake_take_fd(&s->handshake);
	r = check_uffd(s);
	if (r == 0)
		r = worker_watch(w, &s->uffd, EPOLLIN);
	if (r == 0)
		r = make_lasting(s);
	if (r < 0) {
		worker_unwatch(w, &s->uffd);
		regions_release(&s->regions);
		return r;
	}
	session_set_state(s, SESSION_SERVING);
	timer_disarm(&w->timers, &s->timer);
	if (s->vmm.fd < 0)
		start_probing(s);
	atomic_store(&s->shown.pages_total, regions_pages(&s->regions));
	log_info("a VM is served session=%s snapshot=%s vmm=%d regions=%zu "
		 "pages=%" PRIu64,
		 s->id, s->snapshot_name, (int)s->shown.vmm_pid,
		 s->regions.count, regions_pages(&s->regions));
	handshake_release(&s->handshake);
	s->served_since = worker_now();
	record_begin(s);
	spin_heat(s);
	ahead_prefetch(s);
	return 0;
}

/* Too much, or too slow, to be left in the socket: read as it comes. */
static void read_plainly(struct session *s)
{
	let_connection_go(s);
	handshake_release(&s->handshake);
	(void)worker_rewatch(worker_of(s), &s->connection,
			     EPOLLIN | EPOLLRDHUP);
}

static void shake_hands(struct session *s)
{
	int r = handshake_receive(&s->handshake, s->connection.fd);

	if (r == -EAGAIN && handshake_is_piecemeal(&s->handshake))
		read_plainly(s);
	if (r == -EAGAIN)
		return;
	if (r == 0)
		r = begin(s);
	if (r < 0) {
		drop_peer(s, r);
		return;
	}
	/* The VMM touches its memory before its load call returns. */
	events_ready(&s->uffd, EPOLLIN);
}

/*
 * VMMs before Firecracker 1.12 close at once, later ones at their end, and a
 * client of libpager may live on without its VM.
 */
static void hung_up(struct session *s)
{
	worker_unwatch(worker_of(s), &s->connection);
	if (!connect_vm_lives(s))
		worker_end(s, s->end);
	else if (s->vmm.fd < 0)
		start_probing(s);
}

static void connection_ready(struct watch *watch, uint32_t events)
{
	struct session *s = container_of(watch, struct session, connection);
	char byte;
	ssize_t n;

	(void)events;
	if (session_state(s) == SESSION_HANDSHAKE) {
		shake_hands(s);
		return;
	}
	/* Without room for them, fds that come along are not received. */
	n = recv(watch->fd, &byte, 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		log_warn("the VMM speaks on after its handshake: its "
			 "connection is closed session=%s vmm=%d",
			 s->id, (int)s->shown.vmm_pid);
	hung_up(s);
}

static void vmm_exited(struct watch *watch, uint32_t events)
{
	struct session *s = container_of(watch, struct session, vmm);

	(void)events;
	/* What it said before it died may have come unnoticed. */
	if (session_state(s) == SESSION_HANDSHAKE)
		shake_hands(s);
	if (session_state(s) == SESSION_HANDSHAKE)
		drop_peer(s, err_set(-EPROTO, "the peer exited: %s",
				     handshake_lacks(&s->handshake)));
	if (!session_serves(s))
		return;
	worker_unwatch(worker_of(s), watch);
	if (connect_vm_lives(s))
		/* Somebody else has its address space, perhaps not for long. */
		start_probing(s);
	else
		worker_end(s, s->end);
}

static void leave_in_no_more(struct timer *t)
{
	struct session *s = container_of(t, struct session, timer);
	uint64_t rest = s->handshake_ns > LEAVE_IN_NS
				? s->handshake_ns - LEAVE_IN_NS
				: 0;

	timer_arm(&worker_of(s)->timers, t, worker_now() + rest,
		  deadline_passed);
	read_plainly(s);
}

/* A socket that is left full would be ready at every look: edges, then. */
static int take_peer(struct session *s, int fd, struct peer *peer)
{
	struct worker *w = worker_of(s);
	uint32_t edges = 0;
	int r;

	s->connection.fd = fd;
	s->connection.ready = connection_ready;
	s->vmm.fd = steal_fd(peer->pidfd);
	s->vmm.ready = vmm_exited;
	s->end = SESSION_END_VMM_GONE;
	s->peer_uid = peer->uid;
	atomic_store(&s->shown.vmm_pid, peer->pid);
	session_set_state(s, SESSION_HANDSHAKE);
	if (s->connection_kept && handshake_leave_in(&s->handshake, fd) == 0)
		edges = EPOLLET;
	r = worker_watch(w, &s->connection, EPOLLIN | EPOLLRDHUP | edges);
	if (r == 0 && s->vmm.fd >= 0)
		r = worker_watch(w, &s->vmm, EPOLLIN);
	return r;
}

static void begin_handshake(struct session *s)
{
	bool leaves = s->handshake.leaves;

	timer_arm(&worker_of(s)->timers, &s->timer,
		  worker_now() + (leaves ? LEAVE_IN_NS : s->handshake_ns),
		  leaves ? leave_in_no_more : deadline_passed);
	shake_hands(s);
}

static int check_peer(const struct session *s, const struct peer *peer)
{
	if (session_state(s) != SESSION_LISTENING)
		return err_set(-EBUSY, "another peer is connected already");
	if (peer->uid != s->uid && peer->uid != 0)
		return err_set(-EPERM, "the session is for uid %u", s->uid);
	return 0;
}

/* `kept`: the vault has the connection. */
static void welcome(struct session *s, int accepted, bool kept)
{
	struct peer peer = {.pidfd = -1};
	_cleanup_close_ int fd = accepted;
	int r = peer_identify(fd, &peer);

	(void)inject_pass(INJECT_HANDSHAKE, NULL);
	if (r == 0)
		r = check_peer(s, &peer);
	if (r < 0) {
		close_quietly(peer.pidfd);
		if (kept)
			vault_drop(s->vault, s->connection_name);
		refuse(s, &peer, r);
		return;
	}
	s->connection_kept = kept;
	r = take_peer(s, steal_fd(fd), &peer);
	if (r < 0)
		drop_peer(s, r);
	else
		begin_handshake(s);
}

static void accept_again(struct timer *t)
{
	struct session *s = container_of(t, struct session, timer);
	struct worker *w = worker_of(s);

	if (worker_watch(w, &s->listener, EPOLLIN) < 0)
		timer_arm(&w->timers, t, worker_now() + ACCEPT_REST,
			  accept_again);
}

/*
 * There are no descriptors left: who waits to be accepted would have the
 * listener ready for ever. Once a VM is served nobody else is welcome.
 */
static void rest_from_accepting(struct session *s, int error)
{
	struct worker *w = worker_of(s);

	log_warn("cannot accept a connection: %s session=%s",
		 strerrordesc_np(-error), s->id);
	worker_mute(w, &s->listener);
	if (session_state(s) == SESSION_LISTENING)
		timer_arm(&w->timers, &s->timer, worker_now() + ACCEPT_REST,
			  accept_again);
}

/* Who comes while another is here will be refused, and need not be kept. */
static int accept_one(struct session *s, bool *ret_kept)
{
	bool expected = session_state(s) == SESSION_LISTENING;

	return vault_accept(expected ? s->vault : NULL, s->id, s->listener.fd,
			    ret_kept);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
	struct session *s = container_of(watch, struct session, listener);

	(void)events;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		bool kept = false;
		int fd = accept_one(s, &kept);

		if (fd < 0 && fd != -EAGAIN && fd != -ECONNABORTED)
			rest_from_accepting(s, fd);
		if (fd < 0)
			return;
		welcome(s, fd, kept);
	}
}

/*
 * A VMM's connection has died with the daemon that had it, so the VM's end is
 * looked for now and then, beside what its pidfd tells.
 */
static int resume(struct session *s)
{
	struct worker *w = worker_of(s);
	int r = worker_watch(w, &s->uffd, EPOLLIN);

	if (r == 0 && s->vmm.fd >= 0)
		r = worker_watch(w, &s->vmm, EPOLLIN);
	if (r < 0)
		return r;
	if (!s->uffd_kept)
		vault_keep(s->vault, s->id, s->uffd.fd);
	start_probing(s);
	resume_serve(s);
	s->served_since = worker_now();
	spin_heat(s);
	ahead_prefetch(s);
	events_ready(&s->uffd, EPOLLIN);
	return 0;
}

/* With whom a daemon before us has spoken, and not come to an end. */
static void go_on_with_peer(struct session *s)
{
	int fd = steal_fd(s->connection.fd);

	if (fd >= 0)
		welcome(s, fd, true);
}

int connect_start(struct session *s)
{
	struct worker *w = worker_of(s);
	int r;

	s->uffd.ready = events_ready;
	s->listener.ready = listener_ready;
	s->vmm.ready = vmm_exited;
	r = worker_watch(w, &s->listener, EPOLLIN);
	if (r == 0 && session_serves(s))
		r = resume(s);
	if (r < 0) {
		worker_unwatch(w, &s->listener);
		worker_unwatch(w, &s->uffd);
		worker_unwatch(w, &s->vmm);
		return r;
	}
	go_on_with_peer(s);
	return 0;
}

void connect_stop(struct session *s)
{
	struct worker *w = worker_of(s);
	int fd;

	if (s->listener.fd < 0)
		return;
	if (vault_is_certain(s->vault)) {
		worker_unwatch(w, &s->listener);
		return;
	}
	(void)shutdown(s->listener.fd, SHUT_RD);
	while ((fd = accept4(s->listener.fd, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		welcome(s, fd, false);
	if (session_state(s) == SESSION_LISTENING)
		timer_disarm(&w->timers, &s->timer);
	worker_unwatch(w, &s->listener);
}
