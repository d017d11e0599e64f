/* The handlers of /v1/cache; contrib/openapi.yaml is their manual. */
#pragma once

#include "pagerd/control/http/route.h"

route_handler cacheapi_show;
route_handler cacheapi_curve;
route_handler cacheapi_snapshots;
route_handler cacheapi_evict;
route_handler cacheapi_resize;
route_handler cacheapi_pin;
route_handler cacheapi_unpin;
route_handler cacheapi_warm;
route_handler cacheapi_cancel;
