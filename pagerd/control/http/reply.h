/*
 * The answer to one request, made by a handler, sent by the server.
 *
 * Every error has one shape: {"error": {"code", "message"}}.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#define REPLY_ALLOW_MAX 64

struct reply {
	unsigned int status; /* 0: none was made */
	const char *type;    /* of the body */
	char *body;	     /* owned; NULL: none */
	size_t length;
	char allow[REPLY_ALLOW_MAX]; /* methods, with status 405 */
};

/* What the body has is freed. */
void reply_release(struct reply *rp);

/* Takes `json` over; NULL stands for memory that ran out. 0 or -ENOMEM. */
int reply_json(struct reply *rp, unsigned int status, json_t *json);

/* Takes `text` over. */
void reply_text(struct reply *rp, const char *type, char *text, size_t length);

/* 204. */
void reply_nothing(struct reply *rp);

/* An error with a code and a message of its own. */
void reply_refusal(struct reply *rp, unsigned int status, const char *code,
		   const char *message);

/* A negative errno, with err_text(); reply.c has the table. */
void reply_error(struct reply *rp, int error);
