"""Each known pitfall of the fault path, the mount and the cache has a test that
names its number, as "PITFALLS 7" or "PITFALLS 6, 8 and 9" in a comment.

  pitfalls.py TOP     prints the table of what is tested where
"""
import collections
import pathlib
import re
import sys

TOP = pathlib.Path(sys.argv[1])
NAMED = re.compile(r"PITFALLS((?:[\s*,]|and|\d+)+)")

PITFALLS = {
    1: "handshakes of each Firecracker version, in any pieces, hostile ones",
    2: "a fault before the load call returns",
    3: "the VMM dies between connect and send, or right after",
    4: "regions in any order, with gaps, overlapping, past the image",
    5: "REMOVE then touch is zero, also when prefetch or completion race it",
    6: "a fault and its REMOVE in one read",
    7: "40,000 alternating removed pages",
    8: "a flood of REMOVEs: bounded memory, other VMs go on",
    9: "EAGAIN in all its forms: parked, retried, a deadline, the policy",
    10: "madvise() returns while a fetch is under way",
    11: "EEXIST still wakes every waiter",
    12: "many vCPUs on one page: one read",
    13: "a spurious wake, a fault again after it was resolved",
    14: "UNMAP and REMAP events",
    27: "a flipped bit, a short or missing pack, EIO, a read of 5 s",
    28: "a cache full of pinned slots makes progress",
    29: "eviction while a copy reads the slot",
    30: "one VM cannot starve the rest",
    31: "faults during prefetch, scans and verify",
    32: "a working set recorded for another image",
    33: "a last partial page, one page, over 4 GiB, 0xFF, a last byte",
    34: "a 2 MiB page made of 512 blocks",
    46: "a store read through its own mount while it grows",
    47: "a store that is newer, read-only, or another user's",
    48: "every changing call gets EROFS",
    49: "SEEK_HOLE and SEEK_DATA everywhere, past the end too",
    50: "stable inodes and times",
    51: "readdir of 10,000 snapshots that come and go",
    52: "cp --sparse, tar -S, sha256sum, mmap, sendfile, O_DIRECT",
    53: "SIGTERM with open files, SIGKILL then remount",
    54: "interrupted reads leak no pins",
    55: "names of all kinds",
    56: "the cache's bound under a scan of unique pages, by RSS",
    57: "a full scan does not cost the faults their hit ratio",
    58: "64 threads miss one block: one read, or one error for all",
    59: "resize under load, to less than what is pinned, to 0",
}


def named_in(path):
    for match in NAMED.finditer(path.read_text()):
        yield from map(int, re.findall(r"\d+", match.group(1)))


def main():
    where = collections.defaultdict(set)
    for kind in ("*.c", "*.py"):
        for path in (TOP / "tests").rglob(kind):
            if path.resolve() != pathlib.Path(__file__).resolve():
                for number in named_in(path):
                    where[number].add(path.stem)
    for number, what in PITFALLS.items():
        tests = ", ".join(sorted(where[number])) or "NO TEST"
        print(f"{number:2}  {what:70}  {tests}")
    missing = [number for number in PITFALLS if not where[number]]
    if missing:
        sys.exit(f"pitfalls without a test: {missing}")


main()
