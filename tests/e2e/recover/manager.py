"""What systemd does for a unit with FileDescriptorStoreMax=: keeps what it is
sent over $NOTIFY_SOCKET, and gives it to the next start."""
import array
import os
import socket
import sys
import threading

import conftest

# Puts what it was given at 3 and up, as sd_listen_fds(3) wants it.
START = """
import os, sys
fds = [int(n) for n in sys.argv[1].split(",") if n]
high = [os.dup2(fd, 200 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    def __init__(self, path):
        self.path = str(path)
        self.kept = {}          # name: descriptors; of the thread, then ours
        self.states = []
        self.grown = threading.Condition()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self):
        while True:
            text, fds, _, _ = socket.recv_fds(self.socket, 65536, 16)
            with self.grown:
                if text == b"end":
                    return
                self._take(dict(ln.split("=", 1)
                                for ln in text.decode().splitlines()), fds)
                self.states.append(text.decode())
                self.grown.notify_all()

    def _take(self, words, fds):
        name = words.get("FDNAME", "stored")
        if "FDSTOREREMOVE" in words:
            for fd in self.kept.pop(name, []):
                os.close(fd)
        elif "FDSTORE" in words:
            self.kept.setdefault(name, []).extend(fds)

    def wait(self, text):
        with self.grown:
            assert self.grown.wait_for(
                lambda: any(text in s for s in self.states),
                conftest.DEADLINE), self.states

    def start(self, store, runtime, *options, env=None):
        """The unit's next run. What was sent before is taken in by then."""
        self.settle()
        names = [(n, fd) for n, fds in self.kept.items() for fd in fds]
        listen = {"LISTEN_FDS": str(len(names)),
                  "LISTEN_FDNAMES": ":".join(n for n, _ in names)}
        daemon = conftest.Daemon(
            store, runtime, *options,
            env={"NOTIFY_SOCKET": self.path, "FDSTORE": "512",
                 **listen, **(env or {})},
            command=[sys.executable, "-c", START,
                     ",".join(str(fd) for _, fd in names)],
            pass_fds=[fd for _, fd in names])
        daemon.wait_log(" ready ")
        return daemon

    def settle(self):
        """Everything that was sent so far has been taken in."""
        mark = f"X_MARK={len(self.states)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(mark.encode(), self.path)
        self.wait(mark)

    def end(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"end", self.path)
        self.thread.join()
        self.socket.close()
        for fds in self.kept.values():
            for fd in fds:
                os.close(fd)
