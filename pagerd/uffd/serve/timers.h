/*
 * Deadlines of one thread: a pairing heap of intrusive nodes, so that to arm
 * one takes no memory and cannot fail. One thread owns a heap and its timers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct timer {
	uint64_t when; /* CLOCK_MONOTONIC ns */
	void (*fire)(struct timer *t);
	/* The heap's: prev is the left sibling, or the parent of a first. */
	struct timer *child, *next, *prev;
	bool armed;
};

struct timers {
	struct timer *root; /* the earliest */
};

/* Arms, or arms anew. */
void timer_arm(struct timers *h, struct timer *t, uint64_t when,
	       void (*fire)(struct timer *t));

/* One that is not armed is fine. */
void timer_disarm(struct timers *h, struct timer *t);

/* UINT64_MAX where none is armed. */
uint64_t timers_next(const struct timers *h);

/*
 * Disarms and fires all that are due, earliest first. What they arm for a
 * time that is due already fires too, so a timer that repeats must not.
 */
void timers_run(struct timers *h, uint64_t now);
