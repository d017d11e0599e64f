/*
 * Names of snapshots and attached files: 1 to 255 bytes of UTF-8, no '/', no
 * control characters, not "." and not "..".
 */
#pragma once

/* 0, or -EINVAL with a line that names `what` and says what is wrong. */
int name_check(const char *what, const char *name);
