"""What the end-to-end tests stand on: the built programs, a store, daemons
and VMMs, all in a private folder, and nothing left running.

PAGER_BUILD names the build folder.
"""
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ["PAGER_BUILD"]).resolve()
PAGERD = BUILD / "pagerd" / "pagerd"
PAGERCTL = BUILD / "pagerd" / "ctl" / "pagerctl"
PAGE = 4096

# Nothing takes so long; it only ends a test that would hang.
DEADLINE = 60


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def make_image(pages, seed=1):
    """Pages of noise, of text and of zeros."""
    rng = random.Random(seed)
    kinds = [lambda: rng.randbytes(PAGE), lambda: bytes(PAGE),
             lambda: (b"%d " % rng.randrange(9)) * (PAGE // 2)]
    return b"".join(kinds[n % 3]() for n in range(pages))


class Store:
    """A store that pagerctl made."""

    def __init__(self, path):
        self.path = path
        self.images = {}
        self.ctl("init")

    def ctl(self, *arguments, check=True):
        return subprocess.run([PAGERCTL, "--store", self.path, *arguments],
                              check=check, text=True, timeout=DEADLINE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def publish(self, name, image):
        file = self.path.parent / "image"
        file.write_bytes(image)
        self.ctl("publish", name, "--memory", file)
        file.unlink()
        self.images[name] = image


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(self.path)


class Daemon:
    """A pagerd, its log and its control API."""

    def __init__(self, store, runtime, *options, env=None, command=(),
                 pass_fds=()):
        self.runtime = pathlib.Path(runtime)
        self.socket = self.runtime / "control.sock"
        self.log = []
        self.grown = threading.Condition()
        self.process = subprocess.Popen(
            [*command, PAGERD, "--store", store, "--runtime", runtime,
             *options],
            env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, pass_fds=pass_fds)
        self.reader = threading.Thread(target=self._read_log)
        self.reader.start()

    def _read_log(self):
        for line in self.process.stderr:
            with self.grown:
                self.log.append(line.rstrip("\n"))
                self.grown.notify_all()
        with self.grown:
            self.log.append(None)
            self.grown.notify_all()

    def wait_log(self, text, times=1):
        """The last of so many lines with `text`."""
        def found():
            lines = [ln for ln in self.log if ln is not None and text in ln]
            return lines[times - 1] if len(lines) >= times else (
                self.log[-1:] == [None])
        with self.grown:
            line = self.grown.wait_for(found, DEADLINE)
        assert isinstance(line, str), f"no '{text}' in {self.log}"
        return line

    def said_before_its_end(self, text):
        """Whether it says so at all; waits for that, or for its end."""
        def said():
            return any(text in ln for ln in self.log if ln is not None)
        with self.grown:
            assert self.grown.wait_for(lambda: None in self.log or said(),
                                       DEADLINE)
            return said()

    def request(self, method, path, body=None):
        """(status, parsed JSON or text)"""
        connection = UnixConnection(self.socket)
        with contextlib.closing(connection):
            if isinstance(body, dict):
                body = json.dumps(body)
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read().decode()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, json.loads(text) if is_json else text

    def get(self, path):
        status, answer = self.request("GET", path)
        assert status == 200, answer
        return answer

    def create(self, snapshot, **keys):
        status, answer = self.request("POST", "/v1/sessions",
                                      {"snapshot": snapshot, **keys})
        assert status == 201, answer
        return answer

    def files(self):
        """How many file descriptors it has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def send(self, number):
        self.process.send_signal(number)

    def wait(self):
        """The exit status; the log is whole then."""
        code = self.process.wait(DEADLINE)
        self.reader.join(DEADLINE)
        return code

    def stop(self, number=signal.SIGTERM):
        self.send(number)
        return self.wait()


class Vmm:
    """A process with memory from a session; see vmm.py."""

    def __init__(self, socket_path, size, *how):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "vmm.py", socket_path, str(size), *how],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = "half\n" if "halves" in how else "mapped\n"
        assert self.process.stdout.readline() == said

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().strip()

    def ask(self, *words):
        self.say(*words)
        return self.answer()

    def kill(self):
        self.process.kill()
        return self.wait()

    def wait(self):
        code = self.process.wait(DEADLINE)
        self.process.stdin.close()
        self.process.stdout.close()
        return code


@pytest.fixture
def place():
    """A private folder with a short path: sockets lie in it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="pg-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def store(place):
    """A store with the snapshot "guest"."""
    made = Store(place / "store")
    made.publish("guest", make_image(96))
    return made


@pytest.fixture
def start(place, store):
    """start(*options, runtime=..., ready=True): a daemon on the store."""
    daemons = []

    def run(*options, runtime=place / "run", ready=True, env=None):
        daemon = Daemon(store.path, runtime, *options, env=env)
        daemons.append(daemon)
        if ready:
            daemon.wait_log(" ready ")
        return daemon

    yield run
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.send(signal.SIGKILL)
        daemon.wait()
        daemon.process.stderr.close()


@pytest.fixture
def attach(store):
    """attach(daemon, **keys): (session's id, VMM) on the snapshot "guest"."""
    vmms = []

    def run(daemon, **keys):
        session = daemon.create("guest", **keys)
        vmm = Vmm(session["socket_path"], len(store.images["guest"]))
        vmms.append(vmm)
        return session["id"], vmm

    yield run
    for vmm in vmms:
        if vmm.process.poll() is None:
            vmm.kill()


@pytest.fixture
def huge_pages():
    """huge_pages(N): at least N free 2 MiB pages, or the test is skipped."""
    pool = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
    total, free = pool / "nr_hugepages", pool / "free_hugepages"
    before = total.read_text()

    def want(pages):
        missing = pages - int(free.read_text())
        if missing > 0:
            total.write_text(str(int(total.read_text()) + missing))
        if int(free.read_text()) < pages:
            pytest.skip(f"the machine grants no {pages} pages of 2 MiB")

    yield want
    total.write_text(before)
