/*
 * The runtime directory: checked, locked against a second daemon, with the
 * folder of the sessions and the control socket in it.
 *
 *   pagerd.lock    flock(2)ed by the daemon that runs; holds its pid
 *   control.sock   mode 0600
 *   sessions/      mode 0711: a VMM of another user reaches its own socket
 *
 * What a dead daemon left is replaced, under the lock.
 */
#pragma once

struct rundir;

/*
 * Makes the directory (mode 0711, one level) where there is none, and takes
 * the lock. -EBUSY: another daemon runs here, with its pid in the text;
 * -EPERM: another user's, or others may write to it; -ENOTDIR.
 */
int rundir_open(const char *path, struct rundir **ret_rundir);

/* Removes the control socket and drops the lock. Accepts NULL. */
void rundir_close(struct rundir *rd);

/* Absolute; valid as long as the directory is open. */
const char *rundir_path(const struct rundir *rd);
const char *rundir_sessions(const struct rundir *rd);

/*
 * A listening socket at control.sock, in place all at once: a client finds
 * none, or one that listens. Returns the fd, which the caller owns.
 * -ENAMETOOLONG where the path does not fit a socket's address.
 */
int rundir_listen(struct rundir *rd);
