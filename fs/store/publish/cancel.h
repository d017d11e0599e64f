/* The flag by which long work is stopped from outside; NULL: it cannot be. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* A signal handler or any thread may set it meanwhile. */
static inline bool cancel_is_set(const volatile int *flag)
{
	return flag && __atomic_load_n(flag, __ATOMIC_RELAXED);
}
