"""PITFALLS 27: blocks that cannot be had, each kind of damage, each policy."""
import random
import re
import signal

import pytest

from conftest import PAGE, Vmm, sha256
from packs import publish_apart

PAGES = 64
DAMAGES = ["flipped", "missing", "cut_short"]


@pytest.fixture
def image():
    return random.Random(27).randbytes(PAGES * PAGE)


@pytest.fixture
def pack(store, image):
    return publish_apart(store, "hurt", image)


@pytest.fixture
def attach_to():
    vmms = []

    def run(daemon, snapshot, size, **keys):
        path = daemon.create(snapshot, prefetch=False, **keys)["socket_path"]
        vmms.append(Vmm(path, size))
        return vmms[-1]

    yield run
    for vmm in vmms:
        if vmm.process.poll() is None:
            vmm.kill()


def metric(daemon, name):
    status, text = daemon.request("GET", "/metrics")
    assert status == 200
    return int(re.search(rf"^{name} (\d+)$", text, re.M).group(1))


def page_of(image, n):
    return sha256(image[n * PAGE:(n + 1) * PAGE])


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_costs_one_vm_by_its_policy(
        store, start, attach_to, image, pack, damage):
    """The policy, for that VM alone, and one line that says what it was."""
    daemon = start()
    other = attach_to(daemon, "guest", len(store.images["guest"]))
    hurt = attach_to(daemon, "hurt", len(image), id="hurt")
    assert other.ask("page", 0) == page_of(store.images["guest"], 0)
    with getattr(pack, damage)():
        hurt.say("page", 9)
        assert hurt.wait() == -signal.SIGKILL
        line = daemon.wait_log("a page cannot be had")
        assert other.ask("all") == sha256(store.images["guest"])
        health = daemon.get("/v1/health")["quarantine"]
    number = int(pack.path.stem, 16)
    for word in ("the VMM is killed", "session=hurt", "snapshot=hurt",
                 "page=9 ", f"pack={number} ", "slot="):
        assert word in line
    assert sum("a page cannot be had" in (ln or "") for ln in daemon.log) == 1
    assert health["blocks"] >= 1 and health["with_copy"] == 0
    assert {row["pack"] for row in health["list"]} == {number}
    # What was mended is seen without a restart.
    again = attach_to(daemon, "hurt", len(image), policy="stall")
    assert again.ask("all") == sha256(image)
    assert daemon.get("/v1/health")["quarantine"]["blocks"] == 0
    assert metric(daemon, "pagerd_quarantine_healed_total") >= 1


def reads_until(start, attach_to, store, image):
    """Reads of packs until "guest" is all there and "hurt" has a session."""
    daemon = start()
    other = attach_to(daemon, "guest", len(store.images["guest"]))
    attach_to(daemon, "hurt", len(image))
    other.ask("all")
    reads = daemon.get("/v1/cache")["inserts"]
    other.kill()
    daemon.stop()
    return reads


@pytest.mark.parametrize("fault", ["EIO", "slow=5000"])
def test_an_error_and_a_slow_read_are_that_vms_alone(
        store, start, attach_to, image, pack, fault):
    reads = reads_until(start, attach_to, store, image)
    at = f"@{reads + 1}" + ("+" if fault == "EIO" else "")
    daemon = start(env={"PAGER_INJECT": f"pack-read:{fault}{at}"})
    other = attach_to(daemon, "guest", len(store.images["guest"]), id="other")
    hurt = attach_to(daemon, "hurt", len(image), id="hurt")
    assert other.ask("all") == sha256(store.images["guest"])
    hurt.say("page", 9)
    assert other.ask("discard", 1) == "done"
    assert other.ask("page", 1) == sha256(bytes(PAGE))
    if fault == "EIO":
        assert hurt.wait() == -signal.SIGKILL
        assert "Input/output error" in daemon.wait_log("the VMM is killed")
    else:
        assert daemon.get("/v1/sessions/hurt")["outstanding"] == 1
        assert hurt.answer() == page_of(image, 9)
    counters = daemon.get("/v1/sessions/other")["counters"]
    assert counters["failures"] == 0
    assert counters["stalls"] == 0


def test_poison_hits_who_touches(start, attach_to, image, pack):
    daemon = start()
    vmm = attach_to(daemon, "hurt", len(image), policy="poison", id="hurt")
    assert vmm.ask("page", 8) == page_of(image, 8)
    with pack.flipped():
        vmm.say("page", 9)
        assert vmm.wait() == -signal.SIGBUS
        daemon.wait_log("it is poisoned")


def test_who_comes_next_is_refused_without_a_read(start, attach_to, image,
                                                  pack):
    daemon = start()
    with pack.flipped():
        first = attach_to(daemon, "hurt", len(image))
        second = attach_to(daemon, "hurt", len(image))
        first.say("page", 9)
        assert first.wait() == -signal.SIGKILL
        second.say("page", 9)
        assert second.wait() == -signal.SIGKILL
    assert metric(daemon, "pagerd_quarantine_refusals_total") == 1
    assert metric(daemon, "pagerd_quarantine_found_total") == 1
    assert metric(daemon, "pagerd_cache_failures_total") == 2


def test_stall_goes_on_once_it_is_mended(start, attach_to, image, pack):
    """The alarm repeats until then."""
    daemon = start()
    vmm = attach_to(daemon, "hurt", len(image), policy="stall", id="hurt")
    with pack.flipped():
        vmm.say("all")
        daemon.wait_log("the VM is stalled until it can", 2)
        assert vmm.process.poll() is None
    assert vmm.answer() == sha256(image)


def test_a_publish_of_the_same_content_serves_the_old_snapshot(
        store, start, attach_to, image, pack):
    """PITFALLS 37, for a VM that waits for the damaged copy."""
    daemon = start()
    stalled = attach_to(daemon, "hurt", len(image), policy="stall")
    pack.flip_pages()
    stalled.say("page", 9)
    daemon.wait_log("the VM is stalled until it can")
    store.publish("good", image)
    assert stalled.answer() == page_of(image, 9)
    killed = attach_to(daemon, "hurt", len(image))
    assert killed.ask("all") == sha256(image)
    health = daemon.get("/v1/health")["quarantine"]
    assert health["blocks"] == health["with_copy"] == PAGES
    assert metric(daemon, "pagerd_quarantine_copies") == PAGES
