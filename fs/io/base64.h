/*
 * Base64 of RFC 4648, section 4: the alphabet with + and /, padded, no white
 * space. None of the libraries that we link has it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BASE64_LENGTH(bytes) (((bytes) + 2) / 3 * 4)

/* The caller frees; NULL: out of memory. */
char *base64_encode(const uint8_t *bytes, size_t len);

/*
 * The caller frees. -EINVAL: not of that form, unused bits that are not 0
 * included; -ENOMEM.
 */
int base64_decode(const char *text, size_t len, uint8_t **ret_bytes,
		  size_t *ret_len);
