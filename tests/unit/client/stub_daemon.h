/*
 * Half a daemon, in threads of the test: it answers HTTP on RUNTIME/
 * control.sock with what a test tells it to, and serves handshakes on
 * RUNTIME/s.sock from an image in memory. It gives back removed pages as
 * zero. Bytes of the image are stub_byte().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/unit/store/scratch.h"

#define STUB_REGIONS_MAX 1024

struct stub_daemon;

/* The byte at `offset` of the image: never zero. */
static inline uint8_t stub_byte(uint64_t offset)
{
	return (uint8_t)(1 + (offset / 4096 * 7 + offset % 4096) % 255);
}

/* `runtime` is a folder that is there; an image of any size is served. */
struct stub_daemon *stub_start(const char *runtime);
void stub_stop(struct stub_daemon *d);

/*
 * From here on each request gets these bytes, and then the end of the
 * connection; NULL: an answer as a daemon gives. Not copied. A request is read
 * whole before.
 */
void stub_answer(struct stub_daemon *d, const char *bytes);

/* The last request, its head and body; valid until the next call. */
const char *stub_request(struct stub_daemon *d);
unsigned int stub_requests(struct stub_daemon *d);

/* Handshakes are hung up on from here on. */
void stub_refuse(struct stub_daemon *d, bool refuse);

/* The last handshake's text, and whether its fd was a userfaultfd. */
const char *stub_handshake(struct stub_daemon *d);
bool stub_got_uffd(struct stub_daemon *d);

/* Closes all userfaultfds and connections, as a daemon that dies; then returns.
 */
void stub_forget(struct stub_daemon *d);

/* Pages that were installed, and REMOVE events. */
unsigned int stub_installed(struct stub_daemon *d);
unsigned int stub_removes(struct stub_daemon *d);
