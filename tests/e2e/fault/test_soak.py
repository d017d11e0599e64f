"""The soak: VMs that touch, write and give back random pages and know what
every byte of theirs must be (the snapshot's, an overlay's, zero once given
back), while sessions come, are completed and are cut off by kill -9, working
sets are recorded and installed ahead, blocks are evicted, and whole images
are scanned into the cache (PITFALLS 5, 8, 12, 29, 30, 31).

PAGER_SOAK is for how many seconds (default 15), PAGER_SOAK_VMS with how many
VMs (default 32); PAGER_SOAK_SEED repeats a run's choices.
"""
import base64
import concurrent.futures
import contextlib
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

import pytest

from conftest import BUILD, DEADLINE, PAGE, Store, make_image

SURVIVOR = BUILD / "tests" / "e2e" / "programs" / "survivor"
SECONDS = int(os.environ.get("PAGER_SOAK", 15))
VMS = int(os.environ.get("PAGER_SOAK_VMS", 32))
SEED = int(os.environ.get("PAGER_SOAK_SEED", time.time_ns() % 1000000))
PAGES = 2048


@pytest.fixture
def place():
    """In memory, as a runtime directory is."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="pg-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def store(place):
    """Two images, and a child of the first."""
    made = Store(place / "store")
    made.publish("guest", make_image(PAGES))
    made.publish("other", make_image(PAGES, seed=2))
    image = bytearray(made.images["guest"])
    for page in range(0, PAGES, 50):
        image[page * PAGE:(page + 1) * PAGE] = bytes([page % 255 + 1]) * PAGE
    (place / "child").write_bytes(image)
    made.ctl("publish", "child", "--memory", place / "child", "--base",
             "guest")
    made.images["child"] = bytes(image)
    return made


def random_overlays(rng):
    """Disjoint pieces at any offset, of up to three pages: {offset: bytes}."""
    pieces, at = {}, 0
    for _ in range(rng.randrange(6)):
        at += rng.randrange(PAGES * PAGE // 8)
        size = rng.randrange(1, 3 * PAGE)
        if at + size > PAGES * PAGE:
            break
        pieces[at] = rng.randbytes(size)
        at += size
    return pieces


class Vm:
    """A survivor with a session of its own."""

    def __init__(self, daemon, place, store, rng, number):
        name = rng.choice(["guest", "guest", "other", "child"])
        overlays = random_overlays(rng)
        image = bytearray(store.images[name])
        for offset, data in overlays.items():
            image[offset:offset + len(data)] = data
        self.image = place / f"image{number}"
        self.image.write_bytes(image)
        session = daemon.create(
            name, prefetch=rng.random() < 0.7, record=rng.random() < 0.3,
            overlays=[{"offset": offset,
                       "data_base64": base64.b64encode(data).decode()}
                      for offset, data in overlays.items()])
        self.id = session["id"]
        self.process = subprocess.Popen(
            [SURVIVOR, daemon.runtime, session["socket_path"], self.image,
             str(SEED + number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "mapped\n"

    def lives(self):
        return self.process.poll() is None

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.image.unlink()

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE)
        self.close()

    def verdict(self):
        """What it says once it has compared all of its memory."""
        out, _ = self.process.communicate(timeout=4 * DEADLINE)
        self.image.unlink()
        return self.process.returncode, out


def complete(daemon, identity):
    """It may end in the middle, with its VM."""
    with contextlib.suppress(ConnectionError):
        status, _ = daemon.request("POST",
                                   f"/v1/sessions/{identity}/complete")
        assert status in (200, 202, 404, 409)


class Soak:
    """What goes on beside the VMs, an event at a time."""

    def __init__(self, daemon, store, rng, pool):
        self.daemon, self.store, self.rng, self.pool = daemon, store, rng, pool
        self.vms, self.jobs = [], []
        self.born = self.killed = self.asked = 0

    def end_one(self):
        self.vms.pop(self.rng.randrange(len(self.vms))).kill()
        self.killed += 1

    def complete_one(self):
        self.asked += 1
        self.jobs.append(self.pool.submit(complete, self.daemon,
                                          self.rng.choice(self.vms).id))

    def evict(self):
        self.daemon.request("POST", "/v1/cache/evict", {"all": True})

    def scan(self):
        self.jobs.append(self.pool.submit(
            self.store.ctl, "--runtime", self.daemon.runtime, "cache", "warm",
            "other", check=False))

    def step(self, place):
        while len(self.vms) < VMS:
            self.born += 1
            self.vms.append(Vm(self.daemon, place, self.store, self.rng,
                               self.born))
        self.rng.choices(
            [self.end_one, self.complete_one, self.evict, self.scan],
            [6, 3, 1, 1])[0]()
        time.sleep(self.rng.random() * 0.3)
        assert [vm.process.stdout.read() for vm in self.vms
                if not vm.lives()] == []


def close_what_listens(daemon):
    """Until no session is left. Of a VM that was killed before the daemon had
    taken its handshake the session still waits for one."""
    while True:
        sessions = daemon.get("/v1/sessions")["sessions"]
        if not sessions:
            return
        for session in sessions:
            if session["state"] == "listening":
                daemon.request("DELETE", f"/v1/sessions/{session['id']}")


def test_every_byte_is_as_the_model_has_it(place, store, start):
    print(f"PAGER_SOAK_SEED={SEED}")
    daemon = start("--cache", "8M", "--record-seconds", "1", "--workers", "2")
    files = daemon.files()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        soak = Soak(daemon, store, random.Random(SEED), pool)
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                soak.step(place)
            verdicts = [vm.verdict() for vm in soak.vms]
            for job in soak.jobs:
                job.result(DEADLINE)
        finally:
            for vm in soak.vms:
                if vm.lives():
                    vm.kill()
    assert {code for code, _ in verdicts} == {0}, verdicts
    close_what_listens(daemon)
    stats = daemon.get("/v1/stats")
    print(f"born={soak.born} killed={soak.killed} "
          f"completed={stats['sessions_ended']['completed']} "
          f"operations={sum(int(out.split()[1]) for _, out in verdicts)} "
          f"{stats['counters']}")
    assert stats["counters"]["failures"] == 0
    assert stats["sessions_ended"]["failed"] == 0
    assert stats["outstanding"] == 0
    assert daemon.files() <= files + 4
    assert daemon.stop() == 0
