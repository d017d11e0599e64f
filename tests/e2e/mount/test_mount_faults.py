"""The mount when things go wrong: damage, death, interruption."""
import errno
import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from conftest import DEADLINE, PAGE, make_image
from mounts import INJECT, is_mounted
from test_mount import fails, kind, mount  # noqa: F401 (fixtures)


def publish_noise(store, name, pages, seed):
    """A snapshot of its own pack, and the pack's path."""
    packs = store.path / "packs"
    before = set(packs.iterdir())
    image = random.Random(seed).randbytes(pages * PAGE)
    store.publish(name, image)
    pack, = set(packs.iterdir()) - before
    return image, pack


def read_pages(path, image):
    """Reads page by page: how many were right; the rest gave EIO."""
    right = 0
    with open(path, "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for at in range(0, len(image), PAGE):
            try:
                assert os.pread(f.fileno(), PAGE, at) == image[at:at + PAGE]
                right += 1
            except OSError as e:
                assert e.errno == errno.EIO
    return right


def test_a_flipped_bit_is_one_page_s_error(mount, store):  # noqa: F811
    """PITFALLS 27, for a mount: EIO for that page alone, one line."""
    image, pack = publish_noise(store, "hurt", 64, 5)
    with open(pack, "r+b") as f:    # within the first slot
        f.seek(100)
        byte = f.read(1)
        f.seek(100)
        f.write(bytes([byte[0] ^ 1]))
    mnt = mount()
    assert read_pages(mnt.memory("hurt"), image) == 63
    assert mnt.memory().read_bytes() == store.images["guest"]
    assert mnt.cache()["pinned"] == 0
    assert mnt.end() == 0
    told = [line for line in mnt.lines if "snapshot=hurt" in line]
    assert len(told) == 1 and "checksum" in told[0]


def test_a_pack_cut_short_under_its_readers(mount, store):  # noqa: F811
    image, pack = publish_noise(store, "hurt", 512, 6)
    mnt = mount("-o", "cache=4M")
    fd = os.open(mnt.memory("hurt"), os.O_RDONLY)
    assert os.pread(fd, PAGE, 0) == image[:PAGE]
    os.truncate(pack, 300 * PAGE)
    right = read_pages(mnt.memory("hurt"), image)
    assert 250 <= right < 400
    # The end is gone, for this reader; others have lost nothing.
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    fails(errno.EIO, os.pread, fd, PAGE, 511 * PAGE)
    os.close(fd)
    assert mnt.memory().read_bytes() == store.images["guest"]
    assert mnt.process.poll() is None
    assert mnt.cache()["pinned"] == 0


def test_a_missing_pack(mount, store):  # noqa: F811
    image, pack = publish_noise(store, "hurt", 8, 7)
    pack.unlink()
    mnt = mount()
    # Neither its page table nor its pages are there.
    fails(errno.EIO, mnt.memory("hurt").read_bytes)
    fails(errno.EIO, os.stat, mnt.snapshots / "hurt" / "pages")
    assert sorted(os.listdir(mnt.snapshots / "hurt")) == [
        "manifest.json", "memory", "pages"]
    assert mnt.memory().read_bytes() == store.images["guest"]


def test_a_damaged_manifest(mount, store):  # noqa: F811
    store.publish("hurt", make_image(4))
    with open(store.path / "snapshots" / "hurt", "r+b") as f:
        f.seek(70)
        f.write(b"\0\0\0")
    mnt = mount()
    fails(errno.EIO, os.listdir, mnt.snapshots / "hurt")
    assert sorted(os.listdir(mnt.snapshots)) == ["guest", "hurt"]
    assert len(os.listdir(mnt.path / "digests")) == 1


# PITFALLS 53
def test_sigterm_with_open_files(mount, store):  # noqa: F811
    mnt = mount()
    fd = os.open(mnt.memory(), os.O_RDONLY)
    inside = os.open(mnt.snapshots, os.O_RDONLY)
    assert os.pread(fd, 10, 0) == store.images["guest"][:10]
    assert mnt.end() == 0
    assert not is_mounted(mnt.path)
    assert os.listdir(mnt.path) == []
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    fails(errno.ENOTCONN, os.pread, fd, PAGE, 50 * PAGE)
    os.close(fd)
    os.close(inside)
    # Nothing is leased by the dead.
    store.ctl("rm", "guest")


# PITFALLS 53
def test_sigkill_then_mount_again(mount, store):  # noqa: F811
    first = mount()
    fd = os.open(first.memory(), os.O_RDONLY)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    fails(errno.ENOTCONN, os.listdir, first.path)
    fails(errno.ENOTCONN, os.pread, fd, PAGE, 0)
    os.close(fd)
    again = mount()
    assert again.memory().read_bytes() == store.images["guest"]
    assert again.end() == 0
    assert not is_mounted(again.path)
    store.ctl("rm", "guest")


def test_unmounting_ends_it(mount, store):  # noqa: F811
    mnt = mount()
    with open(mnt.memory(), "rb"):
        busy = subprocess.run(["umount", mnt.path], stderr=subprocess.PIPE)
        assert busy.returncode != 0
    subprocess.run(["umount", mnt.path], check=True)
    assert mnt.process.wait(DEADLINE) == 0


def test_an_aborted_connection_ends_it(mount, store):  # noqa: F811
    mnt = mount()
    with open(mnt.memory(), "rb") as f:
        assert f.read(5) == store.images["guest"][:5]
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        subprocess.run(["umount", "-f", mnt.path], check=False,
                       stderr=subprocess.DEVNULL)
        assert mnt.process.wait(DEADLINE) == 0
        fails(errno.ENOTCONN, os.pread, f.fileno(), PAGE, 50 * PAGE)
    assert not is_mounted(mnt.path)
    assert os.listdir(mnt.path) == []


def test_many_ends_and_starts(place, store, kind):  # noqa: F811
    """No thread, mount or lease is left by any of them."""
    for n in range(20):
        with kind(store.path, place / "mnt", "-o", "threads=8") as mnt:
            if n % 2:
                assert mnt.memory().stat().st_size > 0
        assert mnt.process.returncode == 0
        assert not is_mounted(place / "mnt")


READER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
print("reading", flush=True)
os.pread(fd, 1 << 20, 0)
"""


@pytest.mark.skipif(not INJECT, reason="a build without fault injection")
# PITFALLS 54
def test_interrupted_reads_leak_no_pins(mount, store):  # noqa: F811
    image, _ = publish_noise(store, "slow", 2048, 8)
    mnt = mount("-o", "threads=4",
                env={"PAGER_INJECT": "pack-read:slow=20+"})
    for n in range(12):
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, mnt.memory("slow")],
            stdout=subprocess.PIPE)
        assert reader.stdout.readline() == b"reading\n"
        # Not for anything to happen: to meet another moment each time.
        threading.Event().wait(0.01 * n)
        reader.send_signal(signal.SIGKILL if n % 2 else signal.SIGINT)
        reader.wait(DEADLINE)
        reader.stdout.close()
    # What was under way ends before what is asked for now.
    with open(mnt.memory("slow"), "rb", buffering=0) as f:
        assert os.pread(f.fileno(), PAGE, 2047 * PAGE) == image[-PAGE:]
    store.ctl("rm", "slow")
    assert mnt.end() == 0


@pytest.mark.skipif(not INJECT, reason="a build without fault injection")
def test_a_read_that_fails_once_is_tried_again(mount, store):  # noqa: F811
    image, _ = publish_noise(store, "twice", 64, 9)
    mnt = mount(env={"PAGER_INJECT": "pack-read:EIO@2,pack-read:flip@5"})
    assert mnt.memory("twice").read_bytes() == image
    assert mnt.cache()["pinned"] == 0
