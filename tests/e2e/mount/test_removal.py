"""Removing and renaming snapshots that somebody reads."""
import errno
import json
import mmap
import os
import re
import signal
import subprocess
import sys

import pytest

from conftest import DEADLINE, PAGE, make_image, sha256
from mounts import Mount, unmount
from test_mount import fails


@pytest.fixture(params=["pagerfs", "pagerd"])
def mnt(request, place, store, start):
    """The store, mounted by either program; .end() is its death."""
    if request.param == "pagerfs":
        made = Mount(store.path, place / "mnt")
        made.program = made.process
        yield made
        made.__exit__()
        return
    (place / "mnt").mkdir()
    daemon = start("--mount", place / "mnt")

    class Made:
        path = place / "mnt"
        snapshots = path / "snapshots"
        program = daemon.process

        def memory(self, name="guest"):
            return self.snapshots / name / "memory"

        def end(self, number):
            return daemon.stop(number)

    yield Made()
    unmount(place / "mnt")


def hidden(store):
    folder = store.path / "removed"
    return os.listdir(folder) if folder.exists() else []


def test_who_reads_is_named(mnt, store):
    reader = subprocess.Popen(
        [sys.executable, "-c",
         "import sys; f = open(sys.argv[1], 'rb'); print(flush=True);"
         "sys.stdin.read()", mnt.memory()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    reader.stdout.readline()
    refused = store.ctl("rm", "guest", check=False)
    assert refused.returncode == 4
    program = os.path.basename(mnt.program.args[0])
    assert f"{program} (process {mnt.program.pid})" in refused.stderr
    assert f"(process {reader.pid})" in refused.stderr
    assert "pagerctl (process" not in refused.stderr
    assert "--when-unused" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    reader.communicate()
    store.ctl("rm", "guest")


def test_out_of_sight_at_once_and_gone_with_the_last_reader(mnt, store):
    image = store.images["guest"]
    with open(mnt.memory(), "rb") as f:
        view = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        said = store.ctl("--json", "rm", "--when-unused", "guest").stdout
        assert json.loads(said) == {"removed": ["guest"],
                                    "in_use": ["guest"]}
        assert os.listdir(mnt.snapshots) == []
        assert os.listdir(mnt.path / "digests") == []
        fails(errno.ENOENT, open, mnt.memory(), "rb")
        assert store.ctl("show", "guest", check=False).returncode == 3
        # Another takes the name, and nobody confuses the two.
        other = make_image(96, seed=77)
        store.publish("guest", other)
        assert mnt.memory().read_bytes() == other
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert f.read() == image
    assert len(hidden(store)) == 1
    assert view[:] == image
    view.close()
    # The kernel tells of the last close after it has returned.
    while hidden(store):
        assert mnt.program.poll() is None
    store.ctl("rm", "guest")


def test_what_nobody_reads_is_gone_at_once(mnt, store):
    said = store.ctl("--json", "rm", "--when-unused", "guest").stdout
    assert json.loads(said) == {"removed": ["guest"], "in_use": []}
    assert hidden(store) == [] and os.listdir(mnt.snapshots) == []


def test_a_killed_reader_leaves_nothing_for_long(mnt, store, place):
    fd = os.open(mnt.memory(), os.O_RDONLY)
    store.ctl("rm", "--when-unused", "guest")
    mnt.end(signal.SIGKILL)
    os.close(fd)
    assert len(hidden(store)) == 1
    store.publish("other", make_image(4))
    assert hidden(store) == []


def test_rename_under_a_reader(mnt, store):
    image = store.images["guest"]
    store.publish("taken", make_image(3))
    with open(mnt.memory(), "rb") as f:
        refused = store.ctl("rename", "guest", "taken", check=False)
        assert refused.returncode == 1 and "taken" in refused.stderr
        assert store.ctl("rename", "none", "new", check=False).returncode == 3
        store.ctl("rename", "guest", "new")
        assert sorted(os.listdir(mnt.snapshots)) == ["new", "taken"]
        assert mnt.memory("new").read_bytes() == image
        fails(errno.ENOENT, open, mnt.memory(), "rb")
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert f.read() == image
        assert store.ctl("rm", "new", check=False).returncode == 4
    shown = json.loads(store.ctl("--json", "show", "new").stdout)
    assert shown["name"] == "new"
    assert os.readlink(mnt.path / "digests" / shown["image_digest"]) == \
        "../snapshots/new"
    store.ctl("rm", "new")


@pytest.mark.parametrize("command", [["rm"], ["rm", "--when-unused"],
                                     ["rename"]])
def test_a_session_keeps_its_name(start, attach, store, command):
    """The next daemon asks for the snapshot by its name."""
    daemon = start()
    session, vmm = attach(daemon, prefetch=False)
    operands = ["guest", "new"] if command == ["rename"] else ["guest"]
    refused = store.ctl("--runtime", daemon.runtime, *command, *operands,
                        check=False)
    assert refused.returncode == 4
    assert f"session {session}" in refused.stderr
    assert "session close" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert vmm.ask("page", 3) == \
        sha256(store.images["guest"][3 * PAGE:][:PAGE])
    daemon.stop(signal.SIGKILL)
    start()
    assert vmm.ask("all") == sha256(store.images["guest"])


def test_no_daemon_runs_and_a_vm_lives(start, attach, store):
    """What holds the VM's descriptors holds the lease, too."""
    daemon = start()
    _, vmm = attach(daemon, prefetch=False)
    assert vmm.ask("page", 3) == \
        sha256(store.images["guest"][3 * PAGE:][:PAGE])
    for _ in range(3):
        daemon.stop(signal.SIGKILL)
        for command in ["rm", "guest"], ["rm", "--when-unused", "guest"], \
                ["rename", "guest", "new"]:
            refused = store.ctl(*command, check=False)
            assert refused.returncode == 4
            assert "pagerd-holder (process" in refused.stderr
        daemon = start()
    assert vmm.ask("all") == sha256(store.images["guest"])
    vmm.kill()
    while daemon.get("/v1/sessions")["sessions"]:
        pass
    store.ctl("rm", "guest")
