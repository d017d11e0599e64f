/*
 * The baseline of the fault benchmarks: a bare, single-purpose handler in a
 * process of its own, as small as one can be: poll, read one message, one
 * UFFDIO_COPY from a copy of the image in memory, or from a pread of it, or
 * one UFFDIO_ZEROPAGE.
 */
#pragma once

#include <stdint.h>

enum bare_source { BARE_MEMORY, BARE_PREAD, BARE_ZEROPAGE };

struct bare;

/*
 * Maps as much memory as the image has in this process, registers it and
 * starts the handler. 0 or a negative errno with err_text().
 */
int bare_start(const char *image, enum bare_source source,
	       struct bare **ret_bare);

/* Likewise, with the image's bytes in memory that a child inherits. */
int bare_start_from(const uint8_t *image, uint64_t size,
		    struct bare **ret_bare);
uint8_t *bare_data(const struct bare *b);
void bare_stop(struct bare *b); /* accepts NULL */
