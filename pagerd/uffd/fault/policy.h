/*
 * What happens to a VM whose page cannot be had: never a wrong byte, never a
 * silent zero, never a silent hang. One line is logged for each page, with
 * what it was and why.
 */
#pragma once

#include "pagerd/uffd/fault/fault.h"

/* `error` is why, with err_text(). */
void policy_page(struct fault *f, int error);

/* One more try to poison the page of a fault that says poisoning. */
void policy_poison(struct fault *f);

/*
 * A forced close of a session with a live VM: kills the VMM, or starts to
 * poison all that is absent; the session ends when that is through. -EBUSY
 * where the policy is stall or nothing is possible.
 */
int policy_give_up(struct session *s);

/*
 * The session itself cannot go on (its userfaultfd cannot be read): the VMM
 * is killed, or an alarm is logged.
 */
void policy_broken(struct session *s, int error);
