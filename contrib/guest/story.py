#!/usr/bin/python3
"""The story that contrib/quickstart tells: one real guest, two restores.

Boots a guest, gives it something to remember, snapshots and publishes it,
restores it twice at once through pagerd, asks each clone, and compares what
was served and stored with what there is. Everything lives in one temporary
folder, which is removed at the end, however it ends.
"""
import argparse
import concurrent.futures
import json
import pathlib
import secrets
import signal
import subprocess
import sys
import tempfile
import time

from guest import Guest, GuestError

CLONES = 2
FILL_MIB = 96
PAGE = 4096
READY_SECONDS = 20


class StoryError(Exception):
    """Says what failed and why, in one line."""


class Programs:
    """The installed programs, all on one store and one runtime folder."""

    def __init__(self, prefix, folder):
        self.bin = prefix / "bin"
        self.shim = prefix / "lib/pager/libpager-preload.so"
        self.store = folder / "store"
        self.runtime = folder / "run"
        self.log = folder / "pagerd.log"
        for path in (self.bin / "pagerd", self.bin / "pagerctl", self.shim):
            if not path.exists():
                raise StoryError(f"{path} is missing: build and install "
                                 "pagerd, or leave --prefix out")

    def ctl(self, *words):
        command = [self.bin / "pagerctl", "--json", "--store", self.store,
                   "--runtime", self.runtime, *words]
        done = subprocess.run(command, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise StoryError(done.stderr.strip())
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def start_daemon(self):
        with open(self.log, "wb") as log:
            daemon = subprocess.Popen(
                [self.bin / "pagerd", "--store", self.store,
                 "--runtime", self.runtime], stderr=log, stdout=log)
        end = time.monotonic() + READY_SECONDS
        while "ready" not in self.log.read_text():
            if daemon.poll() is not None or time.monotonic() > end:
                daemon.kill()
                raise StoryError("pagerd did not start: "
                                 + self.log.read_text().strip()[-500:])
            time.sleep(0.02)
        return daemon

    def shim_environment(self, memory, name):
        return {"LD_PRELOAD": str(self.shim),
                "PAGER_MAP": f"{memory}={name}",
                "PAGERD_RUNTIME": str(self.runtime)}


class Story:
    def __init__(self, programs, folder, quiet):
        self.programs = programs
        self.folder = folder
        self.quiet = quiet
        self.memory = folder / "memory"
        self.vmstate = folder / "vmstate"
        self.facts = {}

    def tell(self, text):
        if not self.quiet:
            print(text, flush=True)

    def snapshot(self):
        self.tell("1. A guest is booted under QEMU, without KVM")
        begin = time.monotonic()
        token = secrets.token_hex(4)
        with Guest.boot(str(self.folder / "first"),
                        str(self.memory)) as guest:
            self.tell(f"   Linux was up in {time.monotonic() - begin:.1f} s")
            guest.ask(f"fill {FILL_MIB}", timeout=60)
            guest.ask(f"set {token}")
            state = guest.ask("state", timeout=60)
            self.tell(f"   it filled {FILL_MIB} MiB and remembers "
                      f"'{token}'; {said(state)}")
            guest.snapshot(str(self.vmstate))
        self.facts["before"] = state

    def publish(self):
        ctl = self.programs.ctl
        ctl("init")
        found = ctl("publish", "demo", "--memory", str(self.memory),
                    "--vmstate", str(self.vmstate))
        size = self.memory.stat().st_size
        self.facts["publish"] = found
        self.facts["image_bytes"] = size
        self.tell("2. Its memory is published:  pagerctl publish demo "
                  "--memory FILE --vmstate FILE")
        self.tell(f"   image {mib(size)}, of it {mib(found['zero_pages'] * PAGE)}"
                  f" zero; stored {mib(found['stored_bytes'])} in "
                  f"{found['seconds']:.2f} s")

    def restore(self):
        """Both clones at once; the time to each one's first answer."""
        self.tell(f"3. {CLONES} clones are restored at once, their memory "
                  "paged in by pagerd:")
        self.tell(f"   LD_PRELOAD={self.programs.shim.name} "
                  "PAGER_MAP=FILE=demo qemu-system-x86_64 ...")
        with concurrent.futures.ThreadPoolExecutor(CLONES) as threads:
            begin = time.monotonic()
            started = [threads.submit(self.clone, number, begin)
                       for number in range(CLONES)]
            concurrent.futures.wait(started)
        clones = [f.result()[0] for f in started if not f.exception()]
        try:
            self.facts["clones"] = [f.result()[1] for f in started]
            self.answers(clones)
            self.sessions()
        finally:
            for clone in clones:
                clone.quit()

    def clone(self, number, begin):
        """One clone, restored; the guest and what is known of it."""
        clone = Guest.restore(
            str(self.folder / f"clone{number}"), str(self.memory),
            str(self.vmstate), run=True, env=self.programs.shim_environment(
                self.memory, "demo"))
        try:
            clone.ask("ping")
        except BaseException:
            clone.kill()
            raise
        return clone, {"first_answer_seconds": time.monotonic() - begin}

    def answers(self, clones):
        """Each goes its own way: clone n is asked n + 1 times."""
        for number, clone in enumerate(clones):
            for _ in range(number + 1):
                state = clone.ask("state", timeout=60)
            known = self.facts["clones"][number]
            known["state"] = state
            self.tell(f"   clone {number}: first answer after "
                      f"{known['first_answer_seconds']:.2f} s; {said(state)}")

    def sessions(self):
        ctl = self.programs.ctl
        shown = [ctl("session", "show", entry["id"])
                 for entry in ctl("session", "list")]
        self.facts["sessions"] = shown
        self.facts["cache"] = ctl("stats")["cache"]
        image = self.facts["image_bytes"]
        for number, one in enumerate(shown):
            served = one["counters"]["pages_copied"] * PAGE
            self.tell(f"   session {number}: {one['faults']} faults, "
                      f"{mib(served)} served of an image of {mib(image)}, "
                      f"p50 {one['p50_us']} us, p99 {one['p99_us']} us")

    def check(self):
        """What a person would want to be sure of."""
        before = self.facts["before"]
        for clone in self.facts["clones"]:
            for key in ("token", "checksum"):
                if clone["state"][key] != before[key]:
                    raise StoryError(f"a clone's {key} is not the guest's")
        stored = self.facts["publish"]["stored_bytes"]
        self.tell(f"4. Both clones remember, and went on apart. One store of "
                  f"{mib(stored)} serves {CLONES} clones of "
                  f"{mib(self.facts['image_bytes'])}.")

    def run(self):
        self.snapshot()
        self.publish()
        daemon = self.programs.start_daemon()
        try:
            self.restore()
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        self.check()


def said(state):
    """A guest's own answer, for people."""
    good = state["checksum"] == state["expected"]
    return (f"it says token {state['token']}, call {state['count']}, "
            f"checksum of its memory {state['checksum']} "
            f"({'right' if good else 'WRONG'})")


def mib(count):
    return f"{count / (1 << 20):.1f} MiB"


def build_guest():
    here = pathlib.Path(__file__).resolve().parent
    if subprocess.run([here / "build"], check=False).returncode:
        raise StoryError("the guest could not be built")


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prefix", type=pathlib.Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        build_guest()
        with tempfile.TemporaryDirectory(prefix="pagerd-quickstart.") as name:
            folder = pathlib.Path(name)
            story = Story(Programs(options.prefix.resolve(), folder), folder,
                          options.json)
            story.run()
            if options.json:
                print(json.dumps(story.facts, indent=2))
    except (StoryError, GuestError, OSError) as e:
        print(f"quickstart: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("quickstart: interrupted; everything was cleaned up",
              file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
