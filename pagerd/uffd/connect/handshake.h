/*
 * Receiving what a VMM says: one JSON text and one fd; pager/handshake.h
 * gives the words. Nothing here blocks, and every fd that came is closed by
 * handshake_release() unless it was taken.
 *
 * The JSON may arrive in any pieces, and the fd with any of them or behind
 * all, carried by a byte that is then part of nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pager/handshake.h"
#include "pagerd/uffd/memory/regions.h"

struct handshake {
	char *body; /* PAGER_HANDSHAKE_BODY_MAX bytes once anything came */
	size_t len;
	int fd; /* the first that came, or -1 */
	/* The scanner that finds the text's end. */
	size_t scanned;
	unsigned int depth;
	bool in_string, escaped, complete;
};

void handshake_init(struct handshake *h);
void handshake_release(struct handshake *h);

/*
 * Takes in what the socket has. 0: text and fd are there. -EAGAIN: more is to
 * come. -EPROTO with the reason: it can come to nothing, close the socket.
 * -ENOMEM.
 */
int handshake_receive(struct handshake *h, int socket);

/* What is missing, for the line that a deadline writes. */
const char *handshake_lacks(const struct handshake *h);

/* The fd becomes the caller's. */
int handshake_take_fd(struct handshake *h);

/*
 * The regions of a whole text, not yet checked against each other. The caller
 * frees. -EPROTO with the reason, -ENOMEM.
 */
int handshake_parse(const char *text, size_t len, struct region **ret_regions,
		    size_t *ret_count);

/*
 * The text as one short line for a log, with other than printing characters
 * made dots.
 */
#define HANDSHAKE_EXCERPT_MAX 257
const char *handshake_excerpt(const struct handshake *h,
			      char buf[HANDSHAKE_EXCERPT_MAX]);
