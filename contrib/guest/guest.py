#!/usr/bin/python3
"""A real small Linux guest under QEMU's software emulation: boot it, talk to
it, snapshot it, restore it, compare all of its memory with an image.

As a library:

    with Guest.boot(workdir, memory) as g:
        g.ask("fill 96")
        g.ask("set abc")
        g.snapshot(vmstate)          # stopped; `memory` is now the image
    with Guest.restore(workdir2, memory, vmstate, env={...}, run=False) as g:
        assert g.compare(memory) == []
        g.cont()
        print(g.ask("state")["token"])

As a program, `guest.py --help`. There a guest outlives the command that
started it; `quit` ends it, and so does the end of its --owner.

A guest's work folder holds its sockets, guest.json, qemu.log (QEMU's stderr)
and console.log (the guest kernel's messages). The agent inside is agent.c,
which lists the commands that `ask` takes.

Every wait has a deadline. What fails raises GuestError, whose text ends in
what QEMU said. A QEMU never outlives the process that started it. A Guest is
for one thread at a time.
"""
import argparse
import array
import concurrent.futures
import contextlib
import ctypes
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import time

QEMU = "qemu-system-x86_64"
PAGE = 4096
MIB = 1 << 20
# Above this the pc machine splits RAM around the hole for devices, and guest
# memory is no longer one run from guest address 0.
MAX_MIB = 3072
# In 64 MiB the kernel cannot unpack itself.
MIN_MIB = 128
CHUNK = 4 * MIB
# init_on_free: else the compressed kernel and initramfs, loaded by QEMU and
# freed after unpacking, are a fifth of all pages that are not zero. A guest
# that has been up for long has reused that memory; under a VMM that loads
# kernels unpacked it never was.
KERNEL_LINE = "console=ttyS1 quiet panic=-1 mitigations=off init_on_free=1"

_libc = ctypes.CDLL(None, use_errno=True)
# The kernel's parent-death signal comes when the *thread* that forked ends:
# one thread that lives as long as this process starts every QEMU.
_starter = concurrent.futures.ThreadPoolExecutor(1)


class GuestError(Exception):
    """Says what failed and why, in one line."""


class Deadline:
    def __init__(self, seconds):
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self):
        """Seconds left; 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())


class Channel:
    """Lines over one unix stream socket."""

    def __init__(self, sock, name):
        self._sock = sock
        self._name = name
        self._buf = b""

    def close(self):
        self._sock.close()

    def send(self, line, deadline, fds=()):
        """One line, with the given descriptors attached to it."""
        self._sock.settimeout(max(deadline.left(), 0.001))
        data = line.encode() + b"\n"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                   array.array("i", fds))] if fds else []
        try:
            sent = self._sock.sendmsg([data], rights)
            self._sock.sendall(data[sent:])
        except OSError as e:
            raise GuestError(f"cannot write to {self._name}: {e}") from e

    def line(self, deadline):
        while b"\n" not in self._buf:
            left = deadline.left()
            if left == 0:
                raise GuestError(f"no answer from {self._name} within "
                                 f"{deadline.seconds} s")
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(65536)
            except socket.timeout:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                raise GuestError(f"QEMU closed {self._name}")
            self._buf += data
        line, self._buf = self._buf.split(b"\n", 1)
        return line.decode("utf-8", "replace").strip("\r")


class Qmp:
    """QEMU's machine protocol: commands, and the events among the answers."""

    def __init__(self, channel, deadline):
        self._channel = channel
        self._events = []
        self._next_id = 0
        self._channel.line(deadline)    # the greeting
        self.execute("qmp_capabilities", deadline)

    def close(self):
        self._channel.close()

    def _message(self, deadline):
        return json.loads(self._channel.line(deadline))

    def execute(self, command, deadline, fds=(), **arguments):
        self._next_id += 1
        request = {"execute": command, "id": self._next_id}
        if arguments:
            request["arguments"] = arguments
        self._channel.send(json.dumps(request), deadline, fds)
        while True:
            message = self._message(deadline)
            if "event" in message:
                self._events.append(message)
            elif message.get("id") == self._next_id:
                break
        if "error" in message:
            raise GuestError(f"QMP {command}: {message['error']['desc']}")
        return message["return"]

    def migration_end(self, deadline):
        """Waits until a migration has completed, either way round."""
        while True:
            while self._events:
                event = self._events.pop(0)
                status = event.get("data", {}).get("status")
                if event["event"] != "MIGRATION":
                    continue
                if status == "completed":
                    return
                if status in ("failed", "cancelled"):
                    why = self.execute("query-migrate", deadline)
                    raise GuestError("QEMU's migration " + status + ": " +
                                     why.get("error-desc", "no reason given"))
            self._events.append(self._event(deadline))

    def _event(self, deadline):
        while True:
            message = self._message(deadline)
            if "event" in message:
                return message


@contextlib.contextmanager
def _short_path(folder, name):
    """A path to folder/name that fits sun_path whatever folder's length."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def _listen(folder, name):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, name))
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short_path(folder, name) as path:
        s.bind(path)
    s.listen(4)
    return s


def _connect(folder, name, what, deadline):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(max(deadline.left(), 0.001))
    try:
        with _short_path(folder, name) as path:
            s.connect(path)
    except OSError as e:
        s.close()
        raise GuestError(f"cannot connect to {folder}/{name}: {e}") from e
    return Channel(s, what)


def _tail(path, lines=6, limit=2000):
    """A log's last lines, as one."""
    try:
        with open(path, "rb") as f:
            text = f.read()[-limit:].decode("utf-8", "replace")
    except OSError:
        return ""
    return " | ".join(t.strip() for t in text.splitlines()[-lines:]
                      if t.strip())


def _start_time(pid):
    """With the pid, tells one process from another that got its number."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return int(f.read().rsplit(b")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _wait_any(fds, timeout=None):
    """True once one of the descriptors is readable, False after timeout."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else int(timeout * 1000)))


def default_cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "pagerd-guest")


def _quote(path):
    """A path as a value within a QEMU option."""
    return os.path.abspath(path).replace(",", ",,")


class Guest:
    """One QEMU. Make it with boot(), restore() or attach()."""

    def __init__(self, workdir):
        self.workdir = os.path.abspath(workdir)
        self.pid = None
        self.size = None        # bytes of guest memory
        self._process = None    # None for an attached guest: not ours to end
        self._pidfd = None
        self._agent = None
        self._qmp = None
        # Answers to a request of an earlier connection match no new number.
        self._number = random.randrange(1, 1 << 30)

    # Life

    @classmethod
    def boot(cls, workdir, memory, mib=256, cache=None, timeout=60):
        """Boots a fresh guest whose memory is the file `memory`, which must
        not exist yet, and returns once its agent answers."""
        cache = cache or default_cache()
        kernel = os.path.join(cache, "vmlinuz")
        initramfs = os.path.join(cache, "initramfs.gz")
        if not (os.path.exists(kernel) and os.path.exists(initramfs)):
            raise GuestError(f"no guest in {cache}: run contrib/guest/build")
        if not MIN_MIB <= mib <= MAX_MIB:
            raise GuestError(f"a guest has {MIN_MIB} to {MAX_MIB} MiB, "
                             f"not {mib}")
        try:
            with open(memory, "xb") as f:
                f.truncate(mib * MIB)
        except OSError as e:
            raise GuestError(f"cannot make the memory file: {e}") from e
        deadline = Deadline(timeout)
        guest = cls(workdir)
        try:
            with guest._starting():
                guest._launch(memory, mib * MIB, True, [
                    "-kernel", kernel, "-initrd", initramfs,
                    "-append", KERNEL_LINE], None)
                guest._answer(0, deadline)  # the agent says that it is ready
        except BaseException:
            os.unlink(memory)
            raise
        return guest

    @classmethod
    def restore(cls, workdir, memory, vmstate, env=None, run=True,
                timeout=30):
        """Restores a guest from a snapshot on a private mapping of `memory`,
        which it does not change. `env` is added to QEMU's environment
        (LD_PRELOAD, PAGER_MAP, PAGERD_RUNTIME). Without `run` it stays
        paused until cont()."""
        deadline = Deadline(timeout)
        guest = cls(workdir)
        try:
            size = os.stat(memory).st_size
            state = os.open(vmstate, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            raise GuestError(f"cannot restore: {e}") from e
        try:
            if size == 0 or size % MIB or size > MAX_MIB * MIB:
                raise GuestError(f"{memory} has {size} bytes: no memory file "
                                 f"of 1 to {MAX_MIB} whole MiB")
            with guest._starting():
                guest._launch(memory, size, False, ["-incoming", "defer"],
                              env)
                guest._migrate("migrate-incoming", state, deadline)
                if run:
                    guest._connected(deadline).execute("cont", deadline)
        finally:
            os.close(state)
        return guest

    @classmethod
    def attach(cls, workdir):
        """A guest that another process started. It is not ended with this
        object; quit() and kill() end it."""
        guest = cls(workdir)
        try:
            with open(guest._path("guest.json"), encoding="utf-8") as f:
                known = json.load(f)
            guest._pidfd = os.pidfd_open(known["pid"])
        except (OSError, ValueError, KeyError) as e:
            raise GuestError(f"no guest runs in {workdir}") from e
        guest.pid, guest.size = known["pid"], known["size"]
        if not guest.alive() or _start_time(guest.pid) != known["start"]:
            guest._close()
            raise GuestError(f"no guest runs in {workdir}")
        return guest

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process:
            self.kill()
        self._close()

    def __del__(self):
        if self._process:
            self.kill()
        self._close()

    def quit(self, timeout=10):
        """Ends QEMU in order, and by force where it does not comply."""
        if self.alive():
            with contextlib.suppress(GuestError):
                self._command("quit", timeout)
            self.wait(timeout)
        self.kill()

    def kill(self):
        """Ends QEMU with SIGKILL. Its work folder stays."""
        if self._pidfd is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        gone = self.wait(10)
        if self._process and gone:
            self._process.wait()
        self._process = None
        self._close()
        if not gone:
            raise GuestError(f"QEMU {self.pid} survived SIGKILL for 10 s")

    def alive(self):
        return self._pidfd is not None and not self.wait(0)

    def wait(self, timeout):
        """True once QEMU has ended, False when the time has passed."""
        return _wait_any([self._pidfd], timeout)

    def disconnect(self):
        """Frees the guest's sockets for another process to attach."""
        for channel in (self._agent, self._qmp):
            if channel:
                channel.close()
        self._agent = self._qmp = None

    # Use

    def ask(self, command, timeout=10):
        """One command to the agent; its answer's fields, as strings."""
        if len(command) > 200 or not command.isprintable():
            raise GuestError("a command is one line of up to 200 characters")
        deadline = Deadline(timeout)
        self._number += 1
        with self._told():
            if not self._agent:
                self._agent = self._connect_agent(deadline)
            self._agent.send(f"{self._number} {command}", deadline)
            verdict, text = self._answer(self._number, deadline)
        if verdict == "error":
            raise GuestError(f"the guest answered: {text}")
        return dict(f.split("=", 1) for f in text.split() if "=" in f)

    def stop(self, timeout=10):
        self._command("stop", timeout)

    def cont(self, timeout=10):
        self._command("cont", timeout)

    def status(self, timeout=10):
        """QEMU's run state: running, paused, postmigrate, ..."""
        return self._command("query-status", timeout)["status"]

    def snapshot(self, vmstate, timeout=60):
        """Stops the guest and saves its devices to `vmstate`. From then on
        the memory file is the snapshot's memory, until cont()."""
        deadline = Deadline(timeout)
        try:
            state = os.open(vmstate, os.O_WRONLY | os.O_CREAT | os.O_TRUNC |
                            os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise GuestError(f"cannot snapshot: {e}") from e
        try:
            self.stop(deadline.left())
            with self._told():
                self._migrate("migrate", state, deadline)
        except GuestError:
            os.unlink(vmstate)
            raise
        finally:
            os.close(state)

    def ram(self, timeout=10):
        """Where guest memory is in QEMU: (address, bytes)."""
        said = self._command("human-monitor-command", timeout,
                             **{"command-line": "gpa2hva 0"})
        found = re.search(r" is (0x[0-9a-f]+)", said)
        if not found:
            raise GuestError(f"QEMU does not tell its memory: {said.strip()}")
        return int(found.group(1), 16), self.size

    def compare(self, image, timeout=120):
        """Reads all of a stopped guest's memory as QEMU sees it, and gives
        the list of pages that differ from the file `image`. A page that a
        userfaultfd serves is faulted in by this, but not where that is a
        user-mode-only one, as users other than root get: then this fails,
        and `touch all` is the way to fault in every page. Needs root."""
        if self.status() == "running":
            raise GuestError("cannot compare the memory of a running guest")
        address, size = self.ram()
        # A read that faults cannot be interrupted, only killed: a process of
        # its own keeps the deadline even when nobody serves the fault.
        command = [sys.executable, os.path.abspath(__file__), "pages-that-"
                   "differ", str(self.pid), str(address), str(size), image]
        with self._told():
            try:
                done = subprocess.run(command, timeout=timeout, text=True,
                                      capture_output=True, check=False)
            except subprocess.TimeoutExpired as e:
                raise GuestError("reading guest memory took more than "
                                 f"{timeout} s") from e
            if done.returncode != 0:
                raise GuestError("cannot read guest memory: " +
                                 done.stderr.strip())
        return json.loads(done.stdout)

    # Within

    def _path(self, name):
        return os.path.join(self.workdir, name)

    def _close(self):
        self.disconnect()
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._pidfd = None

    @contextlib.contextmanager
    def _told(self):
        """Adds what QEMU and the guest's kernel said to an error."""
        try:
            yield
        except GuestError as e:
            ended = self._pidfd is not None and self.wait(0.2)
            text = str(e)
            if ended and self._process:
                text += f" (status {self._process.wait()})"
            for name, log in (("QEMU", "qemu.log"),
                              ("the guest's kernel", "console.log")):
                said = _tail(self._path(log))
                if said:
                    text += f"; {name} said: {said}"
            raise GuestError(text) from e

    @contextlib.contextmanager
    def _starting(self):
        """As _told(), and a guest that fails to start is ended."""
        try:
            with self._told():
                yield
        except BaseException:
            self.kill()
            raise

    def _arguments(self, memory, size, share, fds):
        agent, qmp = fds
        return [
            QEMU, "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-accel", "tcg,tb-size=64", "-smp", "1",
            "-m", f"{size // MIB}M", "-machine", "pc,memory-backend=m0",
            "-object", "memory-backend-file,id=m0,"
            f"size={size},mem-path={_quote(memory)},"
            f"share={'on' if share else 'off'}",
            "-chardev", f"socket,id=agent,fd={agent},server=on,wait=off",
            "-device", "isa-serial,chardev=agent",
            "-chardev", f"file,id=log,path={_quote(self._path('console.log'))}",
            "-device", "isa-serial,chardev=log",
            "-chardev", f"socket,id=qmp,fd={qmp},server=on,wait=off",
            "-mon", "chardev=qmp,mode=control",
        ]

    def _launch(self, memory, size, share, more, env):
        """Starts QEMU on sockets that listen already, so that a connection
        needs no waiting for them to appear."""
        os.makedirs(self.workdir, exist_ok=True)
        if self._in_use():
            raise GuestError(f"another guest runs in {self.workdir}")
        deadline = Deadline(10)
        with _listen(self.workdir, "agent.sock") as agent, \
                _listen(self.workdir, "qmp.sock") as qmp, \
                open(self._path("qemu.log"), "wb") as log:
            fds = (agent.fileno(), qmp.fileno())
            # PATH's env, last: what is preloaded is for QEMU alone.
            command = ["setpriv", "--pdeathsig", "KILL", "env"]
            command += [f"{k}={v}" for k, v in (env or {}).items()]
            command += self._arguments(memory, size, share, fds) + more
            try:
                self._process = _starter.submit(
                    subprocess.Popen, command, pass_fds=fds, stderr=log,
                    stdin=subprocess.DEVNULL, stdout=log,
                    start_new_session=True).result()
            except OSError as e:
                raise GuestError(f"cannot start QEMU: {e}") from e
        self.pid, self.size = self._process.pid, size
        self._pidfd = os.pidfd_open(self.pid)
        with open(self._path("guest.json"), "w", encoding="utf-8") as f:
            json.dump({"pid": self.pid, "start": _start_time(self.pid),
                       "size": size}, f)
        self._agent = self._connect_agent(deadline)

    def _in_use(self):
        try:
            Guest.attach(self.workdir)
        except GuestError:
            return False
        return True

    def _answer(self, number, deadline):
        """("ok" or "error", text) of the answer to request `number`; what
        else comes is noise."""
        form = re.compile(rf"pagerd-agent: {number} (ok|error)(?: (.*))?$")
        while True:
            found = form.search(self._agent.line(deadline))
            if found:
                return found.group(1), found.group(2) or ""

    def _connect_agent(self, deadline):
        return _connect(self.workdir, "agent.sock", "the guest's agent",
                        deadline)

    def _connected(self, deadline):
        if not self._qmp:
            self._qmp = Qmp(_connect(self.workdir, "qmp.sock",
                                     "QEMU's monitor", deadline), deadline)
        return self._qmp

    def _command(self, command, timeout, **arguments):
        deadline = Deadline(timeout)
        with self._told():
            return self._connected(deadline).execute(command, deadline,
                                                     **arguments)

    def _migrate(self, command, fd, deadline):
        """Device state to or from an open file. Memory shared with its file
        is left out. QEMU itself writes the file: with exec:cat it could
        report completion before cat has written the end."""
        qmp = self._connected(deadline)
        qmp.execute("migrate-set-capabilities", deadline, capabilities=[
            {"capability": "x-ignore-shared", "state": True},
            {"capability": "events", "state": True}])
        qmp.execute("getfd", deadline, fds=[fd], fdname="state")
        qmp.execute(command, deadline, uri="fd:state")
        qmp.migration_end(deadline)


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


def _read_process(pid, address, buf):
    """Another process's memory. Unlike /proc/PID/mem this waits for the
    handler of a userfaultfd instead of failing with EIO."""
    n = len(buf)
    here = _Iovec(ctypes.addressof(ctypes.c_char.from_buffer(buf)), n)
    there = _Iovec(address, n)
    _libc.process_vm_readv.restype = ctypes.c_ssize_t
    got = _libc.process_vm_readv(pid, ctypes.byref(here), 1,
                                 ctypes.byref(there), 1, 0)
    if got != n:
        err = ctypes.get_errno() if got < 0 else 0
        why = os.strerror(err) if err else f"only {got} of {n} bytes"
        raise GuestError(f"memory of process {pid} at {address:#x}: {why}")


def pages_that_differ(pid, address, size, image):
    """Numbers of the pages of a process's memory that are not the file's,
    the file taken with zeros after its end."""
    differ = []
    with open(image, "rb") as f:
        if os.fstat(f.fileno()).st_size > size:
            raise GuestError(f"{image} is larger than the memory")
        for at in range(0, size, CHUNK):
            memory = bytearray(min(CHUNK, size - at))
            _read_process(pid, address + at, memory)
            want = f.read(len(memory)).ljust(len(memory), b"\0")
            if memory == want:
                continue
            differ += [(at + o) // PAGE for o in range(0, len(memory), PAGE)
                       if memory[o:o + PAGE] != want[o:o + PAGE]]
    return differ


# The program

def _keep(start, owner):
    """Starts a guest in a process of its own, QEMU's parent, that ends the
    guest when the process `owner` ends. Returns once the guest is up."""
    from_keeper, to_starter = os.pipe()
    if os.fork() == 0:
        os.close(from_keeper)
        os.setsid()
        # Locks and pipes of the caller are not to be held by the guest.
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd != to_starter:
                with contextlib.suppress(OSError):
                    os.close(fd)
        for fd in (0, 1, 2):
            os.open(os.devnull, os.O_RDWR)
        try:
            _keeper(start, owner, to_starter)
        finally:
            os._exit(0)
    os.close(to_starter)
    with open(from_keeper, encoding="utf-8") as f:
        said = json.loads(f.read() or '{"error": "the keeper died"}')
    if "error" in said:
        raise GuestError(said["error"])
    return said


def _keeper(start, owner, to_starter):
    try:
        watched = [os.pidfd_open(owner)] if owner else []
        guest = start()
        said = {"pid": guest.pid}
    except (GuestError, OSError) as e:
        guest, said = None, {"error": str(e)}
    try:
        with open(to_starter, "w", encoding="utf-8") as f:
            f.write(json.dumps(said))
    except BrokenPipeError:     # whoever wanted the guest has gone
        if guest:
            guest.kill()
        return
    if guest:
        guest.disconnect()
        _wait_any(watched + [guest._pidfd])
        guest.kill()


def _boot(a):
    return _keep(lambda: Guest.boot(a.workdir, a.memory, a.mib, a.cache,
                                    a.timeout or 60), a.owner)


def _restore(a):
    env = dict(pair.split("=", 1) for pair in a.env)
    return _keep(lambda: Guest.restore(a.workdir, a.memory, a.vmstate, env,
                                       not a.paused, a.timeout or 30),
                 a.owner)


def _compare(a):
    differ = Guest.attach(a.workdir).compare(a.image, a.timeout or 120)
    if differ:
        raise GuestError(f"{len(differ)} pages differ from {a.image}, the "
                         f"first at offset {differ[0] * PAGE:#x}")


COMMANDS = {
    "boot": (_boot, "boot a fresh guest"),
    "restore": (_restore, "restore a guest from a snapshot"),
    "ask": (lambda a: Guest.attach(a.workdir).ask(
        " ".join(a.command), a.timeout or 10), "ask the guest's agent"),
    "snapshot": (lambda a: Guest.attach(a.workdir).snapshot(
        a.vmstate, a.timeout or 60), "stop the guest and save its devices"),
    "stop": (lambda a: Guest.attach(a.workdir).stop(a.timeout or 10),
             "stop the guest"),
    "cont": (lambda a: Guest.attach(a.workdir).cont(a.timeout or 10),
             "let the guest run on"),
    "compare": (_compare, "compare a stopped guest's memory with an image"),
    "quit": (lambda a: Guest.attach(a.workdir).quit(a.timeout or 10),
             "end the guest"),
}


def _pair(text):
    if "=" not in text:
        raise argparse.ArgumentTypeError("not NAME=VALUE")
    return text


def _parser():
    parser = argparse.ArgumentParser(
        prog="guest.py", description="a small Linux guest under QEMU")
    commands = parser.add_subparsers(dest="verb", required=True)
    for verb, (_, text) in COMMANDS.items():
        p = commands.add_parser(verb, help=text, description=text)
        p.add_argument("workdir")
        p.add_argument("--timeout", type=float, metavar="SECONDS")
        if verb in ("boot", "restore"):
            p.add_argument("--memory", required=True, metavar="FILE")
            p.add_argument("--owner", type=int, metavar="PID",
                           help="end the guest when this process ends")
        if verb in ("restore", "snapshot"):
            p.add_argument("--vmstate", required=True, metavar="FILE")
    boot, restore = commands.choices["boot"], commands.choices["restore"]
    boot.add_argument("--mib", type=int, default=256)
    boot.add_argument("--cache", metavar="DIR")
    restore.add_argument("--env", type=_pair, action="append", default=[],
                         metavar="NAME=VALUE")
    restore.add_argument("--paused", action="store_true")
    commands.choices["ask"].add_argument("command", nargs="+")
    commands.choices["compare"].add_argument("image")
    return parser


def main(argv):
    # Not a command for people: see Guest.compare().
    hidden = argv[:1] == ["pages-that-differ"]
    try:
        if hidden:
            pid, address, size = map(int, argv[1:4])
            answer = pages_that_differ(pid, address, size, argv[4])
        else:
            args = _parser().parse_args(argv)
            answer = COMMANDS[args.verb][0](args)
    except (GuestError, OSError) as e:
        print(e if hidden else f"guest.py: {args.verb}: {e}", file=sys.stderr)
        return 1
    if answer is not None:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
