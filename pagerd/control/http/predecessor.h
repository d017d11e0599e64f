/*
 * The control API of the pager that this one succeeds, for its clients. The
 * shapes are theirs; the work is that of /v1.
 */
#pragma once

#include "pagerd/control/http/route.h"

route_handler predecessor_health;
route_handler predecessor_drain;

/* 204 always: an unknown session is as closed as can be. */
route_handler predecessor_close;
