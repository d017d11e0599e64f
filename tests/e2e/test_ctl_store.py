"""pagerctl as its user sees it: real files, pipes, terminals and signals."""
import concurrent.futures
import json
import os
import pathlib
import pty
import re
import signal
import subprocess

import pytest

from conftest import BUILD, DEADLINE, PAGE, PAGERCTL, make_image

BASH = BUILD / "pagerd" / "ctl" / "pagerctl.bash"


def run(*arguments, **keys):
    return subprocess.run([PAGERCTL, *arguments], timeout=DEADLINE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **keys)


def assert_fails(result, status, *words):
    """That status, nothing on stdout, one line with the words on stderr."""
    line = result.stderr if isinstance(result.stderr, str) else (
        result.stderr.decode())
    assert result.returncode == status, line
    assert not result.stdout
    assert re.fullmatch(r"pagerctl: [^\n]+\n", line), line
    for word in words:
        assert word in line


def names(store):
    return store.ctl("list", "--quiet").stdout.split()


IMAGES = {
    "one-byte": b"x",
    "page-less-one": make_image(1)[:-1],
    "page": make_image(1),
    "page-and-one": make_image(1) + b"\0",
    "last-byte-differs": bytes(3 * PAGE - 1) + b"\1",
    "all-zero": bytes(700 * PAGE),
    "all-ff": b"\xff" * (3 * PAGE),
    "a-node-and-more": make_image(513 * 3, seed=3) + b"tail",
}


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
def test_what_was_published_is_exported(place, store, codec):
    for name, image in IMAGES.items():
        (place / "in").write_bytes(image)
        store.ctl("publish", name, "--codec", codec, "--memory", place / "in",
                  "--vmstate", place / "in", "--attach", f"k={place}/in")
        store.ctl("export", name, "--memory", place / "out", "--vmstate",
                  place / "state")
        assert (place / "out").read_bytes() == image
        assert (place / "state").read_bytes() == image
        shown = json.loads(store.ctl("show", name, "--json").stdout)
        assert shown["size"] == len(image)
        assert shown["pages"] == -(-len(image) // PAGE)
        assert {f["key"] for f in shown["files"]} == {"k", "vmstate"}


def test_a_pipe_is_published_and_a_pipe_exported(store):
    image = IMAGES["a-node-and-more"]
    piped = run("--store", store.path, "publish", "p", "--memory", "-",
                "--json", input=image)
    assert piped.returncode == 0, piped.stderr
    out = run("--store", store.path, "export", "p", "--memory", "-")
    assert out.returncode == 0
    assert out.stdout == image
    assert out.stderr == b""


def test_a_sparse_image_stays_sparse(place, store):
    size = 5 << 30
    with open(place / "in", "wb") as file:
        file.truncate(size)
        file.seek(size - 3)
        file.write(b"end")
        file.seek(3 << 30)
        file.write(b"middle")
    result = json.loads(store.ctl("publish", "s", "--json", "--memory",
                                  place / "in").stdout)
    assert result["zero_pages"] == size // PAGE - 2
    store.ctl("export", "s", "--memory", place / "out")
    assert (place / "out").stat().st_size == size
    assert (place / "out").stat().st_blocks * 512 < 1 << 20
    with open(place / "out", "rb") as file:
        file.seek(3 << 30)
        assert file.read(8) == b"middle\0\0"
        file.seek(-5, os.SEEK_END)
        assert file.read() == b"\0\0end"


def test_an_image_that_is_there_takes_no_space(place, store):
    (place / "in").write_bytes(store.images["guest"])
    result = json.loads(store.ctl(
        "publish", "again", "--base", "guest", "--json", "--memory",
        place / "in").stdout)
    assert result["new_blocks"] == 0
    assert result["stored_bytes"] == 0
    assert result["shared_blocks"] > 0
    shown = json.loads(store.ctl("show", "again", "--json").stdout)
    assert shown["parent"] == "guest"


def test_bad_memory_files(place, store):
    (place / "empty").touch()
    before = names(store)
    for path, status in ((place / "none", 3), (place / "empty", 1),
                         (place, 1), ("/dev/null", 1)):
        result = store.ctl("publish", "x", "--memory", path, check=False)
        assert_fails(result, status, "publish")
    result = run("--store", store.path, "publish", "x", "--memory", "-",
                 input=b"")
    assert_fails(result, 1, "publish")
    assert names(store) == before


def test_a_bad_vmstate_publishes_nothing(place, store):
    (place / "in").write_bytes(make_image(8, seed=9))
    for option in ("--vmstate", "--attach"):
        value = f"{'k=' if option == '--attach' else ''}{place}/none"
        assert_fails(store.ctl("publish", "x", "--memory", place / "in",
                               option, value, check=False), 3)
    for key in ("memory", "vmstate", "../up", "manifest.json", "k"):
        result = store.ctl("publish", "x", "--memory", place / "in",
                           "--vmstate", place / "in", "--attach",
                           f"k={place}/in", "--attach", f"{key}={place}/in",
                           check=False)
        assert_fails(result, 1)
    assert names(store) == ["guest"]


def test_bad_names(place, store):
    (place / "in").write_bytes(b"x")
    for name in ("", ".", "..", "a/b", "/", "n" * 256, "n" * 300, "a\nb",
                 "\udcff"):  # the byte 0xff
        result = run("--store", store.path, "publish", name, "--memory",
                     place / "in")
        result.stderr = result.stderr.decode(errors="replace")
        assert_fails(result, 2, "--help")
    for name in ("n" * 255, "with space", "gr\u00fc\u00df", "-dash", "a=b"):
        store.ctl("publish", "--memory", place / "in", "--", name)
        assert name in store.ctl("list").stdout
        store.ctl("rm", "--", name)


def test_stores_that_are_none_or_damaged(place, store):
    (place / "other").mkdir()
    (place / "other" / "file").write_text("x")
    (place / "file").write_text("x")
    for command in (["list"], ["show", "guest"], ["rm", "guest"],
                    ["export", "guest", "--memory", place / "out"],
                    ["publish", "x", "--memory", place / "file"]):
        for path, status in ((place / "none", 3), (place / "other", 1),
                             (place / "file", 1)):
            assert_fails(run("--store", path, *command), status, str(path))
    assert_fails(run("init", "--store", place / "other"), 1)
    assert not (place / "none").exists() and not (place / "out").exists()

    superblock = store.path / "format"
    good = superblock.read_bytes()
    superblock.write_bytes(good[:20] + bytes([good[20] ^ 1]) + good[21:])
    assert_fails(store.ctl("list", check=False), 5)
    superblock.write_bytes(good)
    for pack in (store.path / "packs").iterdir():
        data = bytearray(pack.read_bytes())
        for at in range(64, len(data) // 2, 200):
            data[at] ^= 1
        pack.write_bytes(data)
    assert_fails(store.ctl("export", "guest", "--memory", place / "out",
                           check=False), 5)
    assert not (place / "out").exists()


def test_export_is_whole_or_not_at_all(place, store):
    out = place / "out"
    out.write_text("as before")
    assert_fails(store.ctl("export", "nobody", "--memory", out, check=False),
                 3)
    assert_fails(store.ctl("export", "guest", "--memory", out, "--vmstate",
                           place / "state", check=False), 3, "vmstate")
    assert out.read_text() == "as before"
    assert not (place / "state").exists()
    assert_fails(store.ctl("export", "guest", "--memory",
                           place / "none" / "x", check=False), 3)
    store.ctl("export", "guest", "--memory", out)
    assert out.read_bytes() == store.images["guest"]
    assert sorted(p.name for p in place.iterdir()) == ["out", "store"]


def test_one_of_two_publishers_of_a_name_wins(place, store):
    images = [make_image(600, seed=s) for s in (5, 6)]
    for i, image in enumerate(images):
        (place / f"in{i}").write_bytes(image)

    def publish(i):
        return store.ctl("publish", "race", "--memory", place / f"in{i}",
                         check=False)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = list(pool.map(publish, range(2)))
    winner = [r.returncode for r in results].index(0)
    assert_fails(results[1 - winner], 1, "another name")
    store.ctl("export", "race", "--memory", place / "out")
    assert (place / "out").read_bytes() == images[winner]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM,
                                    signal.SIGHUP])
def test_an_interrupted_publish_leaves_nothing(store, number):
    process = subprocess.Popen(
        [PAGERCTL, "--store", store.path, "publish", "x", "--memory", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A test in the background has inherited some of them ignored.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    # More than a pipe holds: when it is taken, the publish is under way.
    process.stdin.write(make_image(600))
    process.stdin.flush()
    process.send_signal(number)
    _, line = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + number
    assert line == (b"pagerctl: publish: cancelled, nothing was published\n")
    assert names(store) == ["guest"]


def test_a_reader_that_goes_away_is_no_drama(place, store):
    (place / "in").write_bytes(make_image(3000))
    store.ctl("publish", "big", "--memory", place / "in")
    process = subprocess.Popen(
        [PAGERCTL, "--store", store.path, "export", "big", "--memory", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(DEADLINE) == -signal.SIGPIPE
    process.stderr.close()


def on_terminal(*arguments):
    """What pagerctl prints on stderr where that is a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([PAGERCTL, *arguments], stderr=follower,
                               stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    os.close(follower)
    said = b""
    try:
        while piece := os.read(leader, 65536):
            said += piece
    except OSError:
        pass  # how a terminal says that nobody has it open any more
    os.close(leader)
    assert process.wait(DEADLINE) == 0
    return said


def test_progress_is_for_terminals(place, store):
    (place / "in").write_bytes(make_image(6000))
    publish = ["--store", store.path, "publish", "--memory", place / "in"]
    said = on_terminal(*publish, "a")
    assert re.search(rb"publish \[#*\.*\] +\d+ %", said)
    assert said.endswith(b"\r\x1b[K")
    assert on_terminal(*publish, "b", "--quiet") == b""
    assert run(*publish, "c").stderr == b""


def test_a_served_snapshot_is_in_use(place, store, start, attach):
    daemon = start()
    ctl = ["--runtime", daemon.runtime]
    session, vmm = attach(daemon)
    assert_fails(store.ctl("rm", "guest", check=False), 4, "guest")
    assert_fails(store.ctl(*ctl, "session", "close", session, check=False), 4)
    shown = json.loads(store.ctl(*ctl, "session", "show", session,
                                 "--json").stdout)
    assert {"id", "snapshot", "state", "vmm_pid", "faults", "pages_present",
            "pages_total", "oldest_fault_us", "blocked_us", "p50_us",
            "p99_us"} <= set(shown)
    assert shown["state"] == "serving"
    assert shown["vmm_pid"] == vmm.process.pid
    # Exporting beside a running daemon is no trouble.
    store.ctl("export", "guest", "--memory", place / "out")
    assert (place / "out").read_bytes() == store.images["guest"]
    vmm.kill()
    daemon.wait_log("session over")
    store.ctl("rm", "guest")
    assert names(store) == []


def test_sessions_by_hand(store, start):
    daemon = start()
    ctl = ["--runtime", daemon.runtime, "session"]
    path = store.ctl(*ctl, "create", "guest", "--id", "vm-1", "--policy",
                     "poison").stdout
    assert path == f"{daemon.runtime}/sessions/vm-1.sock\n"
    assert pathlib.Path(path.strip()).is_socket()
    made = json.loads(store.ctl(*ctl, "create", "guest", "--json").stdout)
    assert set(made) == {"id", "socket_path"}
    listed = store.ctl(*ctl, "list").stdout.splitlines()
    assert listed[0].split() == ["ID", "SNAPSHOT", "STATE", "PID", "PRESENT",
                                 "FAULTS"]
    assert [line.split()[0] for line in listed[1:]] == ["vm-1", made["id"]]
    assert_fails(store.ctl(*ctl, "create", "guest", "--id", "vm-1",
                           check=False), 1, "vm-1")
    assert_fails(store.ctl(*ctl, "create", "nobody", check=False), 3,
                 "nobody")
    assert_fails(store.ctl(*ctl, "create", "guest", "--id", "../x",
                           check=False), 1)
    assert_fails(store.ctl(*ctl, "show", "nobody", check=False), 3)
    store.ctl(*ctl, "close", "vm-1")
    assert_fails(store.ctl(*ctl, "close", "vm-1", check=False), 3)
    assert store.ctl(*ctl, "list", "--quiet").stdout == made["id"] + "\n"


def test_the_daemon_is_asked(place, store, start):
    absent = store.ctl("--runtime", place / "none", "health", check=False)
    assert_fails(absent, 1, "no daemon", str(place / "none"))
    daemon = start()
    ctl = ["--runtime", daemon.runtime]
    assert re.search(r"^status +ok$", store.ctl(*ctl, "health").stdout, re.M)
    stats = json.loads(store.ctl(*ctl, "stats", "--json").stdout)
    assert stats["sessions"] == 0
    assert stats["cache"]["limit"] > 0
    assert re.search(r"^cache\.limit +\d+$", store.ctl(*ctl, "stats").stdout,
                     re.M)


def complete(store, *words):
    """What bash would offer for the last of the words."""
    script = f"""
        PATH={PAGERCTL.parent}:$PATH; source {BASH}
        COMP_WORDS=(pagerctl "$@"); COMP_CWORD=$#
        _pagerctl; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    out = subprocess.run(["bash", "-uc", script, "bash", *words], check=True,
                         env={**os.environ, "PAGERD_STORE": store.path},
                         stdout=subprocess.PIPE, text=True)
    return out.stdout.split()


def test_bash_completes(place, store):
    (place / "in").write_bytes(b"x")
    store.ctl("publish", "gamma", "--memory", place / "in")
    assert complete(store, "pub") == ["publish"]
    assert complete(store, "session", "") == ["create", "list", "show",
                                              "close", "complete"]
    assert complete(store, "show", "g") == ["gamma", "guest"]
    assert complete(store, "rm", "gamma", "gu") == ["guest"]
    assert complete(store, "publish", "x", "--codec", "l") == ["lz4"]
    assert complete(store, "publish", "x", "--vm") == ["--vmstate"]
    assert complete(store, "--json", "session", "create", "ga") == ["gamma"]
    assert complete(store, "--js") == ["--json"]
    assert complete(store, "list", "--vm") == []


def test_manual_and_help_tell_the_same():
    manual = (BUILD / "pagerd" / "ctl" / "pagerctl.1").read_text()
    manual = manual.replace("\\-", "-")
    commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", run("--help").stdout
                          .decode().split("Options")[0], re.M)
    assert len(commands) >= 12
    for command in commands:
        told = run(*command.split(), "--help").stdout.decode()
        assert re.search(rf'^\.SS "{command}\b', manual, re.M)
        for option in re.findall(r"^  (--[a-z-]+)", told, re.M):
            assert f"\\fB{option}\\fR" in manual
