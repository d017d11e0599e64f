#include "fs/cache/policy/class.h"

#include <assert.h>

static const struct class_rule rules[CACHE_CLASS_COUNT] = {
	[CACHE_FAULT] = {.name = "fault", .admitted = true, .urgent = true},
	[CACHE_NODE] = {.name = "node", .admitted = true, .urgent = true},
	/* As good as the faults that it saves: a clone's restore is mostly it.
	 */
	[CACHE_PREFETCH] = {.name = "prefetch", .admitted = true},
	[CACHE_MOUNT] = {.name = "mount"},
	[CACHE_VERIFY] = {.name = "verify"},
	[CACHE_BULK] = {.name = "bulk"},
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
