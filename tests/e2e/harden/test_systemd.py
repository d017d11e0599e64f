"""The units under a real systemd: readiness, what it keeps over a restart, its
watchdog, and versions side by side."""
import pathlib
import subprocess
import sys

import pytest

from conftest import DEADLINE, HERE, PAGE, PAGERCTL, PAGERD, make_image, sha256
from systemd import manager  # noqa: F401, a fixture

IMAGE = make_image(96)


class InnerVmm:
    """A VMM among the processes that the daemon sees; see vmm.py."""

    def __init__(self, manager, socket_path):
        self.process = subprocess.Popen(
            manager.inside(sys.executable, HERE / "vmm.py", socket_path,
                           len(IMAGE)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "mapped\n", manager.told()

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE)
        self.process.stdout.close()


@pytest.fixture
def vmms(manager):  # noqa: F811
    made = []

    def run(runtime, name):
        path = manager.ctl("--runtime", runtime, "session", "create", "guest",
                           "--id", name)
        made.append(InnerVmm(manager, path))
        return made[-1]
    yield run
    for vmm in made:
        if vmm.process.poll() is None:
            vmm.process.kill()
            vmm.process.wait(DEADLINE)


def publish(manager):  # noqa: F811
    (manager.place / "image").write_bytes(IMAGE)
    if manager.run("test", "-e", "/var/lib/pagerd/format").returncode:
        manager.must("mkdir", "-p", "/var/lib/pagerd")
        manager.must("chmod", "700", "/var/lib/pagerd")
        manager.ctl("init")
    manager.ctl("publish", "guest", "--memory", manager.place / "image")


def check(vmm, page):
    assert vmm.ask("page", page) == sha256(IMAGE[page * PAGE:][:PAGE])


def test_a_restart_costs_no_vm_anything(manager, vmms):  # noqa: F811
    manager.drop_in("pagerd.service", f"{PAGERD} $PAGERD_OPTIONS")
    manager.start()
    publish(manager)
    manager.must("systemctl", "start", "pagerd")
    assert manager.show("pagerd", "ActiveState") == "active"
    vmm = vmms("/run/pagerd", "vm")
    check(vmm, 1)
    manager.wait_show("pagerd", "StatusText", "Serving 1 session(s)")
    # The userfaultfd and what else a session has are with systemd now.
    assert int(manager.show("pagerd", "NFileDescriptorStore")) >= 2
    before = manager.show("pagerd", "MainPID")
    for restart in range(3):
        manager.must("systemctl", "restart", "pagerd")
        before, last = manager.show("pagerd", "MainPID"), before
        assert before != last
        check(vmm, 10 + restart)
    assert vmm.ask("discard", 3) == "done"
    # A crash is the same to it, even where systemd has the last copy of its
    # userfaultfd. A restart would wait for the VM then: before version 254
    # systemd does not tell whether it still has what it was given.
    assert vmm.ask("let-go") == "done"
    manager.must("systemctl", "kill", "--kill-whom=main", "-s", "KILL",
                 "pagerd")
    assert vmm.ask("page", 3) == sha256(bytes(PAGE))
    check(vmm, 20)
    assert int(manager.show("pagerd", "NRestarts")) == 1
    manager.wait_show("pagerd", "StatusText", "Serving 1 session(s)")
    status = (pathlib.Path(f"/proc/{manager.pid}/root/proc") /
              manager.show("pagerd", "MainPID") / "status").read_text()
    assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
    vmm.end()
    manager.wait_show("pagerd", "StatusText", "Serving 0 session(s)")
    assert int(manager.show("pagerd", "NFileDescriptorStore")) == 0
    assert "warning" not in manager.told()[1], manager.told()


def test_the_watchdog_replaces_one_that_hangs(manager, vmms):  # noqa: F811
    manager.drop_in("pagerd.service", f"{PAGERD} $PAGERD_OPTIONS")
    with (manager.units / "pagerd.service.d/test.conf").open("a") as conf:
        conf.write("WatchdogSec=1\n")
    manager.start()
    publish(manager)
    manager.must("systemctl", "start", "pagerd")
    vmm = vmms("/run/pagerd", "vm")
    check(vmm, 1)
    manager.must("systemctl", "kill", "--kill-whom=main", "-s", "STOP",
                 "pagerd")
    check(vmm, 2)
    assert int(manager.show("pagerd", "NRestarts")) >= 1


def test_versions_side_by_side(manager, vmms):  # noqa: F811
    manager.drop_in("pagerd@.service",
                    f"{PAGERD} --runtime /run/pagerd-%i --exit-when-drained "
                    "$PAGERD_OPTIONS")
    manager.start()
    publish(manager)
    manager.must("systemctl", "start", "pagerd@1.4.0")
    old = vmms("/run/pagerd-1.4.0", "old")
    check(old, 1)
    manager.must("systemctl", "start", "pagerd@1.5.0")
    manager.ctl("--runtime", "/run/pagerd-1.4.0", "drain")
    refused = manager.run(PAGERCTL, "--runtime", "/run/pagerd-1.4.0",
                          "session", "create", "guest")
    assert refused.returncode == 1 and "draining" in refused.stderr
    new = vmms("/run/pagerd-1.5.0", "new")
    for vmm in (old, new):
        check(vmm, 5)
    # Taken back, and drained again; its VM never notices.
    manager.ctl("--runtime", "/run/pagerd-1.4.0", "undrain")
    more = vmms("/run/pagerd-1.4.0", "more")
    manager.ctl("--runtime", "/run/pagerd-1.4.0", "drain")
    more.end()
    check(old, 6)
    assert manager.show("pagerd@1.4.0", "ActiveState") == "active"
    old.end()
    manager.wait_show("pagerd@1.4.0", "ActiveState", "inactive")
    assert manager.show("pagerd@1.4.0", "Result") == "success"
    check(new, 7)
    assert manager.show("pagerd@1.5.0", "ActiveState") == "active"
