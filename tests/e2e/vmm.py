"""A VMM of a few lines: memory that a session's daemon pages in.

vmm.py SOCKET SIZE [let-go] [hang-up] [halves]: registers SIZE bytes, hands
them over on SOCKET, and obeys the lines on its stdin, each with one line of
answer. let-go: closes its own copy of the userfaultfd right away; hang-up: the
connection, too, as Firecracker before 1.12; halves: says one half of its text,
then "half", and the rest with the next line of its stdin.

  page N      sha256 of page N, which is touched
  all         sha256 of the whole memory
  write N     makes the first byte of page N zero; "done"
  discard N   gives page N back with MADV_DONTNEED; "done"
  let-go      closes its own copy of the userfaultfd; "done"

It says "mapped" first, and ends with its stdin.
"""
import ctypes
import fcntl
import hashlib
import json
import mmap
import os
import socket
import struct
import sys

PAGE = 4096
SYS_USERFAULTFD = 323
O_CLOEXEC, O_NONBLOCK = 0o2000000, 0o4000
UFFD_API, FEATURE_EVENT_REMOVE, MODE_MISSING = 0xAA, 1 << 3, 1
UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00


def userfaultfd():
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(SYS_USERFAULTFD, O_CLOEXEC | O_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    fcntl.ioctl(fd, UFFDIO_API,
                struct.pack("QQQ", UFFD_API, FEATURE_EVENT_REMOVE, 0))
    return fd


def hand_over(path, uffd, address, size, halves):
    regions = [{"base_host_virt_addr": address, "size": size, "offset": 0,
                "page_size": PAGE, "page_size_kib": PAGE}]
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.connect(path)
    text = json.dumps(regions).encode()
    half = len(text) // 2 if halves else len(text)
    socket.send_fds(peer, [text[:half]], [uffd])
    if halves:
        print("half", flush=True)
        sys.stdin.readline()
        peer.send(text[half:])
    return peer


def main(path, size, *how):
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    uffd = userfaultfd()
    fcntl.ioctl(uffd, UFFDIO_REGISTER,
                struct.pack("QQQQ", address, size, MODE_MISSING, 0))
    peer = hand_over(path, uffd, address, size, "halves" in how)
    if "let-go" in how:
        os.close(uffd)
    if "hang-up" in how:
        peer.close()
    print("mapped", flush=True)
    for line in sys.stdin:
        verb, *number = line.split()
        start = int(number[0]) * PAGE if number else 0
        if verb == "page":
            page = memory[start:start + PAGE]
            print(hashlib.sha256(page).hexdigest(), flush=True)
        elif verb == "all":
            print(hashlib.sha256(memory[:]).hexdigest(), flush=True)
        elif verb == "write":
            memory[start] = 0
            print("done", flush=True)
        elif verb == "discard":
            memory.madvise(mmap.MADV_DONTNEED, start, PAGE)
            print("done", flush=True)
        elif verb == "let-go":
            os.close(uffd)
            print("done", flush=True)
    peer.close()


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
