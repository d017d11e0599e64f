/*
 * Receiving what a VMM says: one JSON text and one fd; pager/handshake.h
 * gives the words. Nothing here blocks, and every fd that came is closed by
 * handshake_release() unless it was taken.
 *
 * The JSON may arrive in any pieces, and the fd with any of them or behind
 * all, carried by a byte that is then part of nothing.
 *
 * What is received can be left in the socket, so that whoever gets that
 * socket after us finds it whole. It takes up the sender's buffer there, so a
 * peer that speaks in very many pieces would never come to its end: that is
 * handshake_is_piecemeal(), or time tells.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pager/handshake.h"
#include "pagerd/uffd/memory/regions.h"

struct handshake {
	char *body; /* PAGER_HANDSHAKE_BODY_MAX bytes once anything came */
	size_t len;
	int fd;	     /* the first that came, or -1 */
	bool leaves; /* it stays in the socket */
	size_t received;
	unsigned int pieces;
	/* The scanner that finds the text's end. */
	size_t scanned;
	unsigned int depth;
	bool in_string, escaped, complete;
};

void handshake_init(struct handshake *h);
void handshake_release(struct handshake *h);

/* Before the first handshake_receive(): leaves all in the socket. -errno. */
int handshake_leave_in(struct handshake *h, int socket);

/* What was received is taken out of the socket now. */
void handshake_take_out(const struct handshake *h, int socket);

/* To be received anew, from a handshake_init() on, and not left in. */
bool handshake_is_piecemeal(const struct handshake *h);

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
