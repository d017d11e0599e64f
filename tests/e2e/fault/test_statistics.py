"""What an operator sees of one session: faults by kind and by source, their
latencies, the time that the guest was blocked, pages by state.
"""
import base64

from conftest import PAGE

SOURCES = ["cache", "disk", "zero", "overlay", "removed"]


def show(daemon, identity):
    return daemon.get(f"/v1/sessions/{identity}")


def settled(daemon, identity, faults):
    """The figures once so many faults are off the books: a guest runs on a
    little before its fault is."""
    while True:
        session = show(daemon, identity)
        if session["counters"]["resolved"] == faults:
            return session


def touched(daemon, attach):
    """A session with one fault of each source, and its figures."""
    overlay = base64.b64encode(b"private").decode()
    identity, vmm = attach(
        daemon, record=False, prefetch=False,
        overlays=[{"offset": 6 * PAGE + 1, "data_base64": overlay}])
    vmm.ask("page", 0)      # from the disk
    vmm.ask("write", 1)     # zero
    vmm.ask("page", 6)      # overlay
    vmm.ask("discard", 0)
    vmm.ask("page", 0)      # given back
    return identity, vmm


def test_faults_are_told_by_kind_and_source(start, attach):
    daemon = start()
    identity, vmm = touched(daemon, attach)
    session = settled(daemon, identity, 4)
    counters = session["counters"]
    assert counters["faults"] == 4
    assert counters["faults_read"] == 3
    assert counters["faults_write"] == 1
    assert counters["faults_missing"] == 3
    assert counters["faults_removed"] == 1
    assert counters["faults_spurious"] == counters["faults_unserved"] == 0
    assert list(session["sources"]) == SOURCES
    by_source = {name: of["faults"]
                 for name, of in session["sources"].items()}
    assert by_source == {"cache": 0, "disk": 1, "zero": 1, "overlay": 1,
                         "removed": 1}
    assert {name: counters[f"source_{name}"] for name in SOURCES} == by_source
    for name, of in session["sources"].items():
        assert (of["p50_us"] > 0 or name != "disk")
        assert of["p50_us"] <= of["p99_us"] <= of["p999_us"]
    assert session["blocked_us"] >= session["sources"]["disk"]["p50_us"] // 2
    assert session["oldest_fault_us"] == session["outstanding"] == 0
    # A block that another one brought is in the cache.
    second, other = attach(daemon, record=False, prefetch=False)
    other.ask("page", 0)
    session = settled(daemon, second, 1)
    assert session["sources"]["cache"]["faults"] == 1


def test_pages_are_told_by_state(start, attach, store):
    daemon = start()
    identity, _ = touched(daemon, attach)
    session = settled(daemon, identity, 4)
    assert session["pages_total"] == len(store.images["guest"]) // PAGE
    assert session["pages_removed"] == 1
    assert session["pages_poisoned"] == 0
    assert session["pages_absent"] == (session["pages_total"] -
                                       session["pages_present"] - 1)


def test_a_waiting_fault_has_an_age(start, attach):
    daemon = start(env={"PAGER_INJECT": "pack-read:slow=600000@4+"})
    identity, vmm = attach(daemon, record=False, prefetch=False)
    for page in range(0, 96, 3):
        vmm.say("page", page)
    session = show(daemon, identity)
    while session["oldest_fault_us"] < 10000:
        session = show(daemon, identity)
    assert session["outstanding"] == 1
    assert session["blocked_us"] >= 10000
    vmm.kill()


def test_people_are_shown_all_of_it(start, attach, store):
    daemon = start()
    identity, _ = touched(daemon, attach)
    settled(daemon, identity, 4)
    said = store.ctl("--runtime", daemon.runtime, "session", "show",
                     identity).stdout
    titles = [line for line in said.splitlines()
              if line and not line.startswith(" ")]
    assert titles == ["session", "pages", "faults", "now", "latency"]
    rows = {line.split()[0]: line.split() for line in said.splitlines()}
    assert rows["overlay"][1] == "1"
    assert rows["disk"][1] == "1"
    assert said.splitlines()[-1].split()[:2] == ["all", "4"]
    assert "by a write" in said
    assert max(map(len, said.splitlines())) <= 80


def test_metrics_tell_latencies_by_source(start, attach):
    daemon = start()
    identity, _ = touched(daemon, attach)
    settled(daemon, identity, 4)
    lines = daemon.get("/metrics").splitlines()
    for source in SOURCES:
        assert f'pagerd_session_source_{source}_total ' in "\n".join(lines)
    found = [line for line in lines if line.startswith(
        'pagerd_fault_source_p99_seconds{source="disk"}')]
    assert len(found) == 1 and float(found[0].split()[1]) > 0
