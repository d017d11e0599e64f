/*
 * Writing a session down, and taking one over that a dead daemon left. The
 * design note stands in resume.c.
 */
#pragma once

#include "pagerd/uffd/session_impl.h"

/*
 * Makes or replaces the session's journal from what it is now. By the worker,
 * or the session's maker. -ENOSPC, -EIO, -ENOMEM.
 */
int resume_record(struct session *s);

/*
 * For session_new(): fills the session with what the journal says of its VM,
 * its userfaultfd and its VMM's pidfd included; `kept` is a userfaultfd that
 * was kept for it, or -1, and becomes ours. The session is in state serving
 * then, and is to be added to a worker, which goes on by resume_serve().
 *
 * -ESRCH: nothing depends on it any more. Else the VM lives and cannot be
 * served: resume_give_up() is for the caller.
 */
int resume_session(struct session *s, const struct journal *j, int kept);

/*
 * On the worker, for a session that was taken over: settles its page states,
 * and has every waiting thread fault anew. Before its first fault is read.
 */
void resume_serve(struct session *s);

/*
 * The VM of a session that cannot be taken over ends by its policy. True
 * where nothing is left of it; false where it hangs, and its files must stay.
 */
bool resume_give_up(const struct journal *j);

/*
 * Whether the session may be left to a successor: 0; -EBUSY where ours is the
 * last copy of its userfaultfd, as far as we can tell, or a VMM is just
 * saying its handshake and only we have heard of it. By the worker. After 0
 * nobody can connect any more.
 */
int resume_leave(struct session *s);
