"""A real Linux guest: published, restored through the shim, compared whole.

The guest is contrib/guest: booted under QEMU's software emulation, its memory
filled, snapshotted once for all tests of this file.
"""
import concurrent.futures
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from conftest import BUILD, HERE, PAGE, Store

GUEST = HERE.parent.parent / "contrib" / "guest"
SHIM = BUILD / "contrib" / "preload" / "libpager-preload.so"
CLIENT = BUILD / "tests" / "e2e" / "programs" / "e2e_client"
MIB = 256

sys.path.insert(0, str(GUEST))
from guest import Guest, GuestError  # noqa: E402

pytestmark = [pytest.mark.guest, pytest.mark.preload]


class Snapshot:
    """What the booted guest left: files, and what it said last."""

    def __init__(self, folder):
        self.memory = folder / "memory"
        self.vmstate = folder / "vmstate"
        with Guest.boot(str(folder / "boot"), str(self.memory),
                        mib=MIB) as guest:
            guest.ask("fill 96", timeout=60)
            guest.ask("set before")
            self.said = guest.ask("state", timeout=60)
            guest.snapshot(str(self.vmstate))


@pytest.fixture(scope="module")
def snapshot():
    subprocess.run([GUEST / "build"], check=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pg-guest-"))
    yield Snapshot(folder)
    shutil.rmtree(folder)


@pytest.fixture
def store(place, snapshot):
    made = Store(place / "store")
    made.ctl("publish", "guest", "--memory", snapshot.memory,
             "--vmstate", snapshot.vmstate)
    return made


@pytest.fixture
def restore(place, snapshot):
    """restore(daemon, run=...): a guest whose memory the daemon pages in."""
    guests = []

    def start(daemon, name="guest", run=True):
        guest = Guest.restore(
            str(place / f"clone{len(guests)}"), str(snapshot.memory),
            str(snapshot.vmstate), run=run,
            env={"LD_PRELOAD": str(SHIM),
                 "PAGER_MAP": f"{snapshot.memory}={name}",
                 "PAGERD_RUNTIME": str(daemon.runtime)})
        guests.append(guest)
        return guest

    yield start
    for guest in guests:
        guest.quit()


def only_session(daemon):
    listed = daemon.get("/v1/sessions")["sessions"]
    assert len(listed) == 1
    return daemon.get(f"/v1/sessions/{listed[0]['id']}")


def test_every_byte_of_a_restored_guest_is_the_image_s(
        snapshot, start, restore):
    daemon = start()
    guest = restore(daemon, run=False)
    assert guest.compare(str(snapshot.memory)) == []
    session = only_session(daemon)
    assert session["pages_total"] == (MIB << 20) // PAGE
    assert session["pages_present"] == session["pages_total"]
    assert session["counters"]["failures"] == 0


def test_two_clones_go_on_from_one_state_and_apart(snapshot, start, restore):
    daemon = start()
    first, second = restore(daemon), restore(daemon)
    for guest, calls in ((first, 1), (second, 3)):
        for _ in range(calls):
            said = guest.ask("state", timeout=60)
        assert said["token"] == "before"
        assert said["checksum"] == snapshot.said["checksum"]
        assert int(said["count"]) == int(snapshot.said["count"]) + calls
    first.ask("set first")
    assert second.ask("state", timeout=60)["token"] == "before"
    assert len(daemon.get("/v1/sessions")["sessions"]) == 2


def test_all_that_the_guest_can_touch(snapshot, start, restore):
    daemon = start()
    guest = restore(daemon)
    guest.ask("touch all", timeout=60)
    said = guest.ask("state", timeout=60)
    assert said["checksum"] == snapshot.said["checksum"]
    session = only_session(daemon)
    assert session["pages_present"] > 0.9 * session["pages_total"]


def test_shared_blocks_are_read_once_for_two_clones(start, restore):
    daemon = start()
    first = restore(daemon)
    first.ask("state", timeout=60)
    before = daemon.get("/v1/cache")
    restore(daemon).ask("state", timeout=60)
    after = daemon.get("/v1/cache")
    new = after["inserts"] - before["inserts"]
    assert new < 0.1 * before["inserts"]
    assert after["hits"] > before["hits"]


def test_a_guest_starts_from_what_an_earlier_one_touched(
        snapshot, start, restore):
    daemon = start("--record-seconds", "2")
    first = restore(daemon)
    assert first.ask("state", timeout=60)["checksum"] == (
        snapshot.said["checksum"])
    faults = only_session(daemon)["faults"]
    daemon.wait_log("working set recorded")
    first.kill()
    daemon.wait_log("session over")
    second = restore(daemon)
    said = second.ask("state", timeout=60)
    assert said["token"] == "before"
    assert said["checksum"] == snapshot.said["checksum"]
    session = only_session(daemon)
    assert session["working_set_pages"] > 0
    assert session["counters"]["pages_prefetched"] > 0
    assert session["faults"] < faults
    # All of it, once it is on its own.
    assert daemon.request(
        "POST", f"/v1/sessions/{session['id']}/complete")[0] in (200, 202)
    daemon.wait_log("session over: completed")
    daemon.stop(signal.SIGKILL)
    assert second.ask("state", timeout=60)["checksum"] == (
        snapshot.said["checksum"])


def test_a_killed_guest_ends_its_session(start, restore):
    daemon = start()
    guest = restore(daemon)
    guest.ask("ping")
    guest.kill()
    daemon.wait_log("session over")
    assert daemon.get("/v1/sessions")["sessions"] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_guest_outlives_its_daemons(snapshot, start, restore, number):
    """Each dies while the guest touches its memory, and the guest goes on."""
    daemon = start()
    guest = restore(daemon)
    said = guest.ask("state", timeout=60)
    assert said["checksum"] == snapshot.said["checksum"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        touched = pool.submit(guest.ask, "touch all", timeout=60)
        for _ in range(5):
            daemon.stop(number)
            daemon = start()
        touched.result()
    said = guest.ask("state", timeout=60)
    assert said["token"] == "before"
    assert said["checksum"] == snapshot.said["checksum"]
    session = only_session(daemon)
    assert session["state"] == "serving"
    assert session["pages_present"] > 0.9 * session["pages_total"]


def test_an_unknown_snapshot_is_no_memory_at_all(start, restore):
    daemon = start()
    with pytest.raises(GuestError, match="nobody"):
        restore(daemon, name="nobody")


def test_exported_files_are_the_published_ones(place, store, snapshot):
    out = place / "memory", place / "vmstate"
    store.ctl("export", "guest", "--memory", out[0], "--vmstate", out[1])
    assert out[0].read_bytes() == snapshot.memory.read_bytes()
    assert out[1].read_bytes() == snapshot.vmstate.read_bytes()


@pytest.mark.parametrize("layout", ["whole", "descending", "holes"])
def test_a_second_client_sees_the_same_memory(
        snapshot, start, layout):
    daemon = start()
    subprocess.run([CLIENT, daemon.runtime, "guest", snapshot.memory, layout],
                   check=True, timeout=120)


def test_a_client_with_huge_pages_sees_the_same_memory(
        snapshot, start, huge_pages):
    huge_pages(MIB // 2)
    daemon = start()
    subprocess.run([CLIENT, daemon.runtime, "guest", snapshot.memory, "huge"],
                   check=True, timeout=120)
    daemon.wait_log("session over")
