/* The handlers of /v1 and /metrics; contrib/openapi.yaml is their manual. */
#pragma once

#include "pagerd/control/http/route.h"

route_handler api_health;
route_handler api_stats;
route_handler api_sessions;
route_handler api_session_show;
route_handler api_session_delete;
route_handler api_drain;
route_handler api_undrain;
route_handler api_metrics;
