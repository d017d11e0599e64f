"""A QEMU guest restored from the mounted file itself, without a daemon."""
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from conftest import PAGE, Store
from mounts import Mount
from test_guest import GUEST, MIB, Guest, Snapshot

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def mounted():
    """(mount, what the guest said) of a published guest."""
    subprocess.run([GUEST / "build"], check=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pg-mg-"))
    snapshot = Snapshot(folder)
    store = Store(folder / "store")
    store.ctl("publish", "guest", "--memory", snapshot.memory,
              "--vmstate", snapshot.vmstate)
    with Mount(store.path, folder / "mnt", "-o", "rdwr_open") as mnt:
        yield mnt, snapshot
    shutil.rmtree(folder)


def restore(place, mnt, name, run=True):
    folder = mnt.snapshots / "guest"
    return Guest.restore(str(place / name), str(folder / "memory"),
                         str(folder / "vmstate"), run=run)


def memory_kib(guest, field):
    """Of the guest's memory alone, as its mapping's smaps has it."""
    address, _ = guest.ram()
    smaps = pathlib.Path(f"/proc/{guest.pid}/smaps").read_text()
    entry, = re.findall(rf"^{address:x}-.*\n(?:[A-Z].*\n)+", smaps, re.M)
    return int(re.search(rf"^{field}: +(\d+) kB", entry, re.M).group(1))


def test_every_byte_is_the_image_s(place, mounted):
    mnt, snapshot = mounted
    with restore(place, mnt, "clone", run=False) as guest:
        assert guest.compare(str(snapshot.memory)) == []


def test_two_clones_run_apart_and_share_clean_pages(place, mounted):
    mnt, snapshot = mounted
    with restore(place, mnt, "a") as a, restore(place, mnt, "b") as b:
        for guest in a, b:
            said = guest.ask("state", timeout=60)
            assert said["token"] == "before"
            assert said["checksum"] == snapshot.said["checksum"]
        a.ask("set first")
        assert b.ask("state", timeout=60)["token"] == "before"
        for guest in a, b:
            guest.stop()
        for guest in a, b:      # both have all of it mapped now
            guest.compare(str(snapshot.memory))
        own = [memory_kib(g, "Private_Dirty") for g in (a, b)]
        shared = [memory_kib(g, "Shared_Clean") for g in (a, b)]
    for kib in shared:
        assert kib > 0.7 * (MIB << 10), (own, shared)
    for kib in own:
        assert kib < 0.25 * (MIB << 10), (own, shared)
    print(f"KiB of its own: {own}, shared: {shared}")


def test_the_snapshot_is_as_it_was(mounted):
    mnt, snapshot = mounted
    with open(snapshot.memory, "rb") as want, \
            open(mnt.memory(), "rb") as got:
        while True:
            chunk = want.read(1 << 20)
            assert got.read(1 << 20) == chunk
            if not chunk:
                break
    assert snapshot.memory.stat().st_size % PAGE == 0
