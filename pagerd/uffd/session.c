#include "pagerd/uffd/session_impl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/cache/fetch_read.h"
#include "fs/io/page.h"
#include "fs/store/lease/lease.h"
#include "pagerd/uffd/ahead/inherit.h"
#include "pagerd/uffd/memory/overlay.h"
#include "pagerd/uffd/recover/journal.h"
#include "pagerd/uffd/recover/overlayfile.h"
#include "pagerd/uffd/recover/resume.h"
#include "pagerd/uffd/recover/vault.h"

#define BACKLOG 8

DEFINE_CLEANUP(session, struct session *, session_unref)

static const struct {
	const char *name, *help;
} counters[] = {
#define X(id, name, help) [SESSION_COUNT_##id] = {name, help},
	SESSION_COUNTERS(X)
#undef X
};

static const char *const policies[] = {
	[SESSION_KILL] = "kill",
	[SESSION_POISON] = "poison",
	[SESSION_STALL] = "stall",
};

static const char *const states[] = {
	[SESSION_LISTENING] = "listening", [SESSION_HANDSHAKE] = "handshake",
	[SESSION_SERVING] = "serving",	   [SESSION_FAILING] = "failing",
	[SESSION_ENDED] = "ended",
};

static const char *const ends[] = {
	[SESSION_END_CLOSED] = "closed",
	[SESSION_END_COMPLETED] = "completed",
	[SESSION_END_VMM_GONE] = "vmm-gone",
	[SESSION_END_FAILED] = "failed",
};

const char *session_counter_name(enum session_counter counter)
{
	return counters[counter].name;
}

const char *session_counter_help(enum session_counter counter)
{
	return counters[counter].help;
}

const char *session_source_name(enum session_source source)
{
	static const char *const names[] = {
#define X(id, name) [SESSION_SOURCE_##id] = name,
		SESSION_SOURCES(X)
#undef X
	};

	return names[source];
}

enum session_counter session_source_counter(enum session_source source)
{
	static const enum session_counter of[] = {
#define X(id, name) [SESSION_SOURCE_##id] = SESSION_COUNT_##id,
		SESSION_SOURCES(X)
#undef X
	};

	return of[source];
}

const char *session_policy_name(enum session_policy policy)
{
	return policies[policy];
}

const char *session_state_name(enum session_state state)
{
	return states[state];
}

const char *session_end_name(enum session_end end)
{
	return ends[end];
}

int session_policy_parse(const char *name, enum session_policy *ret_policy)
{
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (strcmp(name, policies[i]) == 0) {
			*ret_policy = (enum session_policy)i;
			return 0;
		}
	}
	return err_set(-EINVAL, "policy '%.32s' is none of kill, poison, stall",
		       name);
}

int session_id_check(const char *id)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t len = strlen(id);

	if (len == 0 || id[0] == '.' || strspn(id, allowed) != len)
		return err_set(-EINVAL,
			       "session id '%.*s': only A-Z a-z 0-9 . "
			       "_ - are allowed, no dot in front",
			       SESSION_ID_MAX, id);
	if (len > SESSION_ID_MAX)
		return err_set(-ENAMETOOLONG,
			       "session id '%.*s...': over %d bytes",
			       SESSION_ID_MAX, id, SESSION_ID_MAX);
	return 0;
}

static int make_names(struct session *s, const struct session_options *o)
{
	struct sockaddr_un address;

	s->id = strdup(o->id);
	s->snapshot_name = strdup(snapshot_name(o->snapshot));
	if (asprintf(&s->socket_path, "%s/%s.sock", o->folder, o->id) < 0)
		s->socket_path = NULL;
	if (asprintf(&s->pages_path, "%s/%s.pages", o->folder, o->id) < 0)
		s->pages_path = NULL;
	if (asprintf(&s->journal_path, "%s/%s" JOURNAL_SUFFIX, o->folder,
		     o->id) < 0)
		s->journal_path = NULL;
	if (asprintf(&s->overlay_path, "%s/%s" OVERLAYFILE_SUFFIX, o->folder,
		     o->id) < 0)
		s->overlay_path = NULL;
	vault_name(VAULT_LISTENER, o->id, s->listener_name);
	vault_name(VAULT_CONNECTION, o->id, s->connection_name);
	vault_name(VAULT_LEASE, o->id, s->lease_name);
	if (!s->id || !s->snapshot_name || !s->socket_path || !s->pages_path ||
	    !s->journal_path || !s->overlay_path)
		return err_set(-ENOMEM, "no memory for a session");
	if (strlen(s->socket_path) >= sizeof(address.sun_path))
		return err_set(-ENAMETOOLONG,
			       "%s: over the %zu bytes of a socket address",
			       s->socket_path, sizeof(address.sun_path) - 1);
	return 0;
}

static int lock_whole_file(int fd, bool wait)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int r;

	do
		r = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &whole);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/*
 * Whoever holds the lock of ID.pages owns the id. The file may be unlinked
 * between our open and our lock by the session that had it: then its link
 * count is 0 and the lock is worth nothing. One that is taken over may still
 * be locked by the daemon that is just dying, which is waited for.
 */
static int open_pages_file(const char *path, bool taken_over, int *ret_fd)
{
	for (;;) {
		_cleanup_close_ int fd = open(
			path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat st;
		int r;

		if (fd < 0)
			return err_set(-errno, "cannot create %s: %m", path);
		r = lock_whole_file(fd, taken_over);
		if (r == -EAGAIN || r == -EACCES)
			return err_set(-EBUSY, "%s: a live session has this id",
				       path);
		if (r < 0)
			return err_set(r, "cannot lock %s: %s", path,
				       strerrordesc_np(-r));
		if (fstat(fd, &st) < 0)
			return err_set(-errno, "cannot look at %s: %m", path);
		if (st.st_nlink == 0)
			continue;
		*ret_fd = steal_fd(fd);
		return 0;
	}
}

/*
 * The mode is that of the unbound socket and nobody can connect before
 * listen(), so there is no moment at which the wrong peer gets in.
 */
static int make_listener(const struct session *s, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		       s->socket_path);
	if (fd < 0)
		return err_set(-errno, "cannot make a socket: %m");
	if (unlink(s->socket_path) < 0 && errno != ENOENT)
		return err_set(-errno, "cannot replace %s: %m", s->socket_path);
	if (fchmod(fd, 0600) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_set(-errno, "cannot bind %s: %m", s->socket_path);
	if (lchown(s->socket_path, s->uid, s->gid) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return err_set(-errno, "cannot listen on %s: %m",
			       s->socket_path);
	*ret_fd = steal_fd(fd);
	return 0;
}

struct node_reader {
	struct cache *cache;
	const struct block_source *source;
};

static int read_node(void *arg, uint64_t block, uint8_t *ret_page,
		     uint8_t *ret_kind)
{
	const struct node_reader *r = arg;

	return fetch_read(r->cache, r->source, block, CACHE_NODE, ret_page,
			  ret_kind);
}

/* What a daemon before us has left under the id is not ours to replace. */
static int begin(struct session *s, const struct manifest_file *image)
{
	if (access(s->journal_path, F_OK) == 0)
		return err_set(-EBUSY, "%s: a session that was not taken over",
			       s->journal_path);
	s->owns_files = true;
	if (s->overlay) {
		int r = overlayfile_write(s->overlay_path, s->overlay);

		if (r < 0)
			return r;
	}
	return pagestate_create(s->pages_fd, image->pages, &image->digest,
				&s->pages);
}

static int take_over(struct session *s, const struct session_options *o,
		     const struct manifest_file *image)
{
	const struct journal *j = o->journal;
	int r;

	if (memcmp(&j->image, &image->digest, sizeof(j->image)) != 0)
		return err_set(-EBADMSG,
			       "session %s: snapshot %s is another one now",
			       s->id, s->snapshot_name);
	r = pagestate_open(s->pages_fd, image->pages, &image->digest,
			   &s->pages);
	if (r < 0)
		return r;
	if (!j->served) {
		/* Its handshake will keep it anew: not to be let go of. */
		close_quietly(vault_take(s->vault, s->id));
		s->connection.fd = vault_take(s->vault, s->connection_name);
		s->connection_kept = s->connection.fd >= 0;
		return 0;
	}
	return resume_session(s, j, vault_take(s->vault, s->id));
}

/* Without one, or without memory for it, the session goes without. */
static void find_workingset(struct session *s, const struct session_options *o)
{
	if (!o->prefetch && o->record != SESSION_RECORD_NEW)
		return;
	if (inherit_workingset(s->snapshot, o->cache, &s->set, &s->set_is_own) <
	    0)
		return;
	if (o->prefetch && o->record != SESSION_RECORD_ALWAYS)
		s->ahead.plan = plan_new(&s->set);
	if (s->ahead.plan)
		s->workingset_pages = s->set.count;
}

static int open_overlay(struct session *s, const struct session_options *o)
{
	if (!o->journal)
		return overlay_new(o->overlays, o->overlay_count, s->image_size,
				   &s->overlay);
	if (!o->journal->overlays)
		return 0;
	return overlayfile_read(s->overlay_path, s->image_size, &s->overlay);
}

static int open_image(struct session *s, const struct session_options *o)
{
	const struct manifest_file *image =
		&snapshot_manifest(o->snapshot)->image;
	struct node_reader reader = {
		.cache = o->cache,
		.source = store_source(snapshot_store(o->snapshot)),
	};
	int r;

	s->image_size = image->size;
	r = open_overlay(s, o);
	if (r < 0)
		return r;
	r = pagetable_open(image, read_node, &reader, &s->table);
	if (r < 0)
		return r;
	find_workingset(s, o);
	r = open_pages_file(s->pages_path, o->journal, &s->pages_fd);
	if (r < 0)
		return r;
	atomic_store(&s->shown.pages_total, image->pages);
	return o->journal ? take_over(s, o, image) : begin(s, image);
}

static struct session *allocate(const struct session_options *o)
{
	static _Atomic uint32_t last_number;
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->magic = SESSION_MAGIC;
	s->number = ++last_number;
	atomic_init(&s->refs, 1);
	s->policy = o->policy;
	s->uid = o->uid;
	s->gid = o->gid;
	s->vault = o->vault;
	s->uffd_number = -1;
	s->handshake_ns = o->handshake_ns;
	s->retry_ns = o->retry_ns;
	s->stall_ns = o->stall_ns;
	s->faults_max = o->faults_max;
	s->record_when = o->record;
	s->record_ns = o->record_ns;
	s->record_pages = o->record_pages;
	s->pages_fd = -1;
	s->listener.fd = s->connection.fd = s->uffd.fd = s->vmm.fd = -1;
	handshake_init(&s->handshake);
	hist_init(&s->shown.latency);
	for (int i = 0; i < SESSION_SOURCE_COUNT; i++)
		hist_init(&s->shown.latency_by[i]);
	list_init(&s->node);
	list_init(&s->outstanding);
	list_init(&s->put_off);
	list_init(&s->demand);
	list_init(&s->demand_node);
	list_init(&s->overflow_node);
	ahead_init(&s->ahead);
	return s;
}

/* In place of the last daemon's, which has held it until we had ours. */
static void keep_lease(struct session *s)
{
	lease_drop(vault_take(s->vault, s->lease_name));
	vault_drop(s->vault, s->lease_name);
	vault_keep(s->vault, s->lease_name, snapshot_lease_fd(s->snapshot));
}

int session_new(const struct session_options *options,
		struct session **ret_session)
{
	struct session *s cleanup(cleanup_session) = NULL;
	bool made;
	int r;

	assert(options->folder[0] == '/' && options->faults_max > 0);
	r = session_id_check(options->id);
	if (r < 0)
		return r;
	s = allocate(options);
	if (!s)
		return err_set(-ENOMEM, "no memory for a session");
	s->snapshot = snapshot_ref(options->snapshot);
	r = make_names(s, options);
	if (r < 0)
		return r;
	r = open_image(s, options);
	if (r < 0)
		return r;
	s->listener.fd = vault_take(s->vault, s->listener_name);
	made = s->listener.fd < 0;
	if (made)
		r = make_listener(s, &s->listener.fd);
	/* What a taken over one was found by is true still. */
	if (r == 0 && !options->journal)
		r = resume_record(s);
	if (r < 0)
		return r;
	if (made)
		vault_keep(s->vault, s->listener_name, s->listener.fd);
	keep_lease(s);
	s->owns_files = true;
	*ret_session = steal_ptr(s);
	return 0;
}

struct session *session_ref(struct session *s)
{
	assert(s->magic == SESSION_MAGIC);
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void session_leave(struct session *s)
{
	/*
	 * Only who holds the lock may remove: else the files are another's.
	 * Without a journal the rest is nobody's, so that goes first.
	 */
	if (s->owns_files) {
		s->owns_files = false;
		(void)unlink(s->journal_path);
		vault_drop(s->vault, s->id);
		vault_drop(s->vault, s->listener_name);
		vault_drop(s->vault, s->lease_name);
		if (s->connection_kept)
			vault_drop(s->vault, s->connection_name);
		(void)unlink(s->overlay_path);
		(void)unlink(s->socket_path);
		(void)unlink(s->pages_path);
	}
	close_quietly(steal_fd(s->listener.fd));
	close_quietly(steal_fd(s->connection.fd));
	close_quietly(steal_fd(s->uffd.fd));
	close_quietly(steal_fd(s->vmm.fd));
	regions_release(&s->regions);
	close_quietly(steal_fd(s->pages_fd));
	pagetable_free(steal_ptr(s->table));
	snapshot_unref(steal_ptr(s->snapshot));
}

void session_unref(struct session *s)
{
	if (!s)
		return;
	assert(s->magic == SESSION_MAGIC);
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	session_leave(s);
	pagestate_free(s->pages);
	overlay_free(s->overlay);
	workingset_release(&s->set);
	ahead_release(&s->ahead);
	free(s->id);
	free(s->snapshot_name);
	free(s->socket_path);
	free(s->pages_path);
	free(s->journal_path);
	free(s->overlay_path);
	s->magic = 0;
	free(s);
}

const char *session_id(const struct session *s)
{
	return s->id;
}

const char *session_socket_path(const struct session *s)
{
	return s->socket_path;
}

const char *session_snapshot_name(const struct session *s)
{
	return s->snapshot_name;
}

const struct hist *session_latency(const struct session *s)
{
	return &s->shown.latency;
}

const struct hist *session_latency_by(const struct session *s,
				      enum session_source source)
{
	return &s->shown.latency_by[source];
}

static uint64_t shown(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static uint64_t age(uint64_t now, uint64_t since)
{
	return since && now > since ? now - since : 0;
}

static uint64_t clock_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void session_status(struct session *s, struct session_status *ret_status)
{
	uint64_t now = clock_now();
	struct session_status st = {
		.id = s->id,
		.snapshot = s->snapshot_name,
		.state = session_state(s),
		.policy = s->policy,
		.lingering = atomic_load(&s->shown.lingering),
		.vmm_pid = atomic_load(&s->shown.vmm_pid),
		.worker = atomic_load(&s->shown.worker),
		.pages_total = shown(&s->shown.pages_total),
		.pages_present = pagestate_count(s->pages, PAGER_PAGE_PRESENT),
		.pages_removed = pagestate_count(s->pages, PAGER_PAGE_REMOVED),
		.pages_poisoned =
			pagestate_count(s->pages, PAGER_PAGE_POISONED),
		.outstanding = shown(&s->shown.outstanding),
		.parked = shown(&s->shown.parked),
		.stalled = shown(&s->shown.stalled),
		.oldest_fault_ns = age(now, shown(&s->shown.oldest_since)),
		.unheard_ns = age(now, shown(&s->shown.unheard_since)),
		.blocked_ns = shown(&s->shown.blocked_ns) +
			      age(now, shown(&s->shown.blocked_since)),
		.p50_ns = hist_percentile(&s->shown.latency, 0.50),
		.p99_ns = hist_percentile(&s->shown.latency, 0.99),
		.p999_ns = hist_percentile(&s->shown.latency, 0.999),
		.prefetching = atomic_load(&s->shown.prefetching),
		.completing = atomic_load(&s->shown.completing),
		.workingset_pages = s->workingset_pages,
		.prefetch_ns = shown(&s->shown.prefetch_ns),
	};

	for (int i = 0; i < SESSION_COUNTER_COUNT; i++)
		st.counters[i] = shown(&s->shown.counters[i]);
	*ret_status = st;
}
