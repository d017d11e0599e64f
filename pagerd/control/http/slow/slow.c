#include "pagerd/control/http/slow/slow.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/lock.h"

struct slow {
	struct lock lock;
	struct condition ended;
	unsigned int running; /* protected by lock, as below */
	bool stopped;
};

struct task {
	struct slow *slow;
	void (*work)(void *arg);
	void *arg;
};

int slow_new(struct slow **ret_slow)
{
	struct slow *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	lock_init(&s->lock, "slow requests");
	condition_init(&s->ended);
	*ret_slow = s;
	return 0;
}

void slow_free(struct slow *s)
{
	if (!s)
		return;
	condition_release(&s->ended);
	lock_release(&s->lock);
	free(s);
}

static int reserve(struct slow *s)
{
	LOCK_GUARD(&s->lock);
	if (s->stopped)
		return err_set(-ESHUTDOWN, "the daemon is ending");
	if (s->running == SLOW_MAX)
		return err_set(-EAGAIN,
			       "%u requests of this kind are under way; try "
			       "again",
			       SLOW_MAX);
	s->running++;
	return 0;
}

static void let_go(struct slow *s)
{
	LOCK_GUARD(&s->lock);
	s->running--;
	condition_wake_all(&s->ended);
}

static void *run(void *arg)
{
	struct task t = *(struct task *)arg;

	free(arg);
	t.work(t.arg);
	let_go(t.slow);
	return NULL;
}

static int begin(struct task *t)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int r = pthread_attr_init(&attributes);

	if (r != 0)
		return -EAGAIN;
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attributes, run, t);
	(void)pthread_attr_destroy(&attributes);
	return r == 0 ? 0 : err_set(-EAGAIN, "there is no thread for this");
}

int slow_run(struct slow *s, void (*work)(void *arg), void *arg)
{
	_cleanup_free_ struct task *t = malloc(sizeof(*t));
	int r;

	if (!t)
		return -EAGAIN;
	*t = (struct task){s, work, arg};
	r = reserve(s);
	if (r < 0)
		return r;
	r = begin(t);
	if (r < 0)
		let_go(s);
	else
		(void)steal_ptr(t);
	return r;
}

void slow_stop(struct slow *s)
{
	LOCK_GUARD(&s->lock);
	s->stopped = true;
	while (s->running > 0)
		condition_wait(&s->ended, &s->lock);
}
