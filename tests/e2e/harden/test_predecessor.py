"""A client that speaks the control API of the pager before this one, and
nothing else: plain HTTP on the socket, the keys and statuses that it knows."""
import concurrent.futures
import os
import subprocess
import threading

import pytest

from conftest import DEADLINE, PAGE, Vmm, make_image, sha256
from conftest import BUILD, PAGERCTL

PAGERFS = BUILD / "fs" / "mount" / "pagerfs"


class OldClient:
    """As such a client is written: it looks at no more than it needs."""

    def __init__(self, daemon):
        self.daemon = daemon

    def post(self, path, body=None):
        return self.daemon.request("POST", path, body)

    def health(self):
        return self.daemon.get("/health")

    def restore(self, instance, memory, **more):
        status, answer = self.post("/sessions", {
            "instance_id": instance, "backing_memory_path": str(memory),
            "cache_key": f"sha256:{instance}", **more})
        return status, answer


@pytest.fixture
def image():
    return make_image(64, seed=7)


@pytest.fixture
def memory(place, image):
    (place / "images").mkdir()
    file = place / "images" / "vm.mem"
    file.write_bytes(image)
    return file


@pytest.fixture
def restored():
    vmms = []

    def run(answer, image):
        vmm = Vmm(answer["uffd_socket_path"], len(image))
        vmms.append(vmm)
        assert vmm.ask("all") == sha256(image)
        return vmm
    yield run
    for vmm in vmms:
        if vmm.process.poll() is None:
            vmm.kill()


def snapshots(daemon):
    return [s["name"] for s in daemon.get("/v1/snapshots")["snapshots"]]


def test_a_file_below_an_import_folder_is_published_first(
        start, memory, image, restored):
    daemon = start("--import", str(memory.parent))
    client = OldClient(daemon)
    assert client.health() == {"version": client.health()["version"],
                               "draining": False, "active_sessions": 0}
    status, first = client.restore("one", memory, session_id="s-1")
    assert status == 200, first
    assert first["session_id"] == "s-1"
    assert first["uffd_socket_path"].endswith("/s-1.sock")
    assert first["pager_version"] == client.health()["version"]
    restored(first, image)
    status, second = client.restore("two", memory)
    assert (status, second["session_id"]) == (200, "two")
    restored(second, image)
    assert client.health()["active_sessions"] == 2
    imported = [s for s in daemon.get("/v1/snapshots")["snapshots"]
                if s["name"] != "guest"]
    assert len(imported) == 1 and imported[0]["name"].startswith("import-")
    assert imported[0]["labels"] == {"path": str(memory)}
    assert len(daemon.get("/stats")) > 3
    # A VM that lives is served on; the answer is always the same.
    assert client.post("/sessions/two/close") == (204, "")
    assert client.post("/sessions/nobody/close") == (204, "")
    assert client.post("/sessions/s-1/complete") == (204, "")
    assert client.post("/sessions/s-1/complete")[0] == 404
    assert client.post("/drain") == (204, "")
    assert client.health()["draining"] is True
    assert client.restore("three", memory)[0] == 503


def test_a_published_file_is_known_wherever_it_lies(
        start, store, memory, image, restored):
    store.ctl("publish", "known", "--memory", memory)
    daemon = start()
    client = OldClient(daemon)
    status, answer = client.restore("one", memory)
    assert status == 200, answer
    assert daemon.get("/v1/sessions/one")["snapshot"] == "known"
    restored(answer, image)
    # Another name of the same file is the same file.
    link = memory.parent / "link"
    link.symlink_to(memory)
    assert client.restore("two", link)[0] == 200
    with memory.open("r+b") as file:
        file.write(b"x")
    status, answer = client.restore("three", memory)
    assert (status, answer["error"]["code"]) == (404, "not_found")
    assert "--import" in answer["error"]["message"]


def test_a_file_in_a_mount_is_its_snapshot(place, start, store, restored):
    point = place / "mnt"
    point.mkdir()
    mount = subprocess.Popen([PAGERFS, store.path, point, "-f"])
    try:
        file = point / "snapshots" / "guest" / "memory"
        for _ in range(10 * DEADLINE):
            if file.exists():
                break
            threading.Event().wait(0.1)
        daemon = start()
        client = OldClient(daemon)
        status, answer = client.restore("one", file)
        assert status == 200, answer
        restored(answer, store.images["guest"])
        assert client.restore("two", point / "snapshots/none/memory")[0] == 404
        for path in ("snapshots/guest/vmstate", "snapshots//memory",
                     "snapshots/guest/memory/x", "snapshots/../guest/memory"):
            assert client.restore("two", f"{point}/{path}")[0] == 404, path
    finally:
        subprocess.run(["umount", point], check=True)
        mount.wait(DEADLINE)


def test_what_is_missing_or_wrong_is_400(start, memory):
    daemon = start("--import", str(memory.parent))
    client = OldClient(daemon)
    whole = {"instance_id": "i", "backing_memory_path": str(memory),
             "cache_key": "k"}
    for key in whole:
        rest = {k: v for k, v in whole.items() if k != key}
        assert client.post("/sessions", rest)[0] == 400, key
        assert client.post("/sessions", {**rest, key: ""})[0] == 400, key
        assert client.post("/sessions", {**rest, key: 7})[0] == 400, key
    # What would change the guest's memory is never passed over.
    assert client.post("/sessions", {**whole, "overlays": []})[0] == 400
    assert client.restore("i", "images/vm.mem")[0] == 400
    for wrong in ("../x", "a/b", "i" * 65, ".hidden"):
        assert client.restore(wrong, memory)[0] == 400, wrong
    assert snapshots(daemon) == ["guest"]


def test_what_leads_out_of_the_folder_is_not_found(place, start, memory):
    secret = place / "secret"
    secret.write_bytes(bytes(PAGE))
    (memory.parent / "link").symlink_to(secret)
    os.mkfifo(memory.parent / "fifo")
    daemon = start("--import", str(memory.parent))
    client = OldClient(daemon)
    files = daemon.files()
    for path in (secret, memory.parent / "link", f"{memory.parent}/../secret",
                 "/dev/zero", "/etc/shadow", "/proc/self/exe",
                 f"/proc/{daemon.process.pid}/fd/0", memory.parent / "none",
                 place):
        status, answer = client.restore("x", path)
        assert status == 404, (path, answer)
    for path in (memory.parent / "fifo",):
        assert client.restore("x", path)[0] == 400
    assert snapshots(daemon) == ["guest"]
    assert daemon.get("/v1/sessions") == {"sessions": []}
    # The daemon may not have seen yet that the last clients have gone.
    for _ in range(10 * DEADLINE):
        if daemon.files() <= files:
            break
        threading.Event().wait(0.1)
    assert daemon.files() <= files


def test_imports_at_once_are_one_and_nobody_waits_for_them(
        start, memory, image, restored):
    """The image is read slowly; health answers meanwhile."""
    daemon = start("--import", str(memory.parent),
                   env={"PAGER_INJECT": "image-read:slow=1500"})
    client = OldClient(daemon)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(client.restore, f"vm{n}", memory)
                 for n in range(12)]
        while not any(a.done() for a in asked):
            client.health()
        answers = [a.result() for a in asked]
    assert [status for status, _ in answers] == [200] * 12
    assert len(snapshots(daemon)) == 2
    restored(answers[0][1], image)


def test_the_end_of_the_daemon_ends_an_import(start, memory):
    daemon = start("--import", str(memory.parent),
                   env={"PAGER_INJECT": "image-read:slow=3000"})
    client = OldClient(daemon)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.restore, "vm", memory)
        threading.Event().wait(0.3)
        assert daemon.stop() == 0, daemon.log
        try:
            assert asked.result()[0] == 503
        except OSError:
            pass
    assert [f.name for f in (memory.parent.parent / "store" / "snapshots")
            .iterdir()] == ["guest"]


def test_pagerctl_sends_small_overlays_and_names_large_ones(
        place, start, store, restored):
    (place / "big").mkdir()
    daemon = start("--import", str(place / "big"))
    small = place / "small"
    small.write_bytes(b"tiny")
    large = place / "large"
    large.write_bytes(b"L" * (701 << 10))

    def create(name, *overlays):
        return subprocess.run(
            [PAGERCTL, "--runtime", daemon.runtime, "session", "create",
             "guest", "--id", name,
             *(a for o in overlays for a in ("--overlay", o))],
            text=True, capture_output=True, timeout=DEADLINE)

    result = create("a", f"5={small}")
    assert result.returncode == 0, result.stderr
    image = bytearray(store.images["guest"])
    image[5:9] = b"tiny"
    restored({"uffd_socket_path": result.stdout.strip()}, bytes(image))
    result = create("b", f"4096={large}")
    assert result.returncode == 1
    assert result.stderr.startswith("pagerctl: session create: ")
    assert "--import" in result.stderr and result.stderr.count("\n") == 1
    result = create("c", f"0={place / 'none'}")
    assert result.returncode != 0 and result.stderr.count("\n") == 1
