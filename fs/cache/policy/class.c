#include "fs/cache/policy/class.h"

#include <assert.h>

static const struct class_rule rules[CACHE_CLASS_COUNT] = {
	[CACHE_FAULT] = {.name = "fault", .admitted = true, .urgent = true},
	[CACHE_NODE] = {.name = "node", .admitted = true, .urgent = true},
	[CACHE_PREFETCH] = {.name = "prefetch"},
	[CACHE_MOUNT] = {.name = "mount"},
	[CACHE_VERIFY] = {.name = "verify"},
};

const struct class_rule *class_rule(enum cache_class class)
{
	assert(class < CACHE_CLASS_COUNT);
	return &rules[class];
}

const char *cache_class_name(enum cache_class class)
{
	return class_rule(class)->name;
}
