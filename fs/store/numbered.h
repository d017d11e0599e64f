/* File names that are a number: 16 hex digits in lower case and a suffix. */
#pragma once

#include <stdint.h>

/* Suffixes have at most 15 bytes, the dot counted. */
#define NUMBERED_NAME_MAX 32

void numbered_name(uint64_t number, const char *suffix,
		   char buf[NUMBERED_NAME_MAX]);

/* -EINVAL for every other form of name, and for the number 0. */
int numbered_parse(const char *name, const char *suffix, uint64_t *ret_number);
