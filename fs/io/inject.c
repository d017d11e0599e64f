#include "fs/io/inject.h"

#ifdef PAGER_INJECT

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RULES 32

enum fault { FAULT_ERRNO, FAULT_SHORT, FAULT_CRASH, FAULT_FLIP, FAULT_SLOW };

struct rule {
	enum inject_point point;
	enum fault fault;
	int value; /* errno or milliseconds */
	unsigned long first;
	bool onwards;
	unsigned long passed;
};

static const char *const point_names[] = {
#define X(id, name, where) [INJECT_##id] = name,
	INJECT_POINTS(X)
#undef X
};

static const struct {
	const char *name;
	int value;
} errno_names[] = {
	{"EIO", EIO},	    {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
	{"EAGAIN", EAGAIN}, {"EINTR", EINTR},	{"ENOMEM", ENOMEM},
	{"ENOENT", ENOENT}, {"ESRCH", ESRCH},	{"EEXIST", EEXIST},
	{"EROFS", EROFS},   {"EACCES", EACCES}, {"ENOSYS", ENOSYS},
};

static struct {
	pthread_mutex_t lock;
	struct rule rules[MAX_RULES]; /* protected by lock */
	unsigned int count;	      /* protected by lock */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t from_environment = PTHREAD_ONCE_INIT;

static int parse_point(const char *name, size_t len, enum inject_point *ret)
{
	for (unsigned int i = 0; i < INJECT_POINT_COUNT; i++) {
		if (strlen(point_names[i]) == len &&
		    strncmp(point_names[i], name, len) == 0) {
			*ret = (enum inject_point)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_fault(const char *name, struct rule *r)
{
	if (strcmp(name, "short") == 0) {
		r->fault = FAULT_SHORT;
	} else if (strcmp(name, "crash") == 0) {
		r->fault = FAULT_CRASH;
	} else if (strcmp(name, "flip") == 0) {
		r->fault = FAULT_FLIP;
	} else if (strncmp(name, "slow=", 5) == 0) {
		r->fault = FAULT_SLOW;
		r->value = atoi(name + 5);
	} else {
		r->fault = FAULT_ERRNO;
		for (size_t i = 0;
		     i < sizeof(errno_names) / sizeof(errno_names[0]); i++)
			if (strcmp(name, errno_names[i].name) == 0)
				r->value = errno_names[i].value;
		if (!r->value)
			return -EINVAL;
	}
	return 0;
}

static int parse_rule(char *text, struct rule *r)
{
	char *colon = strchr(text, ':'), *at;
	size_t len = strlen(text);

	*r = (struct rule){.first = 1};
	if (!colon || parse_point(text, (size_t)(colon - text), &r->point) < 0)
		return -EINVAL;
	if (text[len - 1] == '+') {
		r->onwards = true;
		text[len - 1] = '\0';
	}
	at = strchr(colon, '@');
	if (at) {
		*at = '\0';
		r->first = strtoul(at + 1, NULL, 10);
	}
	return parse_fault(colon + 1, r);
}

int inject_configure(const char *spec)
{
	struct rule rules[MAX_RULES];
	unsigned int count = 0;
	char *copy = strdup(spec ? spec : ""), *rest = copy, *one;
	int r = copy ? 0 : -ENOMEM;

	while (r == 0 && (one = strsep(&rest, ",")))
		if (*one)
			r = count < MAX_RULES ? parse_rule(one, &rules[count++])
					      : -E2BIG;
	free(copy);
	if (r < 0)
		return r;
	pthread_mutex_lock(&state.lock);
	if (count)
		memcpy(state.rules, rules, count * sizeof(rules[0]));
	state.count = count;
	pthread_mutex_unlock(&state.lock);
	return 0;
}

static void configure_once(void)
{
	const char *spec = getenv("PAGER_INJECT");

	if (spec && inject_configure(spec) < 0) {
		(void)fprintf(stderr, "PAGER_INJECT: cannot read '%s'\n", spec);
		abort();
	}
}

/* The rule that is due at this passing of the point, copied. */
static bool due(enum inject_point point, bool flips, struct rule *ret_rule)
{
	bool found = false;

	pthread_once(&from_environment, configure_once);
	pthread_mutex_lock(&state.lock);
	for (unsigned int i = 0; i < state.count; i++) {
		struct rule *r = &state.rules[i];

		if (r->point != point || (r->fault == FAULT_FLIP) != flips)
			continue;
		r->passed++;
		if (r->passed == r->first ||
		    (r->onwards && r->passed > r->first)) {
			*ret_rule = *r;
			found = true;
		}
	}
	pthread_mutex_unlock(&state.lock);
	return found;
}

int inject_pass_async(enum inject_point point, size_t *len,
		      unsigned int *ret_delay_ms)
{
	struct rule r;

	if (!due(point, false, &r))
		return 0;
	switch (r.fault) {
	case FAULT_CRASH:
		(void)raise(SIGKILL);
		return 0;
	case FAULT_SLOW:
		*ret_delay_ms = (unsigned int)r.value;
		return 0;
	case FAULT_SHORT:
		if (len && *len > 1)
			*len /= 2;
		return 0;
	case FAULT_ERRNO:
		return -r.value;
	case FAULT_FLIP:
		break;
	}
	return 0;
}

int inject_pass(enum inject_point point, size_t *len)
{
	unsigned int delay_ms = 0;
	struct timespec delay;
	int r = inject_pass_async(point, len, &delay_ms);

	delay.tv_sec = delay_ms / 1000;
	delay.tv_nsec = delay_ms % 1000 * 1000000L;
	if (delay_ms)
		(void)nanosleep(&delay, NULL);
	return r;
}

void inject_flip(enum inject_point point, uint8_t *buf, size_t len)
{
	struct rule r;

	if (len && due(point, true, &r))
		buf[len / 2] ^= 0x10;
}

#else
/* ISO C wants a declaration in every unit. */
extern int inject_is_compiled_out;
#endif
