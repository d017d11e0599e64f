/*
 * Making a session and completing it, over HTTP; contrib/openapi.yaml is
 * their manual.
 */
#pragma once

#include "pagerd/control/http/route.h"

route_handler sessionapi_create;
route_handler sessionapi_complete;

/* As the pager before this one answered. */
route_handler sessionapi_complete_old;
