/*
 * What the handles of pager/pager.h are. Sessions hold a reference to their
 * pager, a map to its session; one thread at a time is inside them all.
 */
#pragma once

#include <jansson.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "pager/pager.h"
#include "pagerd/client/http.h"

struct pager {
	unsigned int refs; /* the caller's, and one a session */
	struct http *http;
	char error[ERR_TEXT_MAX];
};

struct pager_session {
	struct pager *pager;
	char *id; /* NULL: attached */
	char *socket;
	struct pager_map *map; /* NULL: not mapped; borrowed */
};

/* Notes the line of a failure, r < 0, for pager_error(). Returns `r`. */
int pager_note(struct pager *p, int r);

/* What the daemon knows of a session; a new reference. -ENOTSUP: attached. */
int session_ask(struct pager_session *s, json_t **ret_status);

/* Drops a session's reference. */
void pager_unref(struct pager *p);

DEFINE_CLEANUP(pager, struct pager *, pager_unref)
