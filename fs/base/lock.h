/*
 * Mutexes and conditions that cannot fail silently: every failing pthread
 * call aborts with the lock's name, the owner is checked, and contention is
 * counted. Lock order of the whole project, outermost first:
 *
 *   importer -> registry -> session -> publish -> packset -> pins -> cache size
 * -> cache curve -> cache shard -> mailbox
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct lock {
	pthread_mutex_t mutex;
	const char *name;
	pthread_t owner;    /* meaningful while held */
	bool held;	    /* protected by the mutex itself */
	uint64_t contended; /* likewise: times that it had to be waited for */
};

struct condition {
	pthread_cond_t cond;
};

/* `name` is not copied. */
void lock_init(struct lock *l, const char *name);
void lock_release(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);

/* Aborts unless the calling thread holds `l`. */
void lock_assert_held(const struct lock *l);

void condition_init(struct condition *c);
void condition_release(struct condition *c);

/* The caller holds `l`; it is dropped while waiting and held on return. */
void condition_wait(struct condition *c, struct lock *l);

/* As condition_wait(), until CLOCK_MONOTONIC passes `deadline_ns`: false. */
bool condition_wait_until(struct condition *c, struct lock *l,
			  uint64_t deadline_ns);
void condition_wake_one(struct condition *c);
void condition_wake_all(struct condition *c);

static inline void lock_drop_at_scope_end(struct lock **l)
{
	if (*l)
		lock_drop(*l);
}

#define LOCK_CONCAT_(a, b) a##b
#define LOCK_CONCAT(a, b)  LOCK_CONCAT_(a, b)

/* Holds `l` until the enclosing scope ends. */
#define LOCK_GUARD(l)                                                          \
	struct lock *LOCK_CONCAT(guard_, __LINE__)                             \
		__attribute__((__cleanup__(lock_drop_at_scope_end), unused)) = \
			({                                                     \
				lock_take(l);                                  \
				(l);                                           \
			})
