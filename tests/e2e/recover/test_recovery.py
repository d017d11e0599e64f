"""The daemon dies, and its VMs go on with the next one."""
import os
import signal
import time

import pytest

from conftest import PAGE, Vmm, sha256


def test_kill_costs_a_vm_a_pause_only(store, start, attach):
    """PITFALLS 15."""
    first = start()
    name, vmm = attach(first, id="vm")
    image = store.images["guest"]
    assert vmm.ask("page", 5) == sha256(image[5 * PAGE:6 * PAGE])
    assert vmm.ask("discard", 5) == "done"
    assert vmm.ask("discard", 6) == "done"
    first.stop(signal.SIGKILL)
    vmm.say("page", 7)
    second = start()
    assert vmm.answer() == sha256(image[7 * PAGE:8 * PAGE])
    assert vmm.ask("page", 5) == sha256(bytes(PAGE))
    assert vmm.ask("page", 6) == sha256(bytes(PAGE))
    expected = image[:5 * PAGE] + bytes(2 * PAGE) + image[7 * PAGE:]
    assert vmm.ask("all") == sha256(expected)
    session = second.get(f"/v1/sessions/{name}")
    assert session["state"] == "serving"
    assert session["vmm_pid"] == vmm.process.pid
    assert session["pages_removed"] == 2
    vmm.kill()
    second.wait_log("session over: vmm-gone session=vm ")
    assert os.listdir(second.runtime / "sessions") == []
    assert second.stop() == 0


def test_restart_is_the_same_path(store, start, attach):
    """PITFALLS 17."""
    daemon = start()
    attached = [attach(daemon, id=f"vm{n}") for n in range(3)]
    daemon.wait_log("a VM is served", 3)
    for n in range(4):
        assert daemon.stop() == 0
        for i, (_, vmm) in enumerate(attached):
            vmm.say("page", 3 * n + i)
        daemon = start()
        for i, (_, vmm) in enumerate(attached):
            page = 3 * n + i
            assert vmm.answer() == sha256(
                store.images["guest"][page * PAGE:(page + 1) * PAGE])
    for _, vmm in attached:
        assert vmm.ask("all") == sha256(store.images["guest"])
    assert len(daemon.get("/v1/sessions")["sessions"]) == 3


def test_a_vmm_without_a_copy_is_held_for(store, start, attach):
    """PITFALLS 20. Its memory would read as zero, were it not for the holder."""
    first = start()
    _, vmm = attach(first, id="vm")
    first.wait_log("a VM is served")
    assert vmm.ask("let-go") == "done"
    first.stop(signal.SIGKILL)
    vmm.say("all")
    second = start()
    assert vmm.answer() == sha256(store.images["guest"])
    second.stop()
    start()
    assert vmm.ask("all") == sha256(store.images["guest"])


def test_who_connects_while_no_daemon_runs_is_served_by_the_next(
        store, start):
    """The listening socket is kept, and with it what was said there."""
    image = store.images["guest"]
    first = start()
    path = first.create("guest", id="vm")["socket_path"]
    for number in signal.SIGKILL, signal.SIGTERM:
        first.stop(number)
        if number == signal.SIGKILL:
            vmm = Vmm(path, len(image))
            assert vmm.ask("let-go") == "done"
            vmm.say("all")
        first = start()
        if number == signal.SIGKILL:
            assert vmm.answer() == sha256(image)
    assert vmm.ask("page", 3) == sha256(image[3 * PAGE:4 * PAGE])
    vmm.kill()


def test_vmms_that_die_meanwhile_are_no_sessions_any_more(start, attach):
    first = start()
    vmms = [attach(first, id=f"vm{n}") for n in range(3)]
    survivor = attach(first, id="survivor")[1]
    first.wait_log("a VM is served", 4)
    first.stop(signal.SIGKILL)
    for _, vmm in vmms:
        vmm.kill()
    second = start()
    second.wait_log("recovery: 1 session(s) taken over, 3 gone")
    assert [s["id"] for s in second.get("/v1/sessions")["sessions"]] == [
        "survivor"]
    files = os.listdir(second.runtime / "sessions")
    assert sorted(files) == [
        "survivor.journal", "survivor.pages", "survivor.sock"]
    survivor.kill()


@pytest.mark.parametrize("point", ["uffd-read", "uffd-installed"])
def test_death_at_the_worst_instant(store, start, attach, point):
    """PITFALLS 15. A REMOVE that was read and not applied; a page that landed unnoted."""
    first = start(env={"PAGER_INJECT": f"{point}:crash@2"})
    image = store.images["guest"]
    _, vmm = attach(first, id="vm")
    assert vmm.ask("page", 3) == sha256(image[3 * PAGE:4 * PAGE])
    if point == "uffd-read":
        assert vmm.ask("discard", 5) == "done"
    else:
        vmm.say("page", 6)
    assert first.wait() == -signal.SIGKILL
    second = start()
    if point == "uffd-installed":
        assert vmm.answer() == sha256(image[6 * PAGE:7 * PAGE])
        assert vmm.ask("discard", 6) == "done"
        assert vmm.ask("page", 6) == sha256(bytes(PAGE))
    else:
        assert vmm.ask("page", 5) == sha256(bytes(PAGE))
    assert vmm.ask("page", 7) == sha256(image[7 * PAGE:8 * PAGE])
    assert second.get("/v1/sessions/vm")["pages_removed"] == 1


def rewrite(path, change):
    head, body = path.read_bytes().split(b"\n", 1)
    path.write_bytes(change(head) + b"\n" + body)


def test_a_newer_journal_is_left_alone(store, start, attach):
    first = start()
    _, vmm = attach(first, id="vm")
    first.wait_log("a VM is served")
    first.stop(signal.SIGKILL)
    journal = first.runtime / "sessions" / "vm.journal"
    rewrite(journal, lambda head: head.replace(b" 1 ", b" 2 "))
    second = start()
    assert "of format 2" in second.wait_log("left alone")
    assert second.get("/v1/sessions") == {"sessions": []}
    status, answer = second.request("POST", "/v1/sessions",
                                    {"snapshot": "guest", "id": "vm"})
    assert status == 409, answer
    second.stop(signal.SIGKILL)
    rewrite(journal, lambda head: head.replace(b" 2 ", b" 1 "))
    start()
    assert vmm.ask("all") == sha256(store.images["guest"])


def test_what_cannot_go_on_ends_by_its_policy(store, start, attach):
    """The snapshot is gone: nobody could answer these faults any more."""
    first = start()
    kill = attach(first, id="kill")[1]
    stall = attach(first, id="stall", policy="stall")[1]
    first.wait_log("a VM is served", 2)
    first.stop(signal.SIGKILL)
    manifest = store.path / "snapshots" / "guest"
    manifest.rename(store.path / "guest")
    second = start()
    second.wait_log("ends by its policy")
    second.wait_log("its VM hangs: kill it")
    assert kill.wait() == -signal.SIGKILL
    assert stall.process.poll() is None
    second.stop(signal.SIGKILL)
    (store.path / "guest").rename(manifest)
    start()
    assert stall.ask("all") == sha256(store.images["guest"])


def test_a_damaged_journal_is_left_alone(start, attach):
    first = start()
    attach(first, id="vm")
    first.stop(signal.SIGKILL)
    journal = first.runtime / "sessions" / "vm.journal"
    journal.write_bytes(journal.read_bytes()[:-2] + b"x}")
    second = start()
    assert "damaged" in second.wait_log("left alone")
    assert journal.exists()


def test_kill_at_every_step_of_a_recovery(store, start, attach):
    """PITFALLS 16. Three VMs, of which one is held for and one speaks."""
    image = store.images["guest"]
    first = start()
    vmms = [attach(first, id=f"vm{n}")[1] for n in range(2)]
    vmms.append(Vmm(first.create("guest", id="vm2")["socket_path"],
                    len(image), "let-go", "hang-up"))
    for page, vmm in enumerate(vmms):
        assert vmm.ask("discard", page) == "done"
    first.stop(signal.SIGKILL)
    steps, survived = 0, False
    while not survived:
        for vmm in vmms:
            vmm.say("page", 10 + steps)
        steps += 1
        daemon = start(env={"PAGER_INJECT": f"resume:crash@{steps}"},
                       ready=False)
        survived = daemon.said_before_its_end(" ready ")
        if not survived:
            assert daemon.wait() == -signal.SIGKILL
            daemon = start()
        for vmm in vmms:
            at = (9 + steps) * PAGE
            assert vmm.answer() == sha256(image[at:at + PAGE])
        if not survived:
            daemon.stop(signal.SIGKILL)
    assert steps > 12       # 4 a session, 2 of the whole
    for page, vmm in enumerate(vmms):
        expected = bytearray(image)
        expected[page * PAGE:(page + 1) * PAGE] = bytes(PAGE)
        assert vmm.ask("all") == sha256(expected)
        vmm.kill()


def test_a_killed_vmm_leaves_nothing(store, start, attach):
    """PITFALLS 18: session, descriptors, pins and lease; one quiet line."""
    daemon = start()
    keeper = attach(daemon, id="keeper")[1]
    assert keeper.ask("all") == sha256(store.images["guest"])
    files = daemon.files()      # the pack is open by now
    for n in range(5):
        _, vmm = attach(daemon, id=f"vm{n}")
        assert vmm.ask("page", n) == sha256(
            store.images["guest"][n * PAGE:(n + 1) * PAGE])
        vmm.say("all")
        vmm.kill()
        daemon.wait_log(f"session over: vmm-gone session=vm{n} ")
    # The line comes first; and our own requests leave connections for a while.
    while len(daemon.get("/v1/sessions")["sessions"]) > 1:
        time.sleep(0.01)
    while daemon.files() > files:
        time.sleep(0.01)
    assert daemon.get("/v1/cache")["pinned"] == 0
    told = [ln for ln in daemon.log if "session over" in (ln or "")]
    assert len(told) == 5 and all(" info: " in ln for ln in told)
    assert keeper.ask("all") == sha256(store.images["guest"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_restarts_under_load(store, start, attach, number):
    """PITFALLS 17: each VM touches all of its memory meanwhile."""
    daemon = start()
    attached = [attach(daemon, id=f"vm{n}")[1] for n in range(8)]
    for vmm in attached:
        vmm.say("all")
    for _ in range(6):
        daemon.stop(number)
        daemon = start()
    for vmm in attached:
        assert vmm.answer() == sha256(store.images["guest"])
    states = [s["state"] for s in daemon.get("/v1/sessions")["sessions"]]
    assert states == ["serving"] * 8
