"""pagerd --mount: the store as files, beside the VMs and never before them."""
import concurrent.futures
import errno
import functools
import json
import os
import random
import signal
import subprocess
import threading

import pytest

import conftest
from conftest import DEADLINE, PAGE, PAGERD, Vmm, make_image, sha256
from mounts import is_mounted, unmount
from test_mount import change_calls, fails


@pytest.fixture
def mnt(place):
    path = place / "mnt"
    path.mkdir()
    yield path
    unmount(path)


def memory(mnt, name="guest"):
    return mnt / "snapshots" / name / "memory"


def test_the_tree_of_a_daemon(start, attach, store, mnt):
    daemon = start("--mount", mnt)
    assert sorted(os.listdir(mnt)) == [".pager", "blocks", "digests",
                                       "snapshots"]
    assert memory(mnt).read_bytes() == store.images["guest"]
    for call, *arguments in change_calls(mnt):
        with pytest.raises(OSError) as e:
            call(*arguments)
        assert e.value.errno == errno.EROFS, (call, arguments)
    assert daemon.stop() == 0
    assert not is_mounted(mnt) and os.listdir(mnt) == []


def test_live_files_are_what_the_api_says(start, attach, store, mnt):
    daemon = start("--mount", mnt)
    live = mnt / ".pager"
    assert sorted(os.listdir(live)) == ["cache.json", "health.json",
                                        "sessions.json", "stats.json"]

    def keys(value):
        if isinstance(value, dict):
            return {key: keys(one) for key, one in value.items()}
        return [keys(one) for one in value] if isinstance(value, list) else 0

    def shown(name):
        return json.loads((live / f"{name}.json").read_text())

    assert shown("sessions") == {"sessions": []}
    session, vmm = attach(daemon)
    assert vmm.ask("all") == sha256(store.images["guest"])
    for name in "health", "stats", "cache", "sessions":
        assert keys(shown(name)) == keys(daemon.get(f"/v1/{name}")), name
    assert shown("health")["sessions"] == 1
    assert shown("sessions")["sessions"][0]["id"] == session
    assert shown("stats")["counters"]["faults"] > 0
    # A file that is open keeps what it said; the next open says more.
    with open(live / "sessions.json", encoding="utf-8") as f:
        vmm.kill()
        daemon.wait_log(f"session={session}", 2)
        assert len(json.load(f)["sessions"]) == 1


def test_one_cache_serves_both(start, attach, store, mnt):
    """What the mount has read a VM needs not read again."""
    daemon = start("--mount", mnt, "--cache", "64M")
    assert memory(mnt).read_bytes() == store.images["guest"]
    before = daemon.get("/v1/cache")["classes"]
    assert before["mount"]["misses"] > 0
    _, vmm = attach(daemon, prefetch=False)
    assert vmm.ask("all") == sha256(store.images["guest"])
    after = daemon.get("/v1/cache")["classes"]
    assert after["fault"]["misses"] == before["fault"]["misses"]
    assert after["fault"]["hits"] > before["fault"]["hits"]


def test_a_working_set_shows_once_it_is_recorded(start, attach, store, mnt):
    shown = mnt / "snapshots/guest/working-set"
    daemon = start("--mount", mnt, "--record-seconds", "1")

    def record(pages, times):
        _, vmm = attach(daemon, record=True)
        for page in pages:
            assert vmm.ask("page", page) == \
                sha256(store.images["guest"][page * PAGE:][:PAGE])
        daemon.wait_log("working set recorded", times)
        vmm.kill()

    assert not shown.exists()
    assert "working-set" not in os.listdir(shown.parent)
    record([5, 90, 2, 41], 1)
    assert shown.read_text() == "5\n90\n2\n41\n"
    assert shown.stat().st_size == 10
    assert "working-set" in os.listdir(shown.parent)
    with open(shown, encoding="ascii") as before:
        record([41, 7], 2)
        # What was touched now first; then what was touched once, and half.
        assert shown.read_text() == "41\n7\n5\n90\n2\n"
        assert before.read() == "5\n90\n2\n41\n"
    assert shown.stat().st_size == len(shown.read_bytes())


def test_what_cannot_be_mounted_is_one_line_and_1(start, store, place, mnt):
    (place / "file").write_text("x")
    first = start("--mount", mnt)
    for path, why in ((place / "none", "No such file"),
                      (place / "file", "no folder"), (mnt, "already")):
        other = subprocess.run(
            [PAGERD, "--store", store.path, "--runtime", place / "other",
             "--mount", path], stderr=subprocess.PIPE, text=True,
            timeout=DEADLINE)
        assert other.returncode == 1
        last = other.stderr.splitlines()[-1]
        assert last.startswith("pagerd: mount: ") and why in last
        assert str(path) in last
    # Whoever was there first is left as it was.
    assert memory(mnt).read_bytes() == store.images["guest"]
    assert first.stop() == 0


def test_the_option_stands_in_the_file_too(start, store, place, mnt):
    (place / "conf").write_text(f"mount = {mnt}\n")
    start("--config", place / "conf")
    assert memory(mnt).read_bytes() == store.images["guest"]


# PITFALLS 53
def test_sigterm_with_open_files(start, attach, store, mnt):
    daemon = start("--mount", mnt)
    _, vmm = attach(daemon)
    fd = os.open(memory(mnt), os.O_RDONLY)
    assert os.pread(fd, 10, 0) == store.images["guest"][:10]
    assert daemon.stop() == 0
    assert not is_mounted(mnt)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    fails(errno.ENOTCONN, os.pread, fd, PAGE, 50 * PAGE)
    os.close(fd)
    # The next one has the VM, and the mount.
    start("--mount", mnt)
    assert vmm.ask("all") == sha256(store.images["guest"])
    assert memory(mnt).read_bytes() == store.images["guest"]


# PITFALLS 53
def test_sigkill_then_again(start, attach, store, mnt):
    daemon = start("--mount", mnt)
    _, vmm = attach(daemon)
    assert vmm.ask("page", 3) == sha256(store.images["guest"][3 * PAGE:][:PAGE])
    fd = os.open(memory(mnt), os.O_RDONLY)
    daemon.stop(signal.SIGKILL)
    assert is_mounted(mnt)
    fails(errno.ENOTCONN, os.listdir, mnt)
    again = start("--mount", mnt)
    fails(errno.ENOTCONN, os.pread, fd, PAGE, 0)
    os.close(fd)
    assert memory(mnt).read_bytes() == store.images["guest"]
    assert vmm.ask("all") == sha256(store.images["guest"])
    vmm.kill()
    assert again.stop() == 0
    assert not is_mounted(mnt)


@pytest.mark.parametrize("way", ["umount", "force", "abort"])
def test_an_end_from_outside_costs_no_session(start, attach, store, mnt, way):
    daemon = start("--mount", mnt)
    _, vmm = attach(daemon, prefetch=False)
    fd = os.open(memory(mnt), os.O_RDONLY)
    assert os.pread(fd, PAGE, 0) == store.images["guest"][:PAGE]
    if way == "umount":
        os.close(fd)
        subprocess.run(["umount", mnt], check=True)
    elif way == "force":
        subprocess.run(["umount", "-f", mnt], check=False,
                       stderr=subprocess.DEVNULL)
    else:
        number = os.minor(os.stat(mnt).st_dev)
        abort = f"/sys/fs/fuse/connections/{number}/abort"
        if not os.path.exists(abort):
            subprocess.run(["mount", "-t", "fusectl", "none",
                            "/sys/fs/fuse/connections"], check=True)
        with open(abort, "w", encoding="ascii") as f:
            f.write("1")
    daemon.wait_log("mount: somebody has ended it")
    assert not is_mounted(mnt)
    if way != "umount":
        os.close(fd)
    assert vmm.ask("all") == sha256(store.images["guest"])
    assert daemon.get("/v1/health")["status"] == "ok"
    # The leases of what was open have gone with it.
    vmm.kill()
    daemon.wait_log("session=", 2)
    while store.ctl("rm", "guest", check=False).returncode == 4:
        assert daemon.process.poll() is None
    assert daemon.stop() == 0


def test_a_mount_that_fails_does_not_keep_vms_waiting(start, attach, store,
                                                      mnt, place):
    daemon = start("--mount", mnt)
    _, vmm = attach(daemon)
    assert vmm.ask("page", 3) == sha256(store.images["guest"][3 * PAGE:][:PAGE])
    daemon.stop(signal.SIGKILL)
    again = start("--mount", place / "none")
    assert "without a mount" in again.wait_log("none")
    assert vmm.ask("all") == sha256(store.images["guest"])


def test_open_files_leave_descriptors_to_sessions(start, attach, store, mnt,
                                                  place, monkeypatch):
    few = place / "few"
    few.write_text(f'#!/bin/sh\nulimit -n 400\nexec {PAGERD} "$@"\n')
    few.chmod(0o700)
    monkeypatch.setattr(conftest, "PAGERD", few)
    daemon = start("--mount", mnt)
    files = []
    with pytest.raises(OSError) as e:
        for _ in range(400):
            files.append(os.open(memory(mnt), os.O_RDONLY))
    assert e.value.errno == errno.ENFILE
    assert len(files) == 100
    _, vmm = attach(daemon)
    assert vmm.ask("all") == sha256(store.images["guest"])
    for fd in files:
        os.close(fd)
    assert memory(mnt).read_bytes() == store.images["guest"]


def read_at_random(path, image, seed, stop):
    """Reads until told to stop; how often."""
    rng, count = random.Random(seed), 0
    with open(path, "rb", buffering=0) as f:
        while not (stop.is_set() and count):
            at = rng.randrange(len(image))
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            got = os.pread(f.fileno(), rng.randrange(1, 1 << 19), at)
            assert got and got == image[at:at + len(got)]
            count += 1
    return count


def touch_all(vmm, image, seed):
    """Every page of a VM, in no order."""
    pages = list(range(len(image) // PAGE))
    random.Random(seed).shuffle(pages)
    for page in pages:
        assert vmm.ask("page", page) == sha256(image[page * PAGE:][:PAGE])


# PITFALLS 31
def test_vms_are_served_while_64_readers_scan(start, store, mnt):
    """Each byte right, and no fault ever found the cache taken by them."""
    names = [f"big {n}" for n in range(3)]
    for n, name in enumerate(names):
        store.publish(name, make_image(1500, seed=50 + n))
    daemon = start("--mount", mnt, "--cache", "2M")
    stop = threading.Event()
    vmms = []
    with concurrent.futures.ThreadPoolExecutor(64 + 6) as pool:
        readers = [pool.submit(read_at_random, memory(mnt, names[n % 3]),
                               store.images[names[n % 3]], n, stop)
                   for n in range(64)]
        try:
            for n in range(6):
                image = store.images[names[n % 3]]
                session = daemon.create(names[n % 3], prefetch=False)
                vmms.append(Vmm(session["socket_path"], len(image)))
            served = [pool.submit(touch_all, vmm,
                                  store.images[names[n % 3]], n)
                      for n, vmm in enumerate(vmms)]
            for one in served:
                one.result(5 * DEADLINE)
        finally:
            stop.set()
            for vmm in vmms:
                vmm.kill()
        assert sum(one.result() for one in readers) >= 64
    cache = daemon.get("/v1/cache")
    assert cache["classes"]["fault"]["slot_waits"] == 0
    assert cache["classes"]["node"]["slot_waits"] == 0
    assert cache["classes"]["mount"]["evictions"] > 1000
    assert cache["bytes"] <= cache["limit"]
    totals = daemon.get("/v1/stats")
    assert totals["outstanding"] == 0
    assert daemon.get("/v1/health")["status"] == "ok"


# PITFALLS 52
def test_tools_over_a_whole_tree(start, attach, store, mnt, place):
    """While a VM is served: tar -S, cp --sparse=always, sha256sum, cmp."""
    (place / "state").write_bytes(b"devices" * 1000)
    (place / "memory").write_bytes(make_image(700, seed=2) + b"the end")
    store.ctl("publish", "rich one", "--memory", place / "memory",
              "--vmstate", place / "state", "--base", "guest")
    daemon = start("--mount", mnt, "--cache", "2M")
    _, vmm = attach(daemon, prefetch=False)
    run = functools.partial(subprocess.run, check=True, cwd=mnt, text=True,
                            timeout=DEADLINE)
    (place / "tar").mkdir()
    run(f"tar -S -cf - . | tar -xf - -C {place}/tar", shell=True)
    run(["cp", "-r", "--sparse=always", "snapshots", place / "cp"])
    for copy in place / "tar" / "snapshots", place / "cp":
        run(f"cd snapshots && find . -type f -exec sha256sum {{}} + |"
            f" (cd {copy} && sha256sum -c --quiet)", shell=True)
        run(f"cd snapshots && find . -type f -exec cmp {{}} {copy}/{{}} \\;",
            shell=True)
        holes = copy / "rich one" / "memory"
        assert holes.stat().st_blocks * 512 < 0.8 * holes.stat().st_size
    assert (place / "cp/rich one/memory").read_bytes() == \
        (place / "memory").read_bytes()
    assert vmm.ask("all") == sha256(store.images["guest"])
