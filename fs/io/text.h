/* Text forms of numbers, digests and names, read and written in one place. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * "4096", "64K", "1.5G": bytes, with K, M, G, T as powers of 1024, in any
 * case, an optional "iB" or "B" behind. -EINVAL for anything else, -ERANGE
 * past 2^63.
 */
int text_parse_size(const char *s, uint64_t *ret_bytes);

/* A decimal u64 and nothing else; -EINVAL, -ERANGE. */
int text_parse_u64(const char *s, uint64_t *ret_value);

/* "1.5 GiB" into `buf`, which is returned. */
#define TEXT_SIZE_MAX 32
const char *text_size(uint64_t bytes, char buf[TEXT_SIZE_MAX]);

/* Lower-case hex; `hex` holds 2 * len + 1. */
void text_to_hex(const uint8_t *bytes, size_t len, char *hex);

/* Exactly 2 * len hex digits of either case, or -EINVAL. */
int text_from_hex(const char *hex, size_t len, uint8_t *ret_bytes);

/* Well-formed UTF-8 without overlong forms or surrogates. */
bool text_is_utf8(const char *s, size_t len);
