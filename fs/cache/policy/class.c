#include "fs/cache/policy/class.h"

#include <assert.h>

static const struct class_rule rules[CACHE_CLASS_COUNT] = {
	[CACHE_FAULT] = {.name = "fault", .admitted = true, .urgent = true},
	[CACHE_NODE] = {.name = "node", .admitted = true, .urgent = true},
	/*
	 * As good as the faults that it saves. In pagerbench cache's fleet at
	 * 10 %, half of it restored by working sets, faults and prefetch miss
	 * 458,000 times so, and 504,000 where prefetch is a scan; where it
	 * enters the small queue and its hits do not promote, as this was
	 * first designed, 5 % more. A fleet of nothing but working sets
	 * would miss 1.6 times as often with the latter, and 5.8 times as a
	 * scan: then nobody is left to promote what they share.
	 */
	[CACHE_PREFETCH] = {.name = "prefetch", .admitted = true},
	[CACHE_MOUNT] = {.name = "mount"},
	[CACHE_VERIFY] = {.name = "verify"},
	[CACHE_BULK] = {.name = "bulk"},
	/* Read again for each 512 pages' reads, but no guest waits for it. */
	[CACHE_MOUNT_NODE] = {.name = "mount_node", .admitted = true},
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
