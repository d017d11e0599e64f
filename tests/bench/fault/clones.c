#include "tests/bench/fault/clones.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pager/block.h"
#include "tests/bench/fault/bare.h"
#include "tests/bench/served.h"

/* What the stranger has touched before the others are let go. */
#define SCAN_BEFORE 256u

struct run {
	const struct clone_plan *plan;
	struct touch_figures *figures; /* shared with all */
	int ready[2];		       /* a byte from each that is ready */
	int go[2];		       /* its end lets them go */
	pid_t scanner;
	pid_t *clones;
};

/* Memory of one VM, by either handler. */
struct memory {
	struct bare *bare;
	struct served_memory *served;
	const uint8_t *data;
};

static int memory_map(const struct clone_plan *plan, bool scan,
		      struct memory *m)
{
	int r;

	*m = (struct memory){0};
	if (plan->served) {
		r = served_map(plan->served, scan ? "scanned" : "image",
			       scan ? plan->scan_size : plan->size,
			       SERVED_ON_DEMAND, &m->served);
		m->data = r == 0 ? served_data(m->served) : NULL;
		return r;
	}
	r = scan ? bare_start_from(plan->scan_image, plan->scan_size, &m->bare)
		 : bare_start_from(plan->image, plan->size, &m->bare);
	m->data = r == 0 ? bare_data(m->bare) : NULL;
	return r;
}

static void memory_unmap(struct memory *m)
{
	served_unmap(m->served);
	bare_stop(m->bare);
}

static void say_ready(const struct run *run)
{
	char byte = 0;

	if (write(run->ready[1], &byte, 1) != 1)
		_exit(1);
}

static int enter_child(const struct run *run)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)close(run->go[1]);
	return run->plan->served ? served_reopen(run->plan->served) : 0;
}

static int be_clone(const struct run *run, unsigned int index)
{
	const struct clone_plan *plan = run->plan;
	struct touch t;
	struct memory m;
	char byte;
	int r = enter_child(run);

	if (r == 0)
		r = touch_init(&t, plan->size / PAGER_PAGE_SIZE, index + 1);
	if (r == 0)
		r = memory_map(plan, false, &m);
	if (r < 0)
		return r;
	say_ready(run);
	if (read(run->go[0], &byte, 1) != 0)
		return -EPIPE;
	touch_all(&t, m.data, &run->figures[index]);
	if (memcmp(m.data, plan->image, plan->size) != 0)
		r = -EBADMSG;
	memory_unmap(&m);
	return r;
}

/* Until it is killed. */
static int be_scanner(const struct run *run)
{
	uint64_t pages = run->plan->scan_size / PAGER_PAGE_SIZE, count = 0;
	struct memory m;
	int r = enter_child(run);

	while (r == 0) {
		r = memory_map(run->plan, true, &m);
		for (uint64_t i = 0; r == 0 && i < pages; i++) {
			(void)*(const volatile uint8_t *)(m.data +
							  i * PAGER_PAGE_SIZE);
			if (++count == SCAN_BEFORE)
				say_ready(run);
		}
		if (r == 0)
			memory_unmap(&m);
	}
	return r;
}

static int start_all(struct run *run)
{
	if (run->plan->scan_size) {
		run->scanner = fork();
		if (run->scanner == 0)
			_exit(be_scanner(run) != 0);
	}
	for (unsigned int i = 0; i < run->plan->count; i++) {
		run->clones[i] = fork();
		if (run->clones[i] < 0)
			return -errno;
		if (run->clones[i] == 0)
			_exit(be_clone(run, i) != 0);
	}
	return 0;
}

static int wait_ready(struct run *run)
{
	unsigned int wanted = run->plan->count + (run->plan->scan_size != 0);
	char byte;

	/* Without ours, the last that dies ends the reading. */
	(void)close(steal_fd(run->ready[1]));
	while (wanted--)
		if (read(run->ready[0], &byte, 1) != 1)
			return err_set(-ECHILD, "a clone could not be mapped");
	return 0;
}

/* Their memory's handlers die with them. */
static int reap_all(struct run *run, int error)
{
	int status;

	for (unsigned int i = 0; i < run->plan->count; i++) {
		if (run->clones[i] <= 0)
			continue;
		if (error < 0)
			(void)kill(run->clones[i], SIGKILL);
		while (waitpid(run->clones[i], &status, 0) < 0 &&
		       errno == EINTR)
			;
		if (error == 0 && status != 0)
			error = err_set(-EBADMSG, "a clone failed, or its "
						  "bytes are not the image's");
	}
	if (run->scanner > 0) {
		(void)kill(run->scanner, SIGKILL);
		(void)waitpid(run->scanner, NULL, 0);
	}
	return error;
}

static void take_figures(const struct run *run,
			 struct touch_figures *ret_figures, double *ret_seconds)
{
	uint64_t begin = UINT64_MAX, end = 0;

	for (unsigned int i = 0; i < run->plan->count; i++) {
		ret_figures[i] = run->figures[i];
		if (ret_figures[i].begin < begin)
			begin = ret_figures[i].begin;
		if (ret_figures[i].end > end)
			end = ret_figures[i].end;
	}
	*ret_seconds = (double)(end - begin) / 1e9;
}

static int run_all(struct run *run)
{
	int r;

	if (pipe(run->ready) < 0 || pipe(run->go) < 0)
		return err_set(-errno, "pipe: %m");
	r = start_all(run);
	if (r == 0)
		r = wait_ready(run);
	close_quietly(steal_fd(run->go[1]));
	r = reap_all(run, r);
	close_quietly(run->go[0]);
	close_quietly(run->ready[0]);
	close_quietly(run->ready[1]);
	return r;
}

int clones_run(const struct clone_plan *plan, struct touch_figures *ret_figures,
	       double *ret_seconds)
{
	size_t bytes = plan->count * sizeof(struct touch_figures);
	_cleanup_free_ pid_t *clones = calloc(plan->count, sizeof(*clones));
	struct run run = {
		.plan = plan,
		.clones = clones,
		.ready = {-1, -1},
		.go = {-1, -1},
	};
	int r;

	if (!clones)
		return -ENOMEM;
	run.figures = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.figures == MAP_FAILED)
		return -ENOMEM;
	r = run_all(&run);
	if (r == 0)
		take_figures(&run, ret_figures, ret_seconds);
	(void)munmap(run.figures, bytes);
	return r;
}
