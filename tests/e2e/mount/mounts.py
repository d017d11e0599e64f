"""A store mounted by pagerfs, for the tests of the mount."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess

from conftest import BUILD, DEADLINE, PAGERD

PAGERFS = BUILD / "fs" / "mount" / "pagerfs"
READX = BUILD / "tests" / "e2e" / "programs" / "readx"

_cached = (BUILD / "CMakeCache.txt").read_text()
SANITIZED = bool(re.search(r"^PAGER_SANITIZE:\w+=.+$", _cached, re.M))
INJECT = bool(re.search(r"^PAGER_INJECT:\w+=(ON|1)$", _cached, re.M))


def is_mounted(path):
    return any(line.split()[1] == str(path)
               for line in open("/proc/self/mounts", encoding="utf-8"))


def unmount(path):
    """Whatever is on the path, alive or dead."""
    while is_mounted(path):
        subprocess.run(["umount", "-l", path], check=True)


class Mount:
    """A pagerfs in the foreground. As a context it ends with SIGTERM."""

    ready = re.compile(r"ready$")

    def __init__(self, store, path, *options, env=None):
        self.path = pathlib.Path(path)
        self.path.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            self.command(store, *options), stderr=subprocess.PIPE, text=True,
            env={**os.environ, **(env or {})})
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line)
            if self.ready.search(line):
                break
        else:
            raise AssertionError(f"no mount: {self.lines}")
        self.snapshots = self.path / "snapshots"

    def command(self, store, *options):
        return [PAGERFS, "-f", store, self.path, *options]

    def memory(self, name="guest"):
        return self.snapshots / name / "memory"

    def cache(self):
        return json.loads((self.path / ".pager/cache.json").read_text())

    def end(self, number=signal.SIGTERM):
        """The exit status; the log is whole then."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        with self.process.stderr:
            self.lines += list(self.process.stderr)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ValueError):
            self.end()
        unmount(self.path)


class DaemonMount(Mount):
    """A pagerd with a mount, under the options of a pagerfs."""

    ready = re.compile(r" ready store=")

    def command(self, store, *options):
        runtime = self.path.parent / f"run-{self.path.name}"
        command = [PAGERD, "--store", store, "--runtime", runtime, "--mount",
                   self.path]
        for option in options:
            for word in option.split(","):
                if word.startswith("cache="):
                    command += ["--cache", word.removeprefix("cache=")]
        return command
