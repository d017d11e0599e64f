"""The daemon as a unit: its descriptors in the service manager's store, its
watchdog. The manager is played by manager.py."""
import signal

import pytest

from conftest import PAGE, Vmm, sha256
from manager import Manager


@pytest.fixture
def manager(place):
    made = Manager(place / "notify")
    yield made
    made.end()


@pytest.fixture
def unit(place, store, manager):
    """unit(env=...): the unit's next run."""
    daemons = []

    def start(*options, env=None):
        daemons.append(manager.start(store.path, place / "run", *options,
                                     env=env))
        return daemons[-1]

    yield start
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.send(signal.SIGKILL)
        daemon.wait()
        daemon.process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_manager_keeps_what_a_vm_needs(store, unit, manager, number):
    image = store.images["guest"]
    first = unit()
    path = first.create("guest", id="vm")["socket_path"]
    vmm = Vmm(path, len(image), "let-go", "hang-up")
    assert vmm.ask("discard", 3) == "done"
    first.stop(number)
    vmm.say("all")
    second = unit()
    expected = image[:3 * PAGE] + bytes(PAGE) + image[4 * PAGE:]
    assert vmm.answer() == sha256(expected)
    vmm.kill()
    second.wait_log("session over: vmm-gone")
    manager.settle()
    assert manager.kept == {}


@pytest.mark.parametrize("step", range(1, 6))
def test_death_at_each_step_of_a_handshake(store, unit, step):
    """PITFALLS 3 and 15: all steps but the one between accept(2) and the
    message to the manager, which nothing could be told of."""
    image = store.images["guest"]
    first = unit(env={"PAGER_INJECT": f"handshake:crash@{step}"})
    path = first.create("guest", id="vm")["socket_path"]
    vmm = Vmm(path, len(image), "let-go", "hang-up")
    vmm.say("all")
    assert first.wait() == -signal.SIGKILL
    second = unit()
    assert vmm.answer() == sha256(image)
    second.stop(signal.SIGKILL)
    unit()
    assert vmm.ask("discard", 3) == "done"
    assert vmm.ask("page", 3) == sha256(bytes(PAGE))
    vmm.kill()


def test_a_stuck_worker_is_not_fed_for(store, unit, manager):
    """The watchdog's food stops as long as one worker does not get on."""
    daemon = unit("--workers", "1",
                  env={"WATCHDOG_USEC": "200000",
                       "PAGER_INJECT": "uffd-read:slow=1500@1"})
    image = store.images["guest"]
    manager.wait("WATCHDOG=1")
    vmm = Vmm(daemon.create("guest")["socket_path"], len(image))
    vmm.say("page", 7)
    daemon.wait_log("a worker has made no progress", 3)
    manager.settle()
    with manager.grown:
        fed = sum("WATCHDOG=1" in s for s in manager.states)
    assert vmm.answer() == sha256(image[7 * PAGE:8 * PAGE])
    with manager.grown:
        assert manager.grown.wait_for(
            lambda: sum("WATCHDOG=1" in s for s in manager.states) > fed + 1)
    vmm.kill()


def test_a_fault_that_nobody_was_told_of(store, start, attach):
    """Its message is lost; the kernel's count of who waits tells of it."""
    daemon = start("--stuck-after", "1",
                   env={"PAGER_INJECT": "uffd-read:EIO@2"})
    image = store.images["guest"]
    _, vmm = attach(daemon, id="vm", prefetch=False)
    assert vmm.ask("page", 5) == sha256(image[5 * PAGE:6 * PAGE])
    assert vmm.ask("page", 6) == sha256(image[6 * PAGE:7 * PAGE])
    line = daemon.wait_log("wait for faults that we were never told of")
    assert "session=vm" in line
    session = daemon.get("/v1/sessions/vm")
    assert session["counters"]["faults_lost"] == 1
    assert vmm.ask("all") == sha256(image)
