/* What `session show` prints of one session's picture: for people. */
#pragma once

#include <jansson.h>

/* Sections of lines on stdout. -ENOMEM. */
int show_session(const json_t *session);
