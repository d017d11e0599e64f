#include "fs/base/lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void must(int result, const char *what, const char *name)
{
	if (result == 0)
		return;
	(void)fprintf(stderr, "pagerd: %s of lock %s: %s\n", what, name,
		      strerror(result));
	abort();
}

void lock_init(struct lock *l, const char *name)
{
	*l = (struct lock){.name = name};
	must(pthread_mutex_init(&l->mutex, NULL), "init", name);
}

void lock_release(struct lock *l)
{
	must(pthread_mutex_destroy(&l->mutex), "destroy", l->name);
}

static void now_held(struct lock *l)
{
	l->owner = pthread_self();
	l->held = true;
}

void lock_take(struct lock *l)
{
	int r = pthread_mutex_trylock(&l->mutex);

	if (r == EBUSY) {
		must(pthread_mutex_lock(&l->mutex), "lock", l->name);
		l->contended++;
	} else {
		must(r, "trylock", l->name);
	}
	now_held(l);
}

void lock_drop(struct lock *l)
{
	lock_assert_held(l);
	l->held = false;
	must(pthread_mutex_unlock(&l->mutex), "unlock", l->name);
}

void lock_assert_held(const struct lock *l)
{
	if (!l->held || !pthread_equal(l->owner, pthread_self()))
		must(EPERM, "ownership", l->name);
}

void condition_init(struct condition *c)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr), "init", "condition");
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), "setclock",
	     "condition");
	must(pthread_cond_init(&c->cond, &attr), "init", "condition");
	must(pthread_condattr_destroy(&attr), "destroy", "condition");
}

void condition_release(struct condition *c)
{
	must(pthread_cond_destroy(&c->cond), "destroy", "condition");
}

void condition_wait(struct condition *c, struct lock *l)
{
	lock_assert_held(l);
	l->held = false;
	must(pthread_cond_wait(&c->cond, &l->mutex), "wait", l->name);
	now_held(l);
}

bool condition_wait_until(struct condition *c, struct lock *l,
			  uint64_t deadline_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(deadline_ns / 1000000000),
		.tv_nsec = (long)(deadline_ns % 1000000000),
	};
	int r;

	lock_assert_held(l);
	l->held = false;
	r = pthread_cond_timedwait(&c->cond, &l->mutex, &ts);
	now_held(l);
	if (r == ETIMEDOUT)
		return false;
	must(r, "timed wait", l->name);
	return true;
}

void condition_wake_one(struct condition *c)
{
	must(pthread_cond_signal(&c->cond), "signal", "condition");
}

void condition_wake_all(struct condition *c)
{
	must(pthread_cond_broadcast(&c->cond), "broadcast", "condition");
}
