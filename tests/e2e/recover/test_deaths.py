"""PITFALLS 15, 16, 17 and 18: kill -9 of the daemon at random instants, also
while it recovers, and of VMMs meanwhile, under VMs that know what every byte
of theirs must be.

PAGER_DEATHS is the number of kills (default 40), PAGER_DEATHS_VMS that of VMs
(default 8), PAGER_DEATHS_SEED repeats a run.
"""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from conftest import BUILD, DEADLINE, Store, make_image

SURVIVOR = BUILD / "tests" / "e2e" / "programs" / "survivor"
DEATHS = int(os.environ.get("PAGER_DEATHS", 40))
VMS = int(os.environ.get("PAGER_DEATHS_VMS", 8))
SEED = int(os.environ.get("PAGER_DEATHS_SEED", time.time_ns() % 1000000))
PAGES = 4096

# Of a daemon's life, in seconds: its start takes some hundredths.
LONGEST_LIFE = 0.25


@pytest.fixture
def place():
    """In memory, as a runtime directory is."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="pg-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def store(place):
    made = Store(place / "store")
    made.publish("guest", make_image(PAGES))
    (place / "image").write_bytes(made.images["guest"])
    return made


class Survivor:
    def __init__(self, daemon, image, seed):
        self.process = subprocess.Popen(
            [SURVIVOR, daemon.runtime, "guest", image, str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begins(self):
        """False where the daemon died before it had its memory."""
        line = self.process.stdout.readline()
        if line == "mapped\n":
            return True
        assert self.process.wait(DEADLINE) == 3
        self.close()
        return False

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()

    def lives(self):
        return self.process.poll() is None

    def death(self):
        """For whom it may concern: how it died, and its last words."""
        return (self.process.pid, self.process.returncode,
                self.process.stdout.read())

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE)
        self.close()

    def verdict(self):
        out, _ = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, out


def restart(start, daemon, rng, log):
    """Kills it, and its successors too, until one may say ready. Now and then
    it is asked to leave instead."""
    daemon.stop(signal.SIGTERM if rng.random() < 0.1 else signal.SIGKILL)
    daemon.process.stderr.close()
    log += daemon.log
    deaths = 1
    while rng.random() < 0.3:
        recovering = start(ready=False)
        time.sleep(rng.random() * 0.05)
        recovering.stop(signal.SIGKILL)
        recovering.process.stderr.close()
        log += recovering.log
        deaths += 1
    return start(), deaths


def test_no_death_of_the_daemon_is_noticed(place, store, start):
    rng = random.Random(SEED)
    print(f"PAGER_DEATHS_SEED={SEED}")
    daemon, survivors, deaths, born, killed = start(), [], 0, 0, 0
    log = []
    try:
        while deaths < DEATHS:
            while len(survivors) < VMS:
                born += 1
                survivor = Survivor(daemon, place / "image", SEED + born)
                if survivor.begins():
                    survivors.append(survivor)
            time.sleep(rng.random() * LONGEST_LIFE)
            if rng.random() < 0.3:
                survivors.pop(rng.randrange(len(survivors))).kill()
                killed += 1
            daemon, more = restart(start, daemon, rng, log)
            deaths += more
            dead = [s.death() for s in survivors if not s.lives()]
            assert dead == [], log
        verdicts = [survivor.verdict() for survivor in survivors]
        assert all(code == 0 for code, _ in verdicts), (verdicts, log)
    finally:
        for survivor in survivors:
            if survivor.lives():
                survivor.kill()
    print(f"deaths={deaths} VMs={len(survivors)} born={born} killed={killed} "
          f"operations={sum(int(out.split()[1]) for _, out in verdicts)}")
    assert verdicts and {code for code, _ in verdicts} == {0}
    daemon.wait_log("recovery: ")
