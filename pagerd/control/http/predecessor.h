/*
 * The control API of the pager that this one succeeds, for its clients. The
 * shapes are theirs; the work is that of /v1.
 */
#pragma once

#include "pagerd/control/http/route.h"

route_handler predecessor_health;
route_handler predecessor_drain;

/*
 * A session on the image that a path names, see import/importer.h. What this
 * API leaves open is as by default: policy kill, the daemon's user and group.
 * An id that is in use is refused, where the old pager ended that session.
 */
route_handler predecessor_create;

/* 204 always: an unknown session is as closed as can be. */
route_handler predecessor_close;
