"""/v1/snapshots: publish from files, list, delete."""
import contextlib
import http.client
import json
import os
import signal
import threading
import urllib.parse

import pytest

from conftest import PAGE, make_image, sha256
from mounts import INJECT, Mount
from test_daemon_mount import mnt  # noqa: F401 (a fixture)


@pytest.fixture
def imports(place):
    folder = place / "imports"
    folder.mkdir()
    return folder


def publish(daemon, status=201, **body):
    got, answer = daemon.request("POST", "/v1/snapshots", body)
    assert got == status, answer
    return answer


def delete(daemon, name, query=""):
    return daemon.request(
        "DELETE", f"/v1/snapshots/{urllib.parse.quote(name)}{query}")


def test_publish_list_and_delete(start, store, imports, place):
    image = make_image(300, seed=4)
    (imports / "mem").write_bytes(image)
    (imports / "state").write_bytes(b"devices" * 100)
    daemon = start("--import", imports)
    made = publish(daemon, name="ünï cöde", memory=str(imports / "mem"),
                   vmstate=str(imports / "state"), base="guest", codec="lz4",
                   attach={"vm.json": str(imports / "state")},
                   labels={"host": "a", "zone": "b"})
    shown = json.loads(store.ctl("--json", "show", "ünï cöde").stdout)
    assert made["image_digest"] == shown["image_digest"]
    assert made["name"] == "ünï cöde" and made["pages"] == 300
    assert shown["parent"] == "guest"
    assert shown["labels"] == {"host": "a", "zone": "b"}
    assert {file["key"] for file in shown["files"]} == {"vmstate", "vm.json"}
    store.ctl("export", "ünï cöde", "--memory", place / "out")
    assert (place / "out").read_bytes() == image
    names = [one["name"] for one in daemon.get("/v1/snapshots")["snapshots"]]
    assert names == ["guest", "ünï cöde"]
    assert delete(daemon, "ünï cöde") == (204, "")
    assert delete(daemon, "ünï cöde")[0] == 404
    names = [one["name"] for one in daemon.get("/v1/snapshots")["snapshots"]]
    assert names == ["guest"]


def test_what_is_refused(start, store, imports, place):
    (imports / "mem").write_bytes(make_image(3))
    (place / "outside").write_bytes(b"secret")
    (imports / "way-out").symlink_to(place / "outside")
    daemon = start("--import", imports)
    mem = str(imports / "mem")
    for status, body in (
            (400, {}), (400, {"name": "x"}), (400, {"memory": mem}),
            (400, {"name": "a/b", "memory": mem}),
            (400, {"name": "x", "memory": "-"}),
            (400, {"name": "x", "memory": mem, "codec": "rar"}),
            (400, {"name": "x", "memory": mem, "labels": {"a": 1}}),
            (400, {"name": "x", "memory": mem, "attach": [mem]}),
            (400, {"name": "x", "memory": mem, "colour": "red"}),
            (400, {"name": "x", "memory": mem, "attach": {"pages": mem}}),
            (403, {"name": "x", "memory": str(place / "outside")}),
            (403, {"name": "x", "memory": str(imports / "way-out")}),
            (403, {"name": "x", "memory": f"{imports}/../outside"}),
            (403, {"name": "x", "memory": mem,
                   "attach": {"a": str(place / "outside")}}),
            (404, {"name": "x", "memory": str(imports / "none")}),
            (404, {"name": "x", "memory": mem, "base": "none"}),
            (409, {"name": "guest", "memory": mem})):
        answer = publish(daemon, status, **body)
        assert set(answer) == {"error"}, body
    assert daemon.request("DELETE", "/v1/snapshots/guest?when_unused=x")[0] \
        == 400
    assert daemon.request("DELETE", "/v1/snapshots/%0a")[0] == 400
    assert os.listdir(store.path / "snapshots") == ["guest"]


def test_who_uses_it_is_told(start, attach, store, place):
    daemon = start()
    session, vmm = attach(daemon)
    assert vmm.ask("page", 0) == sha256(store.images["guest"][:PAGE])
    for query in "", "?when_unused=1":
        status, answer = delete(daemon, "guest", query)
        assert status == 409 and answer["error"]["code"] == "in_use"
        assert f"session {session}" in answer["error"]["message"]
    vmm.kill()
    while daemon.get("/v1/sessions")["sessions"]:
        pass
    with Mount(store.path, place / "mnt") as mnt:
        with open(mnt.memory(), "rb") as f:
            status, answer = delete(daemon, "guest")
            assert status == 409
            assert f"(process {mnt.process.pid})" in \
                answer["error"]["message"]
            assert delete(daemon, "guest", "?when_unused=1") == \
                (202, {"name": "guest", "state": "in_use"})
            assert os.listdir(mnt.snapshots) == []
            assert f.read() == store.images["guest"]
    assert os.listdir(store.path / "removed") == []


# PITFALLS 46
def test_publishing_from_the_daemon_s_own_mount(start, store, place,
                                                   mnt):  # noqa: F811
    """It reads through its mount what it writes to its store."""
    image = store.images["guest"]
    daemon = start("--mount", mnt, "--import", place, "--cache", "4M")
    for n in range(5):
        publish(daemon, name=f"copy {n}",
                memory=f"{mnt}/snapshots/guest/memory",
                attach={"again": f"{mnt}/snapshots/guest/pages"})
        assert (mnt / f"snapshots/copy {n}/memory").read_bytes() == image
    assert (mnt / "snapshots/copy 4/again").read_bytes() == \
        (mnt / "snapshots/guest/pages").read_bytes()
    assert daemon.stop() == 0


@pytest.mark.skipif(not INJECT, reason="a build without fault injection")
def test_the_daemon_ends_while_it_publishes(start, store, imports):
    (imports / "mem").write_bytes(os.urandom(4000 * PAGE))
    daemon = start("--import", imports,
                   env={"PAGER_INJECT": "pack-write:slow=200+"})
    answers = []

    def ask():
        # The daemon may be gone before it has told.
        with contextlib.suppress(http.client.HTTPException, OSError):
            answers.append(daemon.request(
                "POST", "/v1/snapshots",
                {"name": "slow", "memory": str(imports / "mem")}))

    asker = threading.Thread(target=ask)
    asker.start()
    while not os.listdir(store.path / "tmp"):
        assert daemon.process.poll() is None
    assert daemon.stop(signal.SIGTERM) == 0
    asker.join()
    assert all(status == 503 for status, _ in answers), answers
    assert os.listdir(store.path / "snapshots") == ["guest"]
