"""The cache as its operator sees it: figures, commands, bounds."""
import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from conftest import DEADLINE, PAGE, PAGERCTL, PAGERD, Vmm
from conftest import make_image, sha256

MIB = 1 << 20


@pytest.fixture
def ctl(store):
    """ctl(daemon, *arguments, code=0): pagerctl's standard output."""
    def run(daemon, *arguments, code=0):
        result = subprocess.run(
            [PAGERCTL, "--store", store.path, "--runtime", daemon.runtime,
             *map(str, arguments)], text=True, timeout=DEADLINE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert result.returncode == code, result.stderr
        if code:
            assert re.fullmatch(r"pagerctl: [^\n]+\n", result.stderr)
        return result.stdout
    return run


def resident(daemon):
    with open(f"/proc/{daemon.process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024


def test_stats_have_what_is_promised(start, attach, ctl):
    daemon = start("--cache", "16M")
    _, vmm = attach(daemon)
    vmm.ask("all")
    stats = json.loads(ctl(daemon, "cache", "stats", "--json"))
    for key in ("bytes", "limit", "blocks", "hits", "misses", "evictions",
                "hit_ratio", "pinned", "held", "ghost_hits", "read_p50_us"):
        assert isinstance(stats[key], (int, float)), key
    assert stats["limit"] == 16 * MIB and stats["bytes"] <= 16 * MIB
    assert sum(stats["memory"].values()) == stats["bytes"]
    assert stats["memory"]["decoders"] > 3 * 96 * 1024
    assert sum(step["reads"] for step in stats["read_latency"]) == (
        stats["inserts"])
    assert stats["classes"]["fault"]["misses"] > 0
    assert stats["classes"]["node"]["misses"] > 0
    top = json.loads(ctl(daemon, "cache", "stats", "--snapshots", "--json"))
    assert top["snapshots"][0]["snapshot"] == "guest"
    text = ctl(daemon, "cache", "stats")
    assert "hit_ratio" in text and "decoders" in text
    assert re.search(r"CLASS +EVICTED +NEVER-HIT +ACTIVE +LAST", text)
    assert max(len(line) for line in text.splitlines()) <= 80
    metrics = daemon.get("/metrics")
    assert 'pagerd_cache_read_seconds_bucket{le="+Inf"} ' in metrics
    assert 'pagerd_cache_pinned{class="fault"} 0' in metrics
    assert 'pagerd_cache_evictions_unused_total{class="fault"} 0' in metrics


def test_the_curve_is_a_table_a_plot_and_json(start, attach, ctl):
    daemon = start("--cache", "16M")
    _, vmm = attach(daemon)
    vmm.ask("all")
    curve = json.loads(ctl(daemon, "cache", "curve", "--json"))
    assert [p["scale"] for p in curve["points"]] == [0.25, 0.5, 1, 2, 4]
    assert curve["lookups"] > 0
    limit = daemon.get("/v1/cache")["limit"]
    assert limit * 0.98 < curve["points"][2]["bytes"] <= limit
    text = ctl(daemon, "cache", "curve")
    assert "FAULT-HITS" in text and "100 % |" in text


def test_commands_by_snapshot(start, ctl, store):
    daemon = start("--cache", "16M")
    assert "guest" in ctl(daemon, "cache", "warm", "guest")
    blocks = daemon.get("/v1/cache")["blocks"]
    assert blocks > 0
    freed = json.loads(ctl(daemon, "cache", "evict", "--snapshot", "guest",
                           "--json"))
    assert freed["freed_bytes"] == blocks * PAGE
    job = json.loads(ctl(daemon, "cache", "pin", "guest", "--json"))
    assert job["state"] == "done" and job["done"] == blocks
    kept = ctl(daemon, "cache", "evict", "--all")
    assert "freed 0 bytes" in kept and f"{blocks} pinned" in kept
    assert "exists" not in ctl(daemon, "rm", "guest", code=4)
    ctl(daemon, "cache", "pin", "guest", code=1)
    forced = ctl(daemon, "cache", "evict", "--snapshot", "guest", "--force")
    assert f"freed {blocks * PAGE} bytes" in forced
    ctl(daemon, "cache", "unpin", "guest")
    ctl(daemon, "cache", "unpin", "guest", code=3)
    ctl(daemon, "cache", "warm", "none", code=3)
    ctl(daemon, "cache", "warm", "guest", "--working-set", code=3)
    ctl(daemon, "cache", "evict", "--block", "0" * 32, code=3)
    ctl(daemon, "cache", "evict", "--all", "--idle", 3, code=2)


def interrupted(daemon, command, *options):
    """A slow command under Ctrl-C: its terminal's text, and its job."""
    ours, terminal = pty.openpty()
    with subprocess.Popen(
            [PAGERCTL, "--runtime", daemon.runtime, "cache", command, "guest",
             "--rate", "8K", *options], stdout=subprocess.PIPE,
            stderr=terminal, text=True) as process:
        os.close(terminal)
        text = b""
        while b"%" not in text:
            text += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        with open(ours, "rb") as rest:
            try:
                while more := rest.read1():
                    text += more
            except OSError:  # the other end is closed
                pass
        assert process.wait(DEADLINE) == 128 + signal.SIGINT
        assert process.stdout.read() == ""
    return text.decode(), daemon.get("/v1/cache")["jobs"][-1]


@pytest.mark.parametrize("command", ["warm", "pin"])
def test_an_interrupt_ends_the_work(start, attach, store, ctl, command):
    daemon = start("--cache", "16M")
    _, vmm = attach(daemon)
    text, job = interrupted(daemon, command)
    assert re.search(r"cache \w+ \[[#.]+\]", text)
    assert f"cache {command}: guest: cancelled after" in text
    assert job["kind"] == command and job["state"] == "cancelled"
    assert job["done"] < job["blocks"]
    cache = daemon.get("/v1/cache")
    assert cache["pins"] == [] and cache["held"] == 0
    ctl(daemon, "cache", "cancel", job["id"])
    ctl(daemon, "cache", "cancel", 1000, code=3)
    assert vmm.ask("all") == sha256(store.images["guest"])


def test_a_job_is_cancelled_by_somebody_else(start, ctl):
    daemon = start("--cache", "16M")
    with subprocess.Popen(
            [PAGERCTL, "--runtime", daemon.runtime, "cache", "warm", "guest",
             "--rate", "8K"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True) as warm:
        while not daemon.get("/v1/cache")["jobs"]:
            pass
        ctl(daemon, "cache", "cancel", 1)
        out, err = warm.communicate(timeout=DEADLINE)
    # No progress in a pipe: one line tells why it ended.
    assert out == ""
    assert re.fullmatch("pagerctl: cache warm: guest: cancelled after [0-9]+ "
                        "of [0-9]+ blocks\n", err)
    assert warm.returncode == 1


def test_a_pin_that_does_not_fit_tells_the_numbers(start, store):
    store.publish("large", make_image(6000, seed=9))
    daemon = start("--cache", "8M", "--workers", "1")
    status, answer = daemon.request("POST", "/v1/cache/pin",
                                    {"snapshot": "large"})
    assert status == 409
    assert answer["error"]["code"] == "does_not_fit"
    assert len(re.findall(r"\d+", answer["error"]["message"])) >= 4
    # The size that the message names is one that does.
    enough = re.search(r"a cache of (\d+) has room",
                       answer["error"]["message"])[1]
    assert daemon.get("/v1/cache")["limit"] == 8 * MIB
    daemon.request("POST", "/v1/cache/resize", {"bytes": int(enough)})
    status, _ = daemon.request("POST", "/v1/cache/pin", {"snapshot": "large"})
    assert status == 202


@pytest.mark.parametrize("body", [
    {}, {"all": True, "idle": 3}, {"all": "yes"}, {"bytes": -1},
    {"block": "xyz"}, {"force": True, "all": True}, {"what": 1}])
def test_wrong_evictions_are_refused(start, body):
    status, answer = start().request("POST", "/v1/cache/evict", body)
    assert status == 400
    assert answer["error"]["code"] == "bad_request"


def test_resizes_while_a_vm_runs(start, attach, ctl, store):
    daemon = start("--cache", "16M")
    _, vmm = attach(daemon)
    half = vmm.ask("page", 5)
    assert "the least" in ctl(daemon, "cache", "resize", "0")
    assert vmm.ask("all") == sha256(store.images["guest"])
    least = daemon.get("/v1/cache")["limit"]
    ctl(daemon, "cache", "resize", "64M")
    assert daemon.get("/v1/cache")["limit"] == 64 * MIB > least
    assert vmm.ask("page", 5) == half
    ctl(daemon, "cache", "resize", "1024T", code=1)
    ctl(daemon, "cache", "resize", "much", code=2)


def test_resident_memory_stays_within_the_limit(start, store):
    """PITFALLS 56: a scan of nothing but unique pages."""
    pages = 256 * MIB // PAGE
    image = os.urandom(pages * PAGE)
    store.publish("unique", image)
    daemon = start("--cache", "64M")
    session = daemon.create("unique")
    vmm = Vmm(session["socket_path"], len(image))
    try:
        assert vmm.ask("all") == sha256(image)
        assert daemon.get("/v1/cache")["bytes"] <= 64 * MIB
        # A sanitizer's shadow memory counts.
        sanitized = re.search(b"__[at]san_init", PAGERD.read_bytes())
        assert sanitized or resident(daemon) <= (64 + 64) * MIB
    finally:
        vmm.kill()


def test_a_trace_is_written_and_replayed(start, attach, place):
    trace = place / "trace"
    daemon = start("--cache", "16M", "--fault-trace", trace)
    _, vmm = attach(daemon)
    vmm.ask("all")
    vmm.kill()
    assert daemon.stop() == 0
    assert "look-ups recorded" in daemon.wait_log("fault trace: ")
    assert (trace.stat().st_size - 32) % 24 == 0
    assert trace.stat().st_size > 32 + 60 * 24


def served(daemon, store, names):
    """A VM for each name; (name, VM) pairs, none of them prefetched."""
    pairs = []
    for name in names:
        session = daemon.create(name, prefetch=False)
        pairs.append((name, Vmm(session["socket_path"],
                                len(store.images[name]))))
    return pairs


COMMANDS = (
    ("stats",), ("stats", "--snapshots"), ("curve",),
    ("resize", "6M"), ("warm", "one"), ("evict", "--bytes", "2M"),
    ("resize", "12M"), ("pin", "small"), ("evict", "--snapshot", "one"),
    ("evict", "--snapshot", "small", "--force"), ("evict", "--idle", "0"),
    ("unpin", "small"), ("evict", "--all"), ("warm", "two", "--rate", "200M"),
)


def test_every_command_while_vms_are_served(start, store, ctl):
    """PITFALLS 59: each of them, over and over, and every byte is right."""
    for n, name in enumerate(("one", "two", "small")):
        store.publish(name, make_image(600 if name == "small" else 5000,
                                       seed=n + 20))
    daemon = start("--cache", "12M", "--workers", "2")
    vmms = served(daemon, store, ["one", "two", "small", "one", "two"])
    digest = {name: sha256(image) for name, image in store.images.items()}
    done = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(len(vmms)) as pool:
        answers = [pool.submit(vmm.ask, "all") for _, vmm in vmms]
        while not all(a.done() for a in answers) or len(done) < len(COMMANDS):
            command = COMMANDS[done.total() % len(COMMANDS)]
            ctl(daemon, "cache", *command)
            done[command] += 1
            cache = daemon.get("/v1/cache")
            assert sum(cache["memory"].values()) == cache["bytes"]
        for (name, vmm), answer in zip(vmms, answers):
            assert answer.result() == digest[name]
            vmm.kill()
    for command in (("resize", 0), ("unpin", "small", 3)):
        ctl(daemon, "cache", *command[:2], code=(*command, 0)[2])
    cache = daemon.get("/v1/cache")
    assert cache["held"] == cache["stragglers"] == cache["failures"] == 0
    assert cache["bytes"] <= cache["limit"]


@pytest.fixture
def mnt(place):
    path = place / "mnt"
    path.mkdir()
    yield path
    # Where the test got so far, the daemon was killed by now.
    subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL,
                   check=False)


def test_a_block_is_evicted_by_its_digest(start, store, ctl, mnt):
    """One that a VM was given, while the VM goes on."""
    page = b"\x17" * PAGE
    store.publish("lone", page + bytes(PAGE) + make_image(20, seed=4))
    daemon = start("--cache", "16M", "--mount", mnt)
    [(_, vmm)] = served(daemon, store, ["lone"])
    assert vmm.ask("page", 0) == sha256(page)
    pages = (mnt / "snapshots/lone/pages").read_text()
    digest = re.match(" *0 +1 block ([0-9a-f]{32}) ", pages)[1]
    said = ctl(daemon, "cache", "evict", "--block", digest)
    assert f"freed {PAGE} bytes, 1 blocks" in said
    said = ctl(daemon, "cache", "evict", "--block", digest)
    assert "freed 0 bytes" in said and "1 not in the cache" in said
    assert vmm.ask("all") == sha256(store.images["lone"])
    vmm.kill()


def test_a_scan_does_not_cost_the_faults(start, store, mnt):
    """PITFALLS 57: a mount's reader goes through four times the cache."""
    store.publish("hot", os.urandom(8 * MIB))
    store.publish("cold", os.urandom(64 * MIB))
    daemon = start("--cache", "24M", "--mount", mnt)

    def misses_of_a_clone():
        before = daemon.get("/v1/cache")["classes"]["fault"]
        [(name, vmm)] = served(daemon, store, ["hot"])
        assert vmm.ask("all") == sha256(store.images[name])
        vmm.kill()
        after = daemon.get("/v1/cache")["classes"]["fault"]
        return after["misses"] - before["misses"]

    first = misses_of_a_clone()
    assert first > 1000 and misses_of_a_clone() == 0
    with open(mnt / "snapshots/cold/memory", "rb") as file:
        assert sha256(file.read()) == sha256(store.images["cold"])
    mounted = daemon.get("/v1/cache")["classes"]["mount"]
    assert mounted["misses"] >= 64 * MIB // PAGE
    assert misses_of_a_clone() <= first * 0.05


V2 = pathlib.Path("/sys/fs/cgroup")
V1 = V2 / "memory"


def own_group():
    """The folder of our control group, and its files' names."""
    groups = pathlib.Path("/proc/self/cgroup").read_text()
    for root, line, names in (
            (V2, "0::", ("memory.max", "memory.events")),
            (V1, ":memory:", ("memory.limit_in_bytes", "memory.oom_control"))):
        for path in re.findall(re.escape(line) + "(.*)", groups):
            folder = root / path.lstrip("/")
            if (folder / names[0].replace("max", "current")).exists():
                return folder, names
    pytest.skip("no control group with a memory controller")
    raise AssertionError


@pytest.fixture
def group():
    """A control group of 192 MiB; in it: run there. Also how many it killed."""
    own, (limit, events) = own_group()
    folder = own / f"pagerd-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(192 * MIB))
    except OSError as error:
        pytest.skip(f"no control group of our own: {error}")

    class Group:
        @contextlib.contextmanager
        def entered(self):
            (folder / "cgroup.procs").write_text(str(os.getpid()))
            yield
            (own / "cgroup.procs").write_text(str(os.getpid()))

        def killed(self):
            text = (folder / events).read_text()
            return int(re.search(r"oom_kill (\d+)", text)[1])

    yield Group()
    # Its processes are gone, but not all at once from its list.
    for _ in range(1000):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.01)


# Takes memory as a VM that grows does, and holds it till its input ends.
HOG = """
import sys
memory = []
for _ in range(26):
    memory.append(bytearray(4 << 20))
    print(len(memory), flush=True)
    sys.stdin.read(1)
"""


@pytest.mark.memory
def test_the_cache_gives_way_before_anybody_is_killed(group, start, store):
    """In a real control group: the cache and a VM want more than there is."""
    store.publish("large", os.urandom(112 * MIB))
    with group.entered():
        daemon = start("--memory-pressure", "on", "--cache", "144M",
                       "--workers", "1")
        hog = subprocess.Popen([sys.executable, "-c", HOG], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with hog:
        daemon.request("POST", "/v1/cache/warm", {"snapshot": "large"})
        while daemon.get("/v1/cache")["jobs"][0]["state"] == "running":
            pass
        assert resident(daemon) > 112 * MIB
        for n in range(1, 27):
            assert hog.stdout.readline() == f"{n}\n", group.killed()
            time.sleep(0.1)  # a VM that boots, not one that explodes
            hog.stdin.write("x")
            hog.stdin.flush()
        assert "MiB to" in daemon.wait_log("memory pressure: ")
        assert daemon.get("/v1/cache")["limit"] < 100 * MIB
    assert hog.returncode == 0
    assert group.killed() == 0
    least = daemon.get("/v1/cache")["limit"]
    while daemon.get("/v1/cache")["limit"] <= least:
        time.sleep(0.1)
    session = daemon.create("large")
    vmm = Vmm(session["socket_path"], 112 * MIB)
    try:
        assert vmm.ask("page", 9) == sha256(
            store.images["large"][9 * PAGE:10 * PAGE])
    finally:
        vmm.kill()


def test_memory_pressure_is_watched_where_it_is_asked_for(start):
    daemon = start("--memory-pressure", "on", "--cache", "64M")
    assert daemon.get("/v1/cache")["limit"] == 64 * MIB
    assert daemon.stop() == 0
