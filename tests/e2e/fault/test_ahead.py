"""Working sets, overlays and completion, as users have them: by pagerctl and
the API, over daemons' deaths, with memory compared whole.
"""
import base64
import signal
import subprocess

import pytest

from conftest import PAGE, Vmm, make_image, sha256

# Of the snapshot "guest", whose every third page is zero.
TOUCHED = [7, 3, 21, 4, 0, 60, 61, 90]
RECORD = ("--record-pages", str(len(TOUCHED)))


@pytest.fixture
def restore(store):
    """restore(daemon, *OPTIONS): (id, VMM), by `pagerctl session create`."""
    vmms = []

    def run(daemon, *options, name="guest"):
        path = store.ctl("--runtime", daemon.runtime, "session", "create",
                         name, *options).stdout.strip()
        vmms.append(Vmm(path, len(store.images[name])))
        return path.rpartition("/")[2].removesuffix(".sock"), vmms[-1]

    yield run
    for vmm in vmms:
        if vmm.process.poll() is None:
            vmm.kill()


def show(daemon, identity):
    return daemon.get(f"/v1/sessions/{identity}")


def count(daemon, identity, counter):
    return show(daemon, identity)["counters"][counter]


def prefetched(daemon, identity):
    """Waits for the end of it; how many pages it has brought."""
    session = show(daemon, identity)
    while session["working_set_pages"] and not session["prefetch_us"]:
        session = show(daemon, identity)
    assert not session["prefetching"]
    return session["counters"]["pages_prefetched"]


def recorded(daemon, restore, touched=TOUCHED, name="guest"):
    """A first restore touches its pages, and one more."""
    identity, vmm = restore(daemon, name=name)
    for page in [*touched, 93]:
        vmm.ask("page", page)
    daemon.wait_log(f"working set recorded snapshot={name}")
    return identity, vmm


def test_the_second_restore_has_what_the_first_one_touched(
        start, restore, store):
    daemon = start(*RECORD)
    first, _ = recorded(daemon, restore)
    assert count(daemon, first, "pages_prefetched") == 0
    identity, vmm = restore(daemon)
    assert prefetched(daemon, identity) >= len(TOUCHED)
    session = show(daemon, identity)
    assert session["working_set_pages"] == len(TOUCHED)
    assert session["prefetch_us"] > 0
    for page in TOUCHED:
        vmm.ask("page", page)
    assert count(daemon, identity, "faults") == 0
    assert vmm.ask("all") == sha256(store.images["guest"])


def test_a_working_set_outlives_its_daemon(start, restore, store):
    daemon = start(*RECORD)
    recorded(daemon, restore)
    daemon.stop(signal.SIGKILL)
    daemon = start(*RECORD)
    identity, vmm = restore(daemon)
    assert prefetched(daemon, identity) >= len(TOUCHED)
    assert vmm.ask("all") == sha256(store.images["guest"])


def test_no_prefetch(start, restore, store):
    daemon = start(*RECORD)
    recorded(daemon, restore)
    identity, vmm = restore(daemon, "--no-prefetch")
    assert vmm.ask("all") == sha256(store.images["guest"])
    session = show(daemon, identity)
    assert session["counters"]["pages_prefetched"] == 0
    assert session["working_set_pages"] == 0
    assert not session["prefetching"]
    assert session["faults"] > len(TOUCHED)


def test_record_begins_anew(start, restore):
    daemon = start(*RECORD)
    recorded(daemon, restore)
    identity, vmm = restore(daemon, "--record")
    for page in [93, *range(30, 30 + len(TOUCHED))]:
        vmm.ask("page", page)
    daemon.wait_log("working set recorded", times=2)
    assert count(daemon, identity, "pages_prefetched") == 0
    # What was touched now is in, in the place of what was not.
    identity, vmm = restore(daemon)
    prefetched(daemon, identity)
    vmm.ask("page", 93)
    assert count(daemon, identity, "faults") == 0
    vmm.ask("page", 60)
    assert count(daemon, identity, "faults") == 1


def test_a_childs_restore_is_served_by_its_parents_set(
        place, start, restore, store):
    image = bytearray(store.images["guest"])
    image[7 * PAGE:8 * PAGE] = b"y" * PAGE
    (place / "child").write_bytes(image)
    store.ctl("publish", "child", "--memory", place / "child", "--base",
              "guest")
    store.images["child"] = bytes(image)
    daemon = start(*RECORD)
    recorded(daemon, restore)
    identity, vmm = restore(daemon, name="child")
    assert prefetched(daemon, identity) >= len(TOUCHED) - 1
    assert show(daemon, identity)["working_set_pages"] == len(TOUCHED) - 1
    for page in TOUCHED[1:]:
        vmm.ask("page", page)
    assert count(daemon, identity, "faults") == 0
    assert vmm.ask("page", 7) == sha256(b"y" * PAGE)
    assert vmm.ask("all") == sha256(store.images["child"])


# Of the image's 96 pages: over two borders, unaligned; a zero page's middle;
# a whole page; the last byte.
PIECES = {7 * PAGE - 3: b"\x07" * (PAGE + 5), 31 * PAGE + 100: b"in zeros",
          40 * PAGE: b"\x40" * PAGE, 96 * PAGE - 1: b"!"}


def overlaid(image):
    image = bytearray(image)
    for offset, data in PIECES.items():
        image[offset:offset + len(data)] = data
    return bytes(image)


def overlay_options(place):
    for number, (offset, data) in enumerate(PIECES.items()):
        path = place / f"piece{number}"
        path.write_bytes(data)
        yield f"--overlay={offset}={path}"


@pytest.mark.parametrize("prefetch", [False, True])
def test_overlays_from_files(place, start, restore, store, prefetch):
    daemon = start(*RECORD, "--import", str(place))
    recorded(daemon, restore, [6, 7, 31, 95, 4, 0, 40, 8])
    options = [*overlay_options(place)]
    if not prefetch:
        options.append("--no-prefetch")
    identity, vmm = restore(daemon, *options)
    assert (prefetched(daemon, identity) > 0) == prefetch
    expected = overlaid(store.images["guest"])
    assert vmm.ask("all") == sha256(expected)
    # Another session of the snapshot has none of it.
    _, other = restore(daemon)
    assert other.ask("all") == sha256(store.images["guest"])
    out = place / "out"
    store.ctl("export", "guest", "--memory", out)
    assert out.read_bytes() == store.images["guest"]
    assert "damaged" not in store.ctl("verify", check=False).stdout


def test_overlays_outlive_a_kill_of_the_daemon(start, attach, store):
    """From the request's own bytes; the pages are touched on both sides."""
    daemon = start()
    identity, vmm = attach(daemon, overlays=[
        {"offset": offset, "data_base64": base64.b64encode(data).decode()}
        for offset, data in PIECES.items()])
    expected = overlaid(store.images["guest"])
    for page in (6, 31):
        assert vmm.ask("page", page) == sha256(
            expected[page * PAGE:(page + 1) * PAGE])
    daemon.stop(signal.SIGKILL)
    daemon = start()
    assert vmm.ask("all") == sha256(expected)
    assert count(daemon, identity, "source_overlay") >= 3


def test_overlays_that_cannot_be(start, store):
    daemon = start()

    def refused(*overlays):
        status, answer = daemon.request(
            "POST", "/v1/sessions", {"snapshot": "guest",
                                     "overlays": list(overlays)})
        assert status == 400
        return answer["error"]["message"]

    size = len(store.images["guest"])
    refused({"offset": size, "data_base64": "eA=="})
    refused({"offset": 2 ** 64 - 1, "data_base64": "eA=="})
    refused({"offset": -1, "data_base64": "eA=="})
    refused({"offset": 0, "data_base64": "?"})
    refused({"offset": 0})
    refused({"offset": 0, "data_base64": "eHg="},
            {"offset": 1, "data_base64": "eA=="})
    assert daemon.get("/v1/sessions")["sessions"] == []


def test_a_completed_vm_needs_no_daemon(start, restore, store):
    daemon = start()
    identity, vmm = restore(daemon)
    expected = bytearray(store.images["guest"])
    vmm.ask("write", 3)
    expected[3 * PAGE] = 0
    for page in (5, 6):
        vmm.ask("discard", page)
        expected[page * PAGE:(page + 1) * PAGE] = bytes(PAGE)
    store.ctl("--runtime", daemon.runtime, "session", "complete", identity)
    line = daemon.wait_log("session over")
    assert "completed" in line and "failures=0" in line
    assert daemon.get("/v1/sessions")["sessions"] == []
    assert daemon.get("/v1/stats")["sessions_ended"]["completed"] == 1
    # Given back once nobody listens any more, and it has not to wait.
    vmm.ask("discard", 9)
    expected[9 * PAGE:10 * PAGE] = bytes(PAGE)
    daemon.stop(signal.SIGKILL)
    assert vmm.ask("all") == sha256(bytes(expected))


def test_completion_sees_overlays(start, attach, store):
    daemon = start()
    identity, vmm = attach(daemon, overlays=[
        {"offset": offset, "data_base64": base64.b64encode(data).decode()}
        for offset, data in PIECES.items()])
    daemon.wait_log("a VM is served")
    assert daemon.request(
        "POST", f"/v1/sessions/{identity}/complete")[0] == 200
    daemon.stop(signal.SIGKILL)
    assert vmm.ask("all") == sha256(overlaid(store.images["guest"]))


def test_completion_comes_by_itself(start, restore, store):
    daemon = start("--complete-after", "1", "--complete-parallel", "1",
                   "--complete-rate", "64M")
    vmms = [restore(daemon)[1] for _ in range(3)]
    daemon.wait_log("session over: completed", times=3)
    daemon.stop(signal.SIGKILL)
    for vmm in vmms:
        assert vmm.ask("all") == sha256(store.images["guest"])


def test_a_completion_that_is_cut_off_loses_nothing(start, restore, store):
    """At 64 KiB a second it takes its time, which the daemon has not."""
    daemon = start("--complete-after", "1", "--complete-rate", "65536")
    identity, vmm = restore(daemon)
    while not show(daemon, identity)["completing"]:
        pass
    while count(daemon, identity, "pages_completed") == 0:
        pass
    # Faults are answered meanwhile, and not at that rate.
    assert vmm.ask("page", 94) == sha256(store.images["guest"][94 * PAGE:
                                                               95 * PAGE])
    assert show(daemon, identity)["completing"]
    daemon.stop(signal.SIGKILL)
    daemon = start()
    session = show(daemon, identity)
    assert session["state"] == "serving"
    assert session["pages_absent"] > 0
    assert vmm.ask("all") == sha256(store.images["guest"])
    store.ctl("--runtime", daemon.runtime, "session", "complete", identity)
    daemon.stop(signal.SIGKILL)
    assert vmm.ask("all") == sha256(store.images["guest"])


def test_what_cannot_be_completed(start, restore, store):
    daemon = start()

    def complete(identity):
        return store.ctl("--runtime", daemon.runtime, "session", "complete",
                         identity, check=False)

    assert complete("nobody").returncode == 3
    waiting = daemon.create("guest")["id"]
    said = complete(waiting)
    assert said.returncode != 0
    assert "no VM has connected" in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_a_large_image_is_prefetched_while_it_is_read(
        place, start, restore, store):
    """Faults and prefetch at the same time, on cold blocks."""
    image = make_image(4096, seed=5)
    store.publish("large", image)
    daemon = start()
    _, vmm = restore(daemon, name="large")
    assert vmm.ask("all") == sha256(image)
    vmm.kill()
    # One that did not live for long would be no example.
    identity, vmm = restore(daemon, "--record", name="large")
    vmm.ask("all")
    subprocess.run(["sleep", "0.6"], check=True)
    vmm.kill()
    daemon.wait_log("working set recorded snapshot=large")
    for _ in range(3):
        store.ctl("--runtime", daemon.runtime, "cache", "evict", "--all")
        identity, vmm = restore(daemon, name="large")
        assert vmm.ask("all") == sha256(image)
        assert prefetched(daemon, identity) > 0
        vmm.kill()
