/*
 * How long a run is: the aligned 64 KiB around the fault at first. A guest that
 * goes on right behind what was installed last is walking through zeros (it
 * fills its page cache, say), and gets twice as much each time, up to 2 MiB,
 * the reach of one leaf node.
 */
#include "pagerd/uffd/fault/zero.h"

#include "pagerd/uffd/fault/fault.h"
#include "pagerd/uffd/memory/overlay.h"

#define RUN_LEAST 16u
#define RUN_MOST  PAGER_NODE_ENTRIES

/* Pages of the image; `end` is not of it. */
struct run {
	uint64_t first, end;
};

static struct uffd_outcome install(struct fault *f, struct run run)
{
	struct session *s = f->session;
	struct uffd_outcome o =
		uffd_zero(s->uffd.fd, region_address(f->region, run.first),
			  (run.end - run.first) * PAGER_PAGE_SIZE);

	session_count(s, SESSION_COUNT_ZEROED, o.done / PAGER_PAGE_SIZE);
	return o;
}

struct uffd_outcome zero_page(struct fault *f)
{
	return install(f, (struct run){f->page, f->page + 1});
}

static bool is_absent_zero(const struct fault *f, const struct cache_ref *leaf,
			   uint64_t page)
{
	uint64_t block;

	if (pagestate_get(f->session->pages, page) != PAGER_PAGE_ABSENT ||
	    overlay_touches(f->session->overlay, page))
		return false;
	if (!leaf)
		return true;
	return pagetable_entry(leaf->data, leaf->kind, page, &block) == 0 &&
	       block == 0;
}

/*
 * Within the leaf, the region and the window, which is aligned at first, and
 * lies ahead of a guest that walks on.
 */
static struct run limits(const struct fault *f, uint64_t window)
{
	const struct region *r = f->region;
	uint64_t low = r->offset / PAGER_PAGE_SIZE;
	uint64_t high = low + r->size / PAGER_PAGE_SIZE;
	uint64_t leaf_end = (f->page / RUN_MOST + 1) * RUN_MOST;
	struct run run = {.first = f->page};

	if (window == RUN_LEAST)
		run.first -= f->page % RUN_LEAST;
	run.end = run.first + window;
	if (run.end > leaf_end)
		run.end = leaf_end;
	if (run.first < low)
		run.first = low;
	if (run.end > high)
		run.end = high;
	return run;
}

static struct run find_run(const struct fault *f, const struct cache_ref *leaf,
			   uint64_t window)
{
	struct run most = limits(f, window), run = {f->page, f->page + 1};

	while (run.first > most.first && is_absent_zero(f, leaf, run.first - 1))
		run.first--;
	while (run.end < most.end && is_absent_zero(f, leaf, run.end))
		run.end++;
	return run;
}

static uint64_t next_window(const struct session *s, uint64_t page)
{
	if (page != s->zero_end || s->zero_window == 0)
		return RUN_LEAST;
	return s->zero_window < RUN_MOST ? 2 * s->zero_window : RUN_MOST;
}

/* A page of the run is there already, or the mapping ends within the run. */
static bool ends_early(struct uffd_outcome o)
{
	return o.done > 0 || o.result == UFFD_EXISTS ||
	       o.result == UFFD_UNMAPPED;
}

void zero_install(struct fault *f, const struct cache_ref *leaf)
{
	struct session *s = f->session;
	uint64_t window = next_window(s, f->page), done;
	struct run run = find_run(f, leaf, window);
	struct uffd_outcome o = install(f, run);

	done = o.done / PAGER_PAGE_SIZE;
	pagestate_set(s->pages, run.first, done, PAGER_PAGE_PRESENT);
	s->zero_end = run.first + done;
	s->zero_window = window;
	if (f->page - run.first < done)
		o.result = UFFD_DONE;
	else if (run.end - run.first > 1 && ends_early(o))
		o = zero_page(f);
	if (o.result == UFFD_DONE)
		fault_note_source(f, SESSION_SOURCE_ZERO);
	fault_settle(f, o);
}
