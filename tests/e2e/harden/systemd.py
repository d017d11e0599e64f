"""A real systemd of one's own: the manager of a few namespaces, with the units
that are built, and nothing else of the machine's."""
import os
import pathlib
import shutil
import signal
import subprocess
import threading

import pytest

from conftest import BUILD, DEADLINE, PAGERCTL

SYSTEMD = pathlib.Path("/lib/systemd/systemd")

# What becomes the manager. Its /run and /var/lib are its own.
SCRIPT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/systemd/system
mount -t tmpfs tmpfs /var/lib
mount -t proc proc /proc
mount -t tmpfs tmpfs /sys/fs/cgroup
umount /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
cp -r "$1"/units/. /run/systemd/system/
export container=private
exec /lib/systemd/systemd --system --unit=test.target --show-status=0 \
    --log-target=console --log-level=info
"""

TARGET = """[Unit]
Description=Nothing but what a test starts
DefaultDependencies=no
"""

# Where the built programs lie, and without what a whole machine has. A
# sanitizer cannot look for leaks within a unit's system calls.
DROP_IN = """[Unit]
DefaultDependencies=no
RequiresMountsFor=
[Service]
StandardError=append:{place}/{log}
Environment=ASAN_OPTIONS=detect_leaks=0
ExecStart=
ExecStart={start}
"""


class Manager:
    def __init__(self, place):
        self.place = place
        self.outer = None
        self.units = place / "units"
        self.units.mkdir()
        self.log = place / "systemd.log"
        (self.units / "test.target").write_text(TARGET)
        for unit in ("pagerd.service", "pagerd@.service"):
            shutil.copy(BUILD / "pagerd" / unit, self.units)

    def drop_in(self, unit, start):
        folder = self.units / f"{unit}.d"
        folder.mkdir()
        (folder / "test.conf").write_text(DROP_IN.format(
            place=self.place, log="pagerd.log", start=start))

    def start(self):
        with self.log.open("w") as log:
            self.outer = subprocess.Popen(
                ["unshare", "--pid", "--mount", "--uts", "--ipc", "--cgroup",
                 "--fork", "--kill-child", "/bin/sh", "-c", SCRIPT, "sh",
                 self.place], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        for _ in range(100):
            children = pathlib.Path(
                f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
            if self.outer.poll() is not None:
                break
            self.pid = children.read_text().strip()
            if self.pid and self.run("systemctl", "is-active",
                                     "test.target").stdout == "active\n":
                return
            threading.Event().wait(0.1)
        pytest.skip("no systemd of our own starts here: "
                    + self.log.read_text()[-300:])

    def inside(self, *command):
        return ["nsenter", "-t", self.pid, "-m", "-p", *map(str, command)]

    def run(self, *command):
        return subprocess.run(self.inside(*command), text=True,
                              timeout=DEADLINE, stdin=subprocess.DEVNULL,
                              capture_output=True)

    def must(self, *command):
        result = self.run(*command)
        assert result.returncode == 0, (command, result.stderr, self.told())
        return result.stdout.strip()

    def ctl(self, *arguments):
        return self.must(PAGERCTL, *arguments)

    def show(self, unit, what):
        return self.must("systemctl", "show", "--value", "-p", what, unit)

    def wait_show(self, unit, what, wanted):
        for _ in range(10 * DEADLINE):
            if self.show(unit, what) == wanted:
                return
            threading.Event().wait(0.1)
        assert self.show(unit, what) == wanted, self.told()

    def told(self):
        log = self.place / "pagerd.log"
        return (self.log.read_text()[-2000:],
                log.read_text()[-3000:] if log.exists() else "")

    def stop(self):
        if self.outer and self.outer.poll() is None:
            os.kill(self.outer.pid, signal.SIGKILL)
            self.outer.wait(DEADLINE)


@pytest.fixture
def manager(place):
    if os.geteuid() != 0 or not SYSTEMD.exists():
        pytest.skip("needs root and systemd")
    made = Manager(place)
    yield made
    made.stop()
