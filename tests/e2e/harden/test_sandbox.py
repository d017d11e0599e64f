"""What is left to whoever takes over a running daemon: told by the kernel."""
import os
import pathlib

import pytest

from conftest import sha256

KEPT = sum(1 << bit for bit in (
    0,      # CHOWN
    1,      # DAC_OVERRIDE
    3,      # FOWNER
    5,      # KILL
    14,     # IPC_LOCK
    19))    # SYS_PTRACE


def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def threads(pid):
    return [status(f"{pid}/task/{tid}") for tid in
            os.listdir(f"/proc/{pid}/task")]


def holders(runtime):
    """The processes that listen at the runtime directory's holder.sock."""
    inodes = {line.split()[6] for line in
              pathlib.Path("/proc/net/unix").read_text().splitlines()
              if line.endswith(f"{runtime}/holder.sock")}
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        except OSError:
            continue
        name = (process / "comm").read_text().strip()
        if name == "pagerd-holder" and any(
                f"socket:[{inode}]" in links for inode in inodes):
            found.append(int(process.name))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities")
def test_every_thread_is_bound(store, start, attach, place):
    (place / "mnt").mkdir()
    daemon = start()
    name, vmm = attach(daemon)
    assert vmm.ask("all") == sha256(store.images["guest"])
    for thread in threads(daemon.process.pid):
        assert thread["Seccomp"].strip() == "2"
        for which in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
            assert int(thread[which], 16) & ~KEPT == 0, which
    for holder in holders(daemon.runtime):
        assert status(holder)["Seccomp"].strip() == "2"
    assert len(holders(daemon.runtime)) == 1
    assert vmm.ask("discard", 3) == "done"
    assert daemon.stop() == 0


def test_it_can_be_switched_off(start):
    daemon = start("--sandbox", "off")
    assert status(daemon.process.pid)["Seccomp"].strip() == "0"
    assert daemon.get("/v1/health")["status"] == "ok"
    assert daemon.stop() == 0
