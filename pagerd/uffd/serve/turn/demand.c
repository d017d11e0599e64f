/*
 * A slice is what 64 KiB of copies take, by number and by time: a run of zeros
 * or a 2 MiB page is one fault and takes far longer than a page. A VM that
 * floods fills its own queue, which faults_max bounds, and costs the others on
 * its worker one slice a turn.
 *
 * Who was just answered often runs, and faults anew, before the answering
 * call returns: so a slice that has room left reads once more before others
 * have their turn, which spares a turn of the loop for about every other
 * fault where many VMs fault at once.
 */
#include "pagerd/uffd/serve/turn/demand.h"

#include "pagerd/uffd/serve/events.h"
#include "pagerd/uffd/serve/worker.h"

#define SLICE_FAULTS 16u
#define SLICE_READS  3u
#define SLICE_NS     UINT64_C(50000)

void demand_add(struct session *s, struct fault *f)
{
	struct worker *w = atomic_load(&s->worker);

	list_append(&s->demand, &f->wait_node);
	if (list_empty(&s->demand_node))
		list_append(&w->demand, &s->demand_node);
}

bool demand_waits(const struct worker *w)
{
	return !list_empty(&w->demand);
}

/* The next fault of a slice; NULL where there is none. */
static struct list_node *next_fault(struct session *s, unsigned int *reads)
{
	if (list_empty(&s->demand) && *reads < SLICE_READS) {
		events_read(s);
		++*reads;
	}
	return list_pop(&s->demand);
}

static void run_slice(struct session *s)
{
	uint64_t until = worker_now() + SLICE_NS;
	unsigned int reads = 0;

	session_count(s, SESSION_COUNT_SLICES, 1);
	for (unsigned int i = 0; i < SLICE_FAULTS; i++) {
		struct list_node *n;

		if (i > 0 && worker_now() >= until)
			return;
		n = next_fault(s, &reads);
		if (!n)
			return;
		fault_step(container_of(n, struct fault, wait_node));
	}
}

void demand_run(struct worker *w)
{
	struct list_node now = LIST_INIT(now), *n;

	list_splice(&now, &w->demand);
	while ((n = list_pop(&now))) {
		struct session *s =
			container_of(n, struct session, demand_node);

		run_slice(s);
		if (!list_empty(&s->demand) && list_empty(&s->demand_node))
			list_append(&w->demand, &s->demand_node);
	}
}
