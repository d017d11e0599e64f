#include "fs/store/numbered.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DIGITS 16u

void numbered_name(uint64_t number, const char *suffix,
		   char buf[NUMBERED_NAME_MAX])
{
	(void)snprintf(buf, NUMBERED_NAME_MAX, "%016" PRIx64 "%s", number,
		       suffix);
}

int numbered_parse(const char *name, const char *suffix, uint64_t *ret_number)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t number = 0;

	if (strlen(name) < DIGITS || strcmp(name + DIGITS, suffix) != 0)
		return -EINVAL;
	for (unsigned int i = 0; i < DIGITS; i++) {
		const char *at = strchr(digits, name[i]);

		if (!at)
			return -EINVAL;
		number = number << 4 | (uint64_t)(at - digits);
	}
	if (number == 0)
		return -EINVAL;
	*ret_number = number;
	return 0;
}
