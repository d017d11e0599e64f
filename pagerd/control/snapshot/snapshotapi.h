/* The handlers of /v1/snapshots; contrib/openapi.yaml is their manual. */
#pragma once

#include "pagerd/control/http/route.h"

route_handler snapshotapi_list;
route_handler snapshotapi_publish;
route_handler snapshotapi_delete;
