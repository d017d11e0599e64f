"""The daemon dies between a VMM's connect and the journal's line about it.

The VMMs here are of the worst kind: each speaks once, hangs up, and keeps no
copy of its userfaultfd, so what the daemon loses nobody has any more.
"""
import signal
import time

import pytest

from conftest import PAGE, Vmm, sha256

# From the accepted connection to the last step; see INJECT_HANDSHAKE.
STEPS = range(1, 7)


def crash(step):
    return {"PAGER_INJECT": f"handshake:crash@{step}"}


@pytest.mark.parametrize("step", STEPS)
def test_death_at_each_step_of_a_handshake(store, start, step):
    """PITFALLS 3 and 15."""
    image = store.images["guest"]
    first = start(env=crash(step))
    path = first.create("guest", id="vm")["socket_path"]
    vmm = Vmm(path, len(image), "let-go", "hang-up")
    vmm.say("all")
    assert first.wait() == -signal.SIGKILL
    second = start()
    assert vmm.answer() == sha256(image)
    assert second.get("/v1/sessions/vm")["vmm_pid"] == vmm.process.pid
    second.stop(signal.SIGKILL)
    start()
    assert vmm.ask("discard", 3) == "done"
    assert vmm.ask("page", 3) == sha256(bytes(PAGE))
    vmm.kill()


def test_deaths_at_one_step_after_the_other(store, start):
    """PITFALLS 16: no daemon comes to the end of it, until one does."""
    image = store.images["guest"]
    daemon = start(env=crash(STEPS[0]))
    path = daemon.create("guest", id="vm")["socket_path"]
    vmm = Vmm(path, len(image), "let-go", "hang-up")
    vmm.say("all")
    for step in [*STEPS[:3], *STEPS[:4]]:
        assert daemon.wait() == -signal.SIGKILL
        daemon = start(env=crash(step), ready=False)
    assert daemon.wait() == -signal.SIGKILL
    start()
    assert vmm.answer() == sha256(image)
    vmm.kill()


def test_a_handshake_of_which_half_was_said(store, start):
    image = store.images["guest"]
    first = start(env=crash(2))
    path = first.create("guest", id="vm")["socket_path"]
    vmm = Vmm(path, len(image), "halves", "let-go", "hang-up")
    assert first.wait() == -signal.SIGKILL
    start()
    assert vmm.ask("the rest") == "mapped"
    assert vmm.ask("all") == sha256(image)
    vmm.kill()


def test_who_is_refused_is_let_go(store, start):
    """Nothing of it stays, here or in the vault, and the next may come."""
    image = store.images["guest"]
    daemon = start()
    path = daemon.create("guest", id="vm")["socket_path"]
    files = daemon.files()
    small = Vmm(path, 2 * len(image))
    daemon.wait_log("handshake refused")
    small.kill()
    while daemon.files() > files:       # the line comes first
        time.sleep(0.01)
    daemon.stop(signal.SIGKILL)
    start()
    vmm = Vmm(path, len(image))
    assert vmm.ask("all") == sha256(image)
    vmm.kill()
