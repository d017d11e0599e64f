"""pagerctl diff and map on real stores, beside a daemon and without one."""
import collections
import contextlib
import fcntl
import json
import os
import pty
import random
import re
import struct
import subprocess
import termios
import xml.etree.ElementTree as ET

import pytest

from conftest import DEADLINE, PAGE, PAGERCTL, make_image

SVG = "{http://www.w3.org/2000/svg}"


def pages_of(image):
    return [image[i:i + PAGE].ljust(PAGE, b"\0")
            for i in range(0, len(image), PAGE)]


def publish(store, name, image, **files):
    """Files by key; a base by `base`."""
    options = []
    if "base" in files:
        options += ["--base", files.pop("base")]
    for key, data in files.items():
        path = store.path.parent / key
        path.write_bytes(data)
        options += (["--vmstate", path] if key == "vmstate" else
                    ["--attach", f"{key}={path}"])
    path = store.path.parent / "image"
    path.write_bytes(image)
    store.ctl("publish", name, "--memory", path, *options)
    store.images[name] = image


def diff(store, a, b):
    return json.loads(store.ctl("diff", a, b, "--json").stdout)


def expected_changes(a, b):
    """{page: change} by comparing the bytes."""
    zero, changes = bytes(PAGE), {}
    a, b = pages_of(a), pages_of(b)
    for n in range(max(len(a), len(b))):
        if n >= len(b):
            changes[n] = "only-a"
        elif n >= len(a):
            changes[n] = "only-b"
        elif a[n] != b[n]:
            changes[n] = ("from-zero" if a[n] == zero else
                          "to-zero" if b[n] == zero else "changed")
    return changes


def told_changes(document, file="memory"):
    changes = {}
    for run in document["runs"]:
        if run["file"] == file:
            for n in range(run["first"], run["first"] + run["count"]):
                assert n not in changes
                changes[n] = run["change"]
    return changes


def scattered(image, count, seed):
    rng = random.Random(seed)
    pages = pages_of(image)
    for n in rng.sample(range(len(pages)), count):
        pages[n] = rng.choice([bytes(PAGE), rng.randbytes(PAGE)])
    return b"".join(pages)


BASE = make_image(513 * 3, seed=3)
PAIRS = {
    "equal": (BASE, BASE),
    "one-page": (make_image(1), b"\1" * PAGE),
    "one-byte": (b"x", b"y"),
    "last-partial-page": (BASE + b"tail", BASE + b"tale"),
    "partial-against-whole": (BASE + b"tail", BASE + b"tail".ljust(PAGE,
                                                                  b"\0")),
    "longer": (BASE, BASE + make_image(2000, seed=5)),
    "shorter": (BASE + make_image(2000, seed=5), BASE[:100 * PAGE + 7]),
    "to-zero": (BASE, bytes(len(BASE))),
    "all-zero": (bytes(len(BASE)), bytes(len(BASE) + 1)),
    "scattered": (BASE, scattered(BASE, 300, 1)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_told_is_what_differs_byte_for_byte(store, pair):
    a, b = PAIRS[pair]
    publish(store, "a", a)
    publish(store, "b", b, base="a")
    document = diff(store, "a", "b")
    changes = expected_changes(a, b)
    assert told_changes(document) == changes
    memory = document["files"][0]
    assert memory["key"] == "memory"
    assert (memory["size_a"], memory["size_b"]) == (len(a), len(b))
    assert memory["differing_pages"] == len(changes)
    assert memory["differing_runs"] == len(document["runs"])
    assert document["same"] == (a == b)
    assert memory["verdict"] == ("same" if a == b else "differs")
    # The same the other way round.
    swap = {"only-a": "only-b", "only-b": "only-a", "changed": "changed",
            "to-zero": "from-zero", "from-zero": "to-zero"}
    assert told_changes(diff(store, "b", "a")) == {
        n: swap[change] for n, change in changes.items()}


def test_ten_thousand_scattered_pages(store):
    pages = 40_000
    a = b"".join(n.to_bytes(8, "little") * 512 for n in range(pages))
    b = bytearray(a)
    for n in random.Random(7).sample(range(pages), 10_000):
        b[n * PAGE + n % PAGE] ^= 0x80
    publish(store, "a", a)
    publish(store, "b", bytes(b))
    changes = told_changes(diff(store, "a", "b"))
    assert changes == expected_changes(a, bytes(b))
    assert len(changes) == 10_000


def test_attached_files_are_compared(store):
    publish(store, "a", BASE, vmstate=b"state", empty=b"", mine=b"m",
            grown=b"")
    publish(store, "b", BASE, vmstate=b"stats", empty=b"", yours=b"",
            grown=b"now")
    document = diff(store, "a", "b")
    assert not document["same"]
    assert [(f["key"], f["verdict"]) for f in document["files"]] == [
        ("memory", "same"), ("empty", "same"), ("grown", "differs"),
        ("mine", "only-a"), ("vmstate", "differs"), ("yours", "only-b")]
    assert told_changes(document, "vmstate") == {0: "changed"}
    assert told_changes(document, "grown") == {0: "only-b"}
    text = store.ctl("diff", "a", "b").stdout.splitlines()
    assert text[0].split() == ["FILE", "FIRST", "PAGE", "PAGES", "CHANGE"]
    assert ["vmstate", "0", "1", "changed"] in [t.split() for t in text]
    assert "memory: same" in text
    assert "mine: only in a" in text and "yours: only in b" in text
    assert ("grown: 1 of 1 pages differ (4.0 KiB), in 1 run; "
            "0 and 3 bytes") in text
    assert store.ctl("diff", "a", "b", "--quiet").stdout.split() == [
        "grown", "mine", "vmstate", "yours"]
    assert store.ctl("diff", "a", "a", "--quiet").stdout == ""


def refused(store, status, *arguments):
    result = store.ctl(*arguments, check=False)
    assert result.returncode == status, result.stderr
    assert re.fullmatch(r"pagerctl: [^\n]+\n", result.stderr)
    return result


def test_exit_statuses(store):
    for command in (["diff", "guest", "gone"], ["diff", "gone", "guest"],
                    ["map", "gone"]):
        assert "no snapshot 'gone'" in refused(store, 3, *command).stderr
    refused(store, 2, "diff", "guest")
    refused(store, 2, "map", "guest", "--json", "--svg", "-")
    assert store.ctl("diff", "guest", "guest").returncode == 0
    result = refused(store, 3, "map", "guest", "--svg", store.path / "no/such")
    assert "No such file" in result.stderr


def damage_packs(store, since):
    """Every slot of the packs that are not in `since`; nodes among them."""
    for pack in store.path.glob("packs/*.pack"):
        if pack.name in since:
            continue
        pack.chmod(0o600)
        with open(pack, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            (table,) = struct.unpack_from("<Q", pack.read_bytes(),
                                          size - 80 + 24)
            file.seek(64)
            file.write(b"\xa5" * (table - 64))


def test_a_damaged_node_is_told_with_status_5(store):
    publish(store, "a", BASE)
    good = {pack.name for pack in store.path.glob("packs/*.pack")}
    publish(store, "b", scattered(BASE, 5, 2))
    damage_packs(store, good)
    for options in ([], ["--json"]):
        result = refused(store, 5, "diff", "a", "b", *options)
        assert "diff: memory: " in result.stderr
        assert result.stdout == ""
    refused(store, 5, "map", "b")
    # The map of a whole one is drawn, and who could not be asked is told.
    result = refused(store, 5, "map", "a", "--json")
    assert "pagerctl: b: " in result.stderr
    assert json.loads(result.stdout)["compared_with"] == 1


def test_a_missing_pack_is_damage(store):
    publish(store, "a", BASE)
    good = {pack.name for pack in store.path.glob("packs/*.pack")}
    publish(store, "b", scattered(BASE, 5, 2))
    for pack in store.path.glob("packs/*.pack"):
        if pack.name not in good:
            pack.unlink()
    refused(store, 5, "diff", "a", "b")
    refused(store, 5, "map", "b")


def classes_of(store, name):
    """[class of each page] by the bytes of all images and files."""
    zero = bytes(PAGE)
    elsewhere = {p for other, image in store.images.items() if other != name
                 for p in pages_of(image)}
    pages = pages_of(store.images[name])
    counts = collections.Counter(pages)
    return ["zero" if p == zero else "others" if p in elsewhere else
            "within" if counts[p] > 1 else "own" for p in pages]


def told_classes(document):
    classes = []
    for run in document["runs"]:
        assert run["first"] == len(classes)
        classes += [run["class"]] * run["count"]
    return classes


def draw(store, name):
    return json.loads(store.ctl("map", name, "--json").stdout)


def test_the_map_has_each_pages_class(store):
    rng = random.Random(4)
    shared = [rng.randbytes(PAGE) for _ in range(50)]
    mine = [rng.randbytes(PAGE) for _ in range(50)]
    image = b"".join(rng.choice([bytes(PAGE), rng.choice(shared),
                                 rng.choice(mine), rng.randbytes(PAGE)])
                     for _ in range(2000)) + b"partial"
    publish(store, "a", image)
    publish(store, "b", b"".join(shared[:20]))
    publish(store, "c", bytes(PAGE), extra=b"".join(shared[20:40]))
    store.images["c"] += b"".join(shared[20:40])
    document = draw(store, "a")
    expected = classes_of(store, "a")
    assert told_classes(document) == expected
    for name in ("zero", "own", "within", "others"):
        count = expected.count(name)
        assert document[name] == {"pages": count, "bytes": count * PAGE}
    assert document["working_set"] is None
    assert document["compared_with"] == 3


@pytest.mark.parametrize("image", [b"x", bytes(PAGE), bytes(5 * PAGE + 1),
                                   make_image(1), make_image(65)],
                         ids=["one-byte", "a-zero-page", "zeros", "a-page",
                              "65-pages"])
def test_small_images_are_drawn(store, image):
    publish(store, "small", image)
    pages = -(-len(image) // PAGE)
    assert told_classes(draw(store, "small")) == classes_of(store, "small")
    text = store.ctl("map", "small").stdout
    assert f"{pages} page" in text and "a character is 1 page (" in text
    cells = "".join(re.findall(r"\|(.*)\|", text))
    chars = {"zero": ".", "own": "o", "within": "w", "others": "s"}
    assert cells == "".join(chars[c] for c in classes_of(store, "small"))


def on_terminal(arguments, env):
    """What it writes to a terminal of 80 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
    child = subprocess.Popen([PAGERCTL, *arguments], stdout=slave,
                             env={**os.environ, "TERM": "xterm", **env})
    os.close(slave)
    out = b""
    with contextlib.suppress(OSError):  # EIO once the other side is closed
        while chunk := os.read(master, 65536):
            out += chunk
    os.close(master)
    assert child.wait(DEADLINE) == 0
    return out.decode().replace("\r\n", "\n")


def test_colour_is_for_terminals_and_the_picture_fits_them(store):
    publish(store, "big", make_image(30_000, seed=9))
    plain = store.ctl("map", "big").stdout
    arguments = ["--store", store.path, "map", "big"]
    colour = on_terminal(arguments, {"NO_COLOR": ""})
    assert "\033[" in colour and "\033" not in plain
    assert re.sub(r"\033\[[0-9;]*m", "", colour) == plain
    assert on_terminal(arguments, {"NO_COLOR": "1"}) == plain
    assert on_terminal(arguments, {"TERM": "dumb"}) == plain
    lines = plain.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 40


def test_the_svg_is_well_formed_and_has_the_same_counts(place, store):
    publish(store, "<&>\"'", make_image(3000, seed=9))
    store.ctl("map", "<&>\"'", "--svg", place / "map.svg")
    root = ET.parse(place / "map.svg").getroot()
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert any(t.startswith("<&>\"'") for t in texts)
    document = draw(store, "<&>\"'")
    for name in ("zero", "own", "within", "others"):
        assert any(t.startswith(f"{document[name]['pages']} page")
                   for t in texts)
    out = store.ctl("map", "<&>\"'", "--svg", "-").stdout
    assert out == (place / "map.svg").read_text()


def test_with_a_daemon_and_a_working_set(store, start, attach):
    publish(store, "other", store.images["guest"][:PAGE])
    daemon = start()
    _, vmm = attach(daemon, record=True)
    touched = [3, 4, 5, 40, 95]
    for n in touched:
        vmm.ask("page", n)
    daemon.wait_log("working set recorded")
    document = draw(store, "guest")
    assert document["working_set"]["pages"] == len(touched)
    in_set = [n for run in document["runs"] if run["working_set"]
              for n in range(run["first"], run["first"] + run["count"])]
    assert in_set == touched
    assert told_classes(document) == classes_of(store, "guest")
    text = store.ctl("map", "guest").stdout
    cells = "".join(re.findall(r"\|(.*)\|", text))
    assert [n for n, c in enumerate(cells) if c in ":OWS"] == touched
    assert diff(store, "guest", "other")["files"][0]["size_b"] == PAGE
