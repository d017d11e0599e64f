/*
 * An entry is one id. Its states:
 *
 *   reserved   session NULL, or known false: registry_create() works on it
 *   known      found and listed; the pool serves it
 *
 * 1. An entry is in the list as long as its id is taken, so of two creates
 *    with one id the second is refused, however slow the first one is.
 * 2. `count` counts entries, not known sessions: who drains and then sees a
 *    count of 0 knows that nothing is on its way any more.
 * 3. A session may end before pool_add() has returned to us. So its end looks
 *    for the entry by the session, and registry_create() looks again.
 * 4. The lock is not held over a call of the pool: a worker in on_ended()
 *    waits for it.
 * 5. At its end a session's counters move into `past` in the same critical
 *    section that takes it off the list, so that no sum counts it twice or
 *    misses it: counters that go back look like a restart to who scrapes.
 */
#include "pagerd/control/registry.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/list.h"
#include "fs/base/lock.h"
#include "fs/base/log.h"
#include "fs/io/text.h"
#include "pagerd/control/daemon.h"

#define GENERATED_BYTES 8

struct entry {
	struct list_node node;
	char id[SESSION_ID_MAX + 1];
	struct session *session; /* a reference; NULL: being made */
	bool known;
};

/* Who waits for a completion; stands on that thread's stack. */
struct waiter {
	struct list_node node;
	const struct session *session;
	bool ended, failed; /* protected by registry->lock */
	enum session_end end;
};

struct registry {
	struct store *store;
	struct cache *cache;
	struct vault *vault;
	char *folder;
	struct pool *pool;
	int event_fd;
	unsigned int workers;
	unsigned int max_sessions;
	uint64_t record_ns;
	unsigned int record_pages;

	struct lock lock;
	struct condition ended;	     /* with lock: an entry has gone */
	struct list_node entries;    /* protected by lock, oldest first */
	size_t count;		     /* likewise */
	struct list_node waiters;    /* likewise */
	bool draining, stopping;     /* likewise */
	struct registry_totals past; /* likewise: of ended sessions */
};

static void tell_change(struct registry *r)
{
	/* Fails only where the counter is full: readable all the same. */
	(void)eventfd_write(r->event_fd, 1);
}

static struct entry *find_id(struct registry *r, const char *id)
{
	lock_assert_held(&r->lock);
	list_foreach (n, &r->entries) {
		struct entry *e = container_of(n, struct entry, node);

		if (strcmp(e->id, id) == 0)
			return e;
	}
	return NULL;
}

static struct entry *find_session(struct registry *r, const struct session *s)
{
	lock_assert_held(&r->lock);
	list_foreach (n, &r->entries) {
		struct entry *e = container_of(n, struct entry, node);

		if (e->session == s)
			return e;
	}
	return NULL;
}

static void add_status(struct registry_totals *to,
		       const struct session_status *st, const struct session *s)
{
	for (int i = 0; i < SESSION_COUNTER_COUNT; i++)
		to->counters[i] += st->counters[i];
	to->blocked_ns += st->blocked_ns;
	hist_add(&to->latency, session_latency(s));
	for (int i = 0; i < SESSION_SOURCE_COUNT; i++)
		hist_add(&to->latency_by[i],
			 session_latency_by(s, (enum session_source)i));
}

static struct entry *take_off(struct registry *r, struct session *s)
{
	struct entry *e = find_session(r, s);

	assert(e);
	list_remove(&e->node);
	r->count--;
	condition_wake_all(&r->ended);
	return e;
}

static void entry_free(struct entry *e)
{
	session_unref(e->session);
	free(e);
}

static void tell_waiters(struct registry *r, const struct session *s,
			 bool failed, enum session_end end)
{
	lock_assert_held(&r->lock);
	list_foreach (n, &r->waiters) {
		struct waiter *w = container_of(n, struct waiter, node);

		if (w->session != s)
			continue;
		w->failed |= failed;
		w->ended |= !failed;
		w->end = end;
	}
	condition_wake_all(&r->ended);
}

static void on_completion_failed(void *arg, struct session *s)
{
	struct registry *r = arg;

	LOCK_GUARD(&r->lock);
	tell_waiters(r, s, true, SESSION_END_COUNT);
}

static void on_ended(void *arg, struct session *s, enum session_end end)
{
	struct registry *r = arg;
	struct session_status st;
	struct entry *e;

	session_status(s, &st);
	lock_take(&r->lock);
	r->past.ended[end]++;
	add_status(&r->past, &st, s);
	e = take_off(r, s);
	tell_waiters(r, s, false, end);
	lock_drop(&r->lock);
	entry_free(e);
	tell_change(r);
}

static int start(const struct registry_options *o, struct registry *r)
{
	const struct pool_options pool = {
		.workers = o->workers,
		.cache = o->cache,
		.source = store_source(o->store),
		.on_ended = on_ended,
		.on_completion_failed = on_completion_failed,
		.complete_age_ns = o->complete_age_ns,
		.complete_parallel = o->complete_parallel,
		.complete_rate = o->complete_rate,
		.no_neighbours = o->no_neighbours,
		.spin_ns = o->spin_ns,
		.arg = r,
	};

	r->folder = strdup(o->folder);
	if (!r->folder)
		return -ENOMEM;
	r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event_fd < 0)
		return -errno;
	return pool_new(&pool, &r->pool);
}

int registry_new(const struct registry_options *options,
		 struct registry **ret_registry)
{
	struct registry *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	lock_init(&r->lock, "registry");
	condition_init(&r->ended);
	list_init(&r->entries);
	list_init(&r->waiters);
	hist_init(&r->past.latency);
	for (int i = 0; i < SESSION_SOURCE_COUNT; i++)
		hist_init(&r->past.latency_by[i]);
	r->event_fd = -1;
	r->store = options->store;
	r->cache = options->cache;
	r->vault = options->vault;
	r->workers = options->workers;
	r->max_sessions = options->max_sessions;
	r->record_ns = options->record_ns;
	r->record_pages = options->record_pages;
	e = start(options, r);
	if (e < 0) {
		registry_free(r);
		return e;
	}
	*ret_registry = r;
	return 0;
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	assert(list_empty(&r->entries));
	pool_free(r->pool);
	condition_release(&r->ended);
	lock_release(&r->lock);
	close_quietly(r->event_fd);
	free(r->folder);
	free(r);
}

static int choose_id(const char *wanted, char ret_id[SESSION_ID_MAX + 1])
{
	uint8_t bytes[GENERATED_BYTES];
	int r;

	if (wanted) {
		r = session_id_check(wanted);
		if (r == 0)
			memcpy(ret_id, wanted, strlen(wanted) + 1);
		return r;
	}
	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -errno;
	text_to_hex(bytes, sizeof(bytes), ret_id);
	return 0;
}

/* One that is taken over was let in by the daemon before us. */
static int may_reserve(struct registry *r, const char *id, bool taken_over)
{
	if (r->draining)
		return err_set(-ESHUTDOWN,
			       "the daemon is draining: no new sessions");
	if (find_id(r, id))
		return err_set(-ENOTUNIQ, "session %s: the id is in use", id);
	if (!taken_over && r->count >= r->max_sessions)
		return err_set(-EUSERS,
			       "%zu sessions: as many as --max-sessions allows",
			       r->count);
	return 0;
}

static int reserve(struct registry *r, const struct registry_request *request,
		   struct entry **ret_entry)
{
	_cleanup_free_ struct entry *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	err = choose_id(request->id, e->id);
	if (err < 0)
		return err;
	LOCK_GUARD(&r->lock);
	err = may_reserve(r, e->id, request->journal);
	if (err < 0)
		return err;
	list_append(&r->entries, &e->node);
	r->count++;
	*ret_entry = steal_ptr(e);
	return 0;
}

/* Only for an entry whose session the pool did not take. */
static void give_up(struct registry *r, struct entry *e)
{
	lock_take(&r->lock);
	list_remove(&e->node);
	r->count--;
	lock_drop(&r->lock);
	entry_free(e);
	tell_change(r);
}

/* Codes that mean the request are kept for what the request can mean. */
static int translate(int err)
{
	char text[ERR_TEXT_MAX];

	if (err != -EBUSY && err != -ENOENT)
		return err;
	err_copy(err, text);
	return err_restore(err == -EBUSY ? -ENOTUNIQ : -EIO, text);
}

static int make_session(struct registry *r, const char *id,
			const struct registry_request *request,
			struct session **ret_session)
{
	struct session_options o = SESSION_OPTIONS_INIT;
	struct snapshot *snapshot = NULL;
	int err;

	err = snapshot_open_lasting(r->store, request->snapshot, &snapshot);
	if (err < 0)
		return err;
	o.id = id;
	o.snapshot = snapshot;
	o.cache = r->cache;
	o.folder = r->folder;
	o.policy = request->policy;
	o.uid = request->uid;
	o.gid = request->gid;
	o.vault = r->vault;
	o.journal = request->journal;
	o.prefetch = !request->no_prefetch;
	o.record = request->record;
	o.overlays = request->overlays;
	o.overlay_count = request->overlay_count;
	if (r->record_pages) {
		o.record_ns = r->record_ns;
		o.record_pages = r->record_pages;
	}
	err = session_new(&o, ret_session);
	snapshot_unref(snapshot);
	return translate(err);
}

/* By the session: it may have ended, and its entry with it. */
static void make_known(struct registry *r, const struct session *s)
{
	struct entry *e;

	lock_take(&r->lock);
	e = find_session(r, s);
	if (e)
		e->known = true;
	lock_drop(&r->lock);
	tell_change(r);
}

int registry_create(struct registry *r, const struct registry_request *request,
		    struct session **ret_session)
{
	struct session *s = NULL;
	struct entry *e;
	int err;

	err = reserve(r, request, &e);
	if (err < 0)
		return err;
	err = make_session(r, e->id, request, &s);
	if (err < 0) {
		give_up(r, e);
		return err;
	}
	lock_take(&r->lock);
	e->session = session_ref(s);
	lock_drop(&r->lock);
	err = pool_add(r->pool, s);
	if (err < 0) {
		give_up(r, e);
		session_unref(s);
		return err;
	}
	make_known(r, s);
	if (!request->journal)
		log_info("session created session=%s snapshot=%s policy=%s",
			 session_id(s), session_snapshot_name(s),
			 session_policy_name(request->policy));
	*ret_session = s;
	return 0;
}

struct session *registry_find(struct registry *r, const char *id)
{
	struct entry *e;

	LOCK_GUARD(&r->lock);
	e = find_id(r, id);
	return e && e->known ? session_ref(e->session) : NULL;
}

/* Fills `sessions`, which has room for r->count. */
static size_t collect(struct registry *r, struct session **sessions)
{
	size_t count = 0;

	list_foreach (n, &r->entries) {
		struct entry *e = container_of(n, struct entry, node);

		if (e->known)
			sessions[count++] = session_ref(e->session);
	}
	return count;
}

static int list_locked(struct registry *r, struct session ***ret_sessions,
		       size_t *ret_count)
{
	struct session **sessions =
		calloc(r->count + 1, sizeof(struct session *));

	if (!sessions)
		return -ENOMEM;
	*ret_count = collect(r, sessions);
	*ret_sessions = sessions;
	return 0;
}

int registry_list(struct registry *r, struct session ***ret_sessions,
		  size_t *ret_count)
{
	LOCK_GUARD(&r->lock);
	return list_locked(r, ret_sessions, ret_count);
}

void registry_list_free(struct session **sessions, size_t count)
{
	for (size_t i = 0; i < count; i++)
		session_unref(sessions[i]);
	free(sessions);
}

static int wait_gone(struct registry *r, const struct session *s,
		     uint64_t deadline)
{
	LOCK_GUARD(&r->lock);
	while (find_session(r, s))
		if (!condition_wait_until(&r->ended, &r->lock, deadline))
			return find_session(r, s) ? -EINPROGRESS : 0;
	return 0;
}

int registry_close(struct registry *r, const char *id, enum pool_close how,
		   uint64_t wait_ns)
{
	struct session *s = registry_find(r, id);
	int err;

	if (!s)
		return err_set(-ENOENT, "session %s: no such session", id);
	err = pool_close(r->pool, s, how);
	if (err == -EBUSY)
		err = err_set(err, "session %s: %s", id,
			      how == POOL_CLOSE_FORCE
				      ? "its VM could not be ended"
				      : "a VM depends on it");
	/* -ENOENT: it ended on its own in between, or is just doing so. */
	if (err == 0 || err == -ENOENT)
		err = wait_gone(r, s, daemon_now() + wait_ns);
	session_unref(s);
	return err;
}

/* Both ends of a wait, so that no end is missed in between. */
static void begin_waiting(struct registry *r, struct waiter *w)
{
	LOCK_GUARD(&r->lock);
	list_append(&r->waiters, &w->node);
}

static int end_waiting(struct registry *r, struct waiter *w, uint64_t deadline)
{
	LOCK_GUARD(&r->lock);
	while (!w->ended && !w->failed &&
	       condition_wait_until(&r->ended, &r->lock, deadline))
		;
	list_remove(&w->node);
	if (!w->ended)
		return -EINPROGRESS;
	return w->end == SESSION_END_COMPLETED
		       ? 0
		       : err_set(-ENOENT, "the session has ended: %s",
				 session_end_name(w->end));
}

int registry_complete(struct registry *r, const char *id, uint64_t wait_ns)
{
	struct session *s = registry_find(r, id);
	struct waiter w = {.session = s};
	int err;

	if (!s)
		return err_set(-ENOENT, "session %s: no such session", id);
	begin_waiting(r, &w);
	err = pool_complete(r->pool, s);
	if (err == 0)
		err = end_waiting(r, &w, daemon_now() + wait_ns);
	else if (end_waiting(r, &w, 0) == 0)
		err = 0; /* it was about to be, without us */
	if (err == -EINPROGRESS && w.failed)
		err = pool_completion(r->pool, s);
	session_unref(s);
	return err;
}

void registry_close_all(struct registry *r, enum pool_close how)
{
	struct session **sessions;
	size_t count;

	if (registry_list(r, &sessions, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		/* Who is busy stays, and is counted. */
		(void)pool_close(r->pool, sessions[i], how);
	registry_list_free(sessions, count);
}

size_t registry_count(struct registry *r)
{
	LOCK_GUARD(&r->lock);
	return r->count;
}

void registry_drain(struct registry *r)
{
	lock_take(&r->lock);
	r->draining = true;
	lock_drop(&r->lock);
	tell_change(r);
}

bool registry_draining(struct registry *r)
{
	LOCK_GUARD(&r->lock);
	return r->draining;
}

int registry_undrain(struct registry *r)
{
	LOCK_GUARD(&r->lock);
	if (r->stopping)
		return err_set(-ESHUTDOWN, "the daemon is ending");
	r->draining = false;
	return 0;
}

int registry_leave(struct registry *r)
{
	struct session **sessions;
	size_t count, known;
	int err;

	lock_take(&r->lock);
	known = r->count;
	err = list_locked(r, &sessions, &count);
	lock_drop(&r->lock);
	if (err < 0)
		return err;
	if (count < known)
		err = err_set(-EBUSY, "a session is being made");
	for (size_t i = 0; err == 0 && i < count; i++)
		err = pool_leave(r->pool, sessions[i]);
	registry_list_free(sessions, count);
	return err;
}

bool registry_progresses(struct registry *r)
{
	return pool_progresses(r->pool);
}

void registry_stop(struct registry *r)
{
	LOCK_GUARD(&r->lock);
	r->draining = r->stopping = true;
}

int registry_fd(const struct registry *r)
{
	return r->event_fd;
}

static void add_present(struct registry_totals *t,
			const struct session_status *st)
{
	t->by_state[st->state]++;
	t->outstanding += st->outstanding;
	t->parked += st->parked;
	t->stalled += st->stalled;
	if (st->oldest_fault_ns > t->oldest_fault_ns)
		t->oldest_fault_ns = st->oldest_fault_ns;
}

int registry_totals(struct registry *r, struct registry_totals *ret_totals)
{
	struct session **sessions;
	struct session_status st;
	size_t count;
	int err;

	lock_take(&r->lock);
	err = list_locked(r, &sessions, &count);
	if (err == 0) {
		*ret_totals = r->past;
		ret_totals->draining = r->draining;
		ret_totals->sessions = r->count;
	}
	lock_drop(&r->lock);
	if (err < 0)
		return err;
	ret_totals->workers = r->workers;
	for (size_t i = 0; i < count; i++) {
		session_status(sessions[i], &st);
		add_status(ret_totals, &st, sessions[i]);
		add_present(ret_totals, &st);
	}
	registry_list_free(sessions, count);
	return 0;
}
