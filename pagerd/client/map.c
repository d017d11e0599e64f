#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "pager/handshake.h"
#include "pagerd/client/memory.h"
#include "pagerd/client/offer.h"
#include "pagerd/client/private.h"

#define CONFIRM_TIMEOUT_NS UINT64_C(15000000000)
#define CONFIRM_PAUSE_MAX  100 /* ms */

struct pager_map {
	struct pager_session *session;
	unsigned int flags;
	/*
	 * Ours for as long as the memory is: a daemon that takes over from a
	 * dead one fetches it from here, and while it is open no absent page
	 * can read as zero.
	 */
	int uffd;
	int socket; /* its end tells the daemon that the memory is let go */
	unsigned int count; /* regions that are placed */
	struct pager_region regions[];
};

DEFINE_CLEANUP(map, struct pager_map *, pager_unmap)
DEFINE_CLEANUP(json, json_t *, json_decref)

static bool overlaps(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static int check_region(const struct pager_region *region, uint64_t page_size)
{
	uint64_t start = (uintptr_t)region->addr, end;

	if (region->size == 0)
		return err_set(-EINVAL, "a region of 0 bytes");
	if ((start | region->size | region->offset) & (page_size - 1))
		return err_set(-EINVAL,
			       "a region at %#llx of %#llx bytes, offset "
			       "%#llx: not all multiples of the page size %llu",
			       (unsigned long long)start,
			       (unsigned long long)region->size,
			       (unsigned long long)region->offset,
			       (unsigned long long)page_size);
	if (__builtin_add_overflow(start, region->size, &end) ||
	    __builtin_add_overflow(region->offset, region->size, &end) ||
	    end > INT64_MAX)
		return err_set(-EINVAL, "a region past the end of numbers");
	return 0;
}

/* A MAP_FIXED region would silently take the place of one before it. */
static int check_apart(const struct pager_region *regions, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		for (unsigned int j = 0; regions[i].addr && j < i; j++)
			if (regions[j].addr &&
			    overlaps((uintptr_t)regions[i].addr,
				     (uintptr_t)regions[j].addr,
				     regions[i].size, regions[j].size))
				return err_set(-EINVAL,
					       "regions %u and %u overlap", j,
					       i);
	return 0;
}

static int check(const struct pager_session *s,
		 const struct pager_region *regions, unsigned int count,
		 const struct pager_map_options *options)
{
	if (s->map)
		return err_set(-EBUSY, "the session is mapped already");
	if (count == 0 || count > PAGER_HANDSHAKE_REGIONS_MAX)
		return err_set(-EINVAL, "%u regions; 1 to %u are possible",
			       count, PAGER_HANDSHAKE_REGIONS_MAX);
	if (options->page_size != 4096 &&
	    options->page_size != PAGER_HUGE_PAGE_SIZE)
		return err_set(-EINVAL,
			       "a page size of %llu; 4096 and %u are possible",
			       (unsigned long long)options->page_size,
			       PAGER_HUGE_PAGE_SIZE);
	for (unsigned int i = 0; i < count; i++) {
		int r = check_region(&regions[i], options->page_size);

		if (r < 0)
			return r;
	}
	return check_apart(regions, count);
}

static struct pager_map *map_new(struct pager_session *s,
				 const struct pager_region *regions,
				 unsigned int count, unsigned int flags)
{
	struct pager_map *m = calloc(1, sizeof(*m) + count * sizeof(*regions));

	if (!m)
		return NULL;
	m->session = s;
	m->flags = flags;
	m->uffd = m->socket = -1;
	memcpy(m->regions, regions, count * sizeof(*regions));
	return m;
}

static int place_all(struct pager_map *m, unsigned int count,
		     const struct pager_map_options *options)
{
	m->uffd = memory_open_uffd(options->flags);
	if (m->uffd < 0)
		return m->uffd;
	for (m->count = 0; m->count < count; m->count++) {
		int r = memory_place(m->uffd, &m->regions[m->count], options);

		if (r < 0)
			return r;
	}
	return 0;
}

static int allow_all(struct pager_map *m, int prot)
{
	for (unsigned int i = 0; i < m->count; i++) {
		int r = memory_allow(&m->regions[i], prot);

		if (r < 0)
			return r;
	}
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* 1: the daemon serves the session; 0: not yet; or what keeps it from it. */
static int is_served(struct pager_session *s)
{
	json_t *status cleanup(cleanup_json) = NULL;
	const char *state;
	int r = session_ask(s, &status);

	if (r < 0)
		return r;
	state = json_string_value(json_object_get(status, "state"));
	if (!state)
		return err_set(-EPROTO, "a session without a state");
	if (strcmp(state, "serving") == 0)
		return 1;
	if (strcmp(state, "listening") == 0 || strcmp(state, "handshake") == 0)
		return 0;
	return err_set(-EIO, "the session is %s", state);
}

/*
 * The daemon says nothing on the session's socket. It ends the connection
 * when it refuses what it got, and then nobody would ever answer a fault: so
 * ask for the state until it serves, or has hung up without serving. One that
 * is away may have died: what was said waits for the next.
 */
static int confirm(struct pager_session *s, int socket)
{
	struct pollfd hangup = {.fd = socket, .events = POLLRDHUP};
	uint64_t deadline = now_ns() + CONFIRM_TIMEOUT_NS;
	bool over = false, away;
	int pause = 1, r;

	for (;;) {
		r = is_served(s);
		away = r == -ECONNREFUSED || r == -ECONNRESET;
		if (r != 0 && !away)
			return r < 0 ? r : 0;
		if (over && !away)
			return err_set(-EINVAL,
				       "the daemon refused the memory that it "
				       "was offered; its log says why");
		if (now_ns() > deadline)
			return err_set(-ETIMEDOUT,
				       "the daemon does not begin to serve");
		over = poll(&hangup, away ? 0 : 1, pause) > 0;
		pause = pause * 2 < CONFIRM_PAUSE_MAX ? pause * 2
						      : CONFIRM_PAUSE_MAX;
	}
}

static int map_regions(struct pager_session *s,
		       const struct pager_region *regions, unsigned int count,
		       const struct pager_map_options *options,
		       struct pager_map **ret_map)
{
	struct pager_map *m cleanup(cleanup_map) = NULL;
	int r = check(s, regions, count, options);

	if (r < 0)
		return r;
	m = map_new(s, regions, count, options->flags);
	if (!m)
		return -ENOMEM;
	r = place_all(m, count, options);
	if (r < 0)
		return r;
	m->socket = offer_send(s->socket, m->uffd, m->regions, count,
			       options->page_size);
	if (m->socket < 0)
		return m->socket;
	r = s->id ? confirm(s, m->socket) : 0;
	if (r < 0)
		return r;
	r = allow_all(m, options->prot);
	if (r < 0)
		return r;
	/* From here on, letting go of it is the caller's wish. */
	m->flags &= ~(unsigned int)PAGER_MAP_REPLACE;
	s->map = m;
	*ret_map = steal_ptr(m);
	return 0;
}

int pager_map_regions(struct pager_session *s, struct pager_region *regions,
		      unsigned int count,
		      const struct pager_map_options *options,
		      struct pager_map **ret_map)
{
	int r = map_regions(s, regions, count, options, ret_map);

	if (r < 0)
		return pager_note(s->pager, r);
	memcpy(regions, (*ret_map)->regions, count * sizeof(*regions));
	return 0;
}

int pager_map(struct pager_session *s, const struct pager_map_options *options,
	      struct pager_map **ret_map)
{
	struct pager_region region = {NULL, options->size, options->offset};

	return pager_map_regions(s, &region, 1, options, ret_map);
}

void *pager_map_data(const struct pager_map *m)
{
	return m->regions[0].addr;
}

uint64_t pager_map_size(const struct pager_map *m)
{
	return m->regions[0].size;
}

/* The memory first: without its userfaultfd it would read as zeros. */
void pager_unmap(struct pager_map *m)
{
	if (!m)
		return;
	for (unsigned int i = 0; i < m->count; i++)
		memory_drop(&m->regions[i], m->flags);
	close_quietly(m->uffd);
	close_quietly(m->socket);
	if (m->session->map == m)
		m->session->map = NULL;
	free(m);
}
