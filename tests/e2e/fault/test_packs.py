"""PITFALLS 27: packs that are not what they were. The policy, for that VM
alone; and a mount's reader is told.
"""
import random
import signal
import time

import pytest

from conftest import PAGE, Vmm, sha256

# Shares no block with "guest".
OTHER = random.Random(2).randbytes(96 * PAGE)


@pytest.fixture
def packs(place, store):
    """The first one has all pages of "child" but one, whose page table is in
    another; a third one is all of "other"."""
    image = bytearray(store.images["guest"])
    image[4 * PAGE:5 * PAGE] = b"c" * PAGE
    first = set((store.path / "packs").iterdir())
    store.publish("other", OTHER)
    (place / "child").write_bytes(image)
    store.ctl("publish", "child", "--memory", place / "child", "--base",
              "guest")
    store.images["child"] = bytes(image)
    return sorted(first)


def missing(pack):
    pack.unlink()


def short(pack):
    with open(pack, "r+b") as file:
        file.truncate(pack.stat().st_size // 2)


def empty(pack):
    with open(pack, "r+b") as file:
        file.truncate(0)


def flipped(pack):
    """In the middle, where slots are."""
    data = bytearray(pack.read_bytes())
    for at in range(4096, len(data) - 65536, 512):
        data[at] ^= 0x10
    pack.write_bytes(data)


@pytest.fixture
def attach(store):
    vmms = []

    def run(daemon, name, **keys):
        session = daemon.create(name, prefetch=False, **keys)
        vmms.append(Vmm(session["socket_path"], len(store.images[name])))
        return session["id"], vmms[-1]

    yield run
    for vmm in vmms:
        if vmm.process.poll() is None:
            vmm.kill()


@pytest.mark.parametrize("damage", [missing, short, empty, flipped])
def test_a_damaged_pack_kills_who_needs_it_alone(
        start, store, packs, attach, damage):
    damage(packs[0])
    daemon = start()
    _, other = attach(daemon, "other")
    identity, vmm = attach(daemon, "child")
    assert vmm.ask("page", 4) == sha256(b"c" * PAGE)
    vmm.say("all")
    assert vmm.wait() == -signal.SIGKILL
    assert f"session={identity}" in daemon.wait_log("a page cannot be had")
    daemon.wait_log("session over: failed")
    assert other.ask("all") == sha256(store.images["other"])
    counters = daemon.get("/v1/stats")["sessions_ended"]
    assert counters["failed"] == 1


def test_a_pack_that_comes_back_ends_a_stall(start, store, packs, attach):
    hidden = packs[0].with_name("hidden")
    packs[0].rename(hidden)
    daemon = start()
    identity, vmm = attach(daemon, "child", policy="stall")
    vmm.say("all")
    daemon.wait_log("is stalled until it can")
    assert daemon.get(f"/v1/sessions/{identity}")["stalled"] == 1
    hidden.rename(packs[0])
    assert vmm.answer() == sha256(store.images["child"])


def test_a_read_that_takes_5_seconds_is_waited_for(start, store, attach):
    """By its VM alone: another one reads all of its image meanwhile."""
    store.publish("other", OTHER)
    daemon = start(env={"PAGER_INJECT": "pack-read:slow=5000@6"})
    identity, vmm = attach(daemon, "guest")
    begin = time.monotonic()
    vmm.say("all")
    while daemon.get(f"/v1/sessions/{identity}")["oldest_fault_us"] < 100000:
        pass
    _, other = attach(daemon, "other")
    assert other.ask("all") == sha256(store.images["other"])
    assert daemon.get(f"/v1/sessions/{identity}")["outstanding"] == 1
    assert vmm.answer() == sha256(store.images["guest"])
    assert time.monotonic() - begin > 4
    assert daemon.get("/v1/stats")["counters"]["failures"] == 0
