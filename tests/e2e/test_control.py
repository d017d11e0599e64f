"""The daemon as its operator sees it: start, signals, control API, end."""
import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from conftest import BUILD, DEADLINE, PAGE, PAGERCTL, PAGERD
from conftest import UnixConnection, Vmm, sha256


def run_pagerd(*arguments):
    return subprocess.run([PAGERD, *arguments], text=True, timeout=DEADLINE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_wrong_usage_is_one_line_and_2(place):
    config = place / "conf"
    config.write_text("\ncolour = red\n")
    for arguments in (["--bogus"], ["--cache", "much"], ["stray"],
                      ["--config", config], ["--config", place / "none"]):
        result = run_pagerd(*arguments)
        assert result.returncode == 2
        assert result.stdout == ""
        assert re.fullmatch(r"pagerd: [^\n]+\n", result.stderr)


def test_help_and_manual_tell_the_same():
    result = run_pagerd("--help")
    manual = (BUILD / "pagerd" / "pagerd.8").read_text().replace("\\-", "-")
    assert result.returncode == 0 and result.stderr == ""
    told = re.findall(r"^  (--[a-z-]+)", result.stdout, re.M)
    assert told == re.findall(r"^\.B (--[a-z-]+)", manual, re.M)
    assert len(told) >= 10
    assert run_pagerd("--version").stdout.startswith("pagerd ")


def test_a_store_that_is_none_is_refused(place):
    (place / "full").mkdir()
    (place / "full" / "file").write_text("x")
    for path in (place / "none", place / "full"):
        result = run_pagerd("--store", path, "--runtime", place / "run")
        assert result.returncode == 1
        assert re.fullmatch(r"pagerd: [^\n]+\n", result.stderr)
        assert str(path) in result.stderr


def test_systemd_is_told(place, start):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.settimeout(DEADLINE)
    notify.bind(str(place / "notify"))
    daemon = start(env={"NOTIFY_SOCKET": str(place / "notify")})
    assert "READY=1" in notify.recv(4096).decode()
    daemon.create("guest")
    while "Serving 1 session" not in notify.recv(4096).decode():
        pass
    assert daemon.stop() == 0
    while "STOPPING=1" not in notify.recv(4096).decode():
        pass
    notify.close()


def test_second_daemon_on_a_runtime_directory_is_refused(place, store, start):
    """PITFALLS 22."""
    first = start()
    second = start(ready=False)
    assert second.wait() == 1
    assert second.log == [
        f"pagerd: {place / 'run'}: another pagerd (pid {first.process.pid}) "
        "runs here; stop it or choose another --runtime", None]
    third = start(runtime=place / "other")
    assert third.get("/v1/health")["status"] == "ok"
    assert first.get("/v1/health")["status"] == "ok"


def test_a_killed_daemon_s_files_are_no_obstacle(place, start):
    """PITFALLS 23."""
    first = start()
    path = first.create("guest", id="vm")["socket_path"]
    first.stop(signal.SIGKILL)
    assert (place / "run" / "control.sock").exists()
    second = start()
    assert second.get("/v1/sessions/vm")["state"] == "listening"
    assert second.request("DELETE", "/v1/sessions/vm")[0] == 204
    assert second.create("guest", id="vm")["socket_path"] == path
    assert second.request("DELETE", "/v1/sessions/vm")[0] == 204
    assert second.stop() == 0
    assert not (place / "run" / "control.sock").exists()


def test_a_vm_is_served(store, start, attach):
    daemon = start()
    name, vmm = attach(daemon)
    image = store.images["guest"]
    assert vmm.ask("page", 5) == sha256(image[5 * PAGE:6 * PAGE])
    assert vmm.ask("all") == sha256(image)
    assert vmm.ask("discard", 3) == "done"
    assert vmm.ask("page", 3) == sha256(bytes(PAGE))
    session = daemon.get(f"/v1/sessions/{name}")
    assert session["state"] == "serving"
    assert session["vmm_pid"] == vmm.process.pid
    assert session["pages_total"] == len(image) // PAGE
    assert session["faults"] > 0
    stats = daemon.get("/v1/stats")
    assert stats["counters"]["faults"] == session["faults"]
    assert stats["cache"]["misses"] > 0


def test_sigterm_leaves_what_has_no_vm_to_the_next_daemon(
        store, start, attach):
    daemon = start()
    path = daemon.create("guest", id="early")["socket_path"]
    assert daemon.stop() == 0
    second = start()
    assert second.get("/v1/sessions/early")["socket_path"] == path
    vmm = Vmm(path, len(store.images["guest"]))
    assert vmm.ask("all") == sha256(store.images["guest"])
    vmm.kill()


def test_sigterm_waits_where_only_the_daemon_has_the_memory(
        place, store, start, attach):
    """systemd without word of what it keeps, and a VMM that kept nothing."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(place / "notify"))
    daemon = start(env={"NOTIFY_SOCKET": str(place / "notify")})
    name, vmm = attach(daemon, id="needed")
    daemon.wait_log("a VM is served")
    assert vmm.ask("let-go") == "done"
    daemon.send(signal.SIGTERM)
    line = daemon.wait_log("waiting for 1 session(s)")
    assert line.endswith(" needed")
    status, answer = daemon.request("POST", "/v1/sessions",
                                    {"snapshot": "guest"})
    assert (status, answer["error"]["code"]) == (503, "draining")
    assert daemon.request("POST", "/v1/undrain")[0] == 503
    assert vmm.ask("all") == sha256(store.images["guest"])
    assert daemon.process.poll() is None
    vmm.kill()
    assert daemon.wait() == 0
    notify.close()


def test_sigquit_ends_by_policy(start, attach):
    daemon = start()
    vmms = [attach(daemon)[1] for _ in range(3)]
    assert daemon.stop(signal.SIGQUIT) == 0
    assert [vmm.wait() for vmm in vmms] == [-signal.SIGKILL] * 3


def test_hangup_is_no_end(start):
    daemon = start()
    daemon.send(signal.SIGHUP)
    daemon.send(signal.SIGPIPE)
    assert daemon.get("/v1/health")["status"] == "ok"


def test_delete_hurts_no_vm_unless_forced(store, start, attach):
    daemon = start()
    name, vmm = attach(daemon)
    status, answer = daemon.request("DELETE", f"/v1/sessions/{name}")
    assert (status, answer["error"]["code"]) == (409, "in_use")
    assert daemon.request("POST", f"/sessions/{name}/close")[0] == 204
    assert vmm.ask("all") == sha256(store.images["guest"])
    assert daemon.request("DELETE", f"/v1/sessions/{name}?force=1")[0] == 204
    assert vmm.wait() == -signal.SIGKILL
    assert daemon.get("/v1/sessions") == {"sessions": []}


def wait_empty(daemon):
    end = time.monotonic() + DEADLINE
    while daemon.get("/v1/stats")["sessions"]:
        assert time.monotonic() < end


def end_vm(daemon, name, vmm):
    """Kills a VM that is served, and waits for the end of its session.

    One that dies before its handshake was read leaves its session listening.
    """
    vmm.ask("page", 0)
    vmm.kill()
    daemon.wait_log(f"session over: vmm-gone session={name} ")


def test_the_end_of_a_vm_ends_its_session(start, attach):
    daemon = start()
    end_vm(daemon, *attach(daemon))
    assert daemon.stop() == 0


def test_a_vm_that_dies_at_once_leaves_no_hang(start, attach):
    daemon = start()
    for n in range(20):
        attach(daemon, id=f"vm{n}")[1].kill()
    assert daemon.stop() == 0


def test_sessions_leave_no_files_open(start, attach):
    daemon = start()
    end_vm(daemon, *attach(daemon))
    before = daemon.files()
    for n in range(100):
        daemon.create("guest", id=f"s{n}")
        assert daemon.request("DELETE", f"/v1/sessions/s{n}")[0] == 204
    for _ in range(5):
        end_vm(daemon, *attach(daemon))
    wait_empty(daemon)
    assert daemon.files() <= before + 2
    assert os.listdir(daemon.runtime / "sessions") == []


def test_drain_against_create(start):
    """PITFALLS 25. After drain has answered, no session comes any more."""
    daemon = start()

    def create(n):
        return daemon.request("POST", "/v1/sessions", {"snapshot": "guest"})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        creates = [pool.submit(create, n) for n in range(64)]
        status, answer = daemon.request("POST", "/v1/drain")
        results = [c.result() for c in creates]
    assert (status, answer["draining"]) == (200, True)
    assert {status for status, _ in results} <= {201, 503}
    made = sorted(a["id"] for s, a in results if s == 201)
    listed = daemon.get("/v1/sessions")["sessions"]
    assert sorted(s["id"] for s in listed) == made
    assert daemon.request("POST", "/v1/sessions",
                          {"snapshot": "guest"})[0] == 503
    assert daemon.stop() == 0


def test_idle_connections_do_not_hold_up_the_end(start):
    daemon = start()
    idle = [UnixConnection(daemon.socket) for _ in range(200)]
    for connection in idle:
        connection.connect()
    assert daemon.get("/v1/health")["status"] == "ok"
    assert daemon.stop() == 0
    for connection in idle:
        connection.close()


def test_client_that_goes_in_the_middle(start):
    daemon = start()
    for n in range(50):
        connection = UnixConnection(daemon.socket)
        connection.connect()
        connection.sock.sendall(
            b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 22\r\n\r\n{\"snapshot\": \"guest\"}"[:60 + n])
        connection.close()
    assert daemon.get("/v1/health")["status"] == "ok"


@pytest.mark.parametrize("key", ["cache", "workers", "max-sessions"])
def test_configuration_file_is_used(place, start, key):
    config = place / "conf"
    config.write_text("cache = 8M\nworkers = 1\nmax-sessions = 2\n")
    daemon = start("--config", str(config))
    if key == "cache":
        assert daemon.get("/v1/cache")["limit"] == 8 << 20
    elif key == "workers":
        assert daemon.get("/v1/stats")["workers"] == 1
    else:
        assert [daemon.request("POST", "/v1/sessions",
                               {"snapshot": "guest"})[0]
                for _ in range(3)] == [201, 201, 503]


def test_metrics_are_well_formed(start, attach):
    daemon = start()
    attach(daemon)[1].ask("page", 0)
    text = daemon.get("/metrics")
    families = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
    assert len(families) == len(dict(families)) > 30
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name = re.fullmatch(
            r'([a-z_0-9]+)(\{[a-z]+="[^"]*"\})? [0-9.e+-]+', line).group(1)
        base = re.sub(r"_(sum|count|bucket)$", "", name)
        kind = dict(families).get(name) or dict(families)[base]
        assert kind in ("counter", "gauge", "summary", "histogram")
        assert name.endswith("_total") == (kind == "counter")


def ctl(daemon, *arguments):
    return subprocess.run(
        [PAGERCTL, "--runtime", daemon.runtime, "--json", *arguments],
        text=True, timeout=DEADLINE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)


def test_drained_versions_end_by_themselves(start, attach):
    daemon = start("--exit-when-drained")
    _, vmm = attach(daemon)
    daemon.wait_log("a VM is served")
    assert json.loads(ctl(daemon, "drain").stdout) == {
        "draining": True, "sessions": 1}
    assert ctl(daemon, "session", "create", "guest").returncode == 1
    assert json.loads(ctl(daemon, "undrain").stdout) == {
        "draining": False, "sessions": 1}
    assert daemon.request("POST", "/v1/drain")[0] == 200
    assert vmm.ask("page", 1)
    assert daemon.process.poll() is None
    vmm.kill()
    assert daemon.wait() == 0


def test_the_watchdog_is_fed(place, start):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.settimeout(DEADLINE)
    notify.bind(str(place / "notify"))
    start(env={"NOTIFY_SOCKET": str(place / "notify"),
               "WATCHDOG_USEC": "100000"})
    for _ in range(3):
        while notify.recv(4096) != b"WATCHDOG=1":
            pass
    notify.close()


def test_health_names_the_session_that_hangs_and_why(start, attach):
    daemon = start("--stuck-after", "1",
                   env={"PAGER_INJECT": "pack-read:EIO@3+"})
    _, vmm = attach(daemon, id="stuck", policy="stall")
    for page in (0, 2, 3, 5):
        vmm.say("page", page)
    daemon.wait_log("stalled until it can")
    deadline = time.monotonic() + DEADLINE
    health = daemon.get("/v1/health")
    while health["status"] == "ok" and time.monotonic() < deadline:
        health = daemon.get("/v1/health")
    assert health["status"] == "unhealthy"
    assert [s["id"] for s in health["stuck"]] == ["stuck"]
    assert "stall" in health["stuck"][0]["reason"]
    vmm.kill()
