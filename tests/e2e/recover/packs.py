"""Damage done to packs, slot by slot; their layout is pager/pack.h's."""
import contextlib
import struct

TRAILER, SLOT = 80, 16
KIND_PAGE = 0


class Pack:
    def __init__(self, path):
        self.path = path

    def slots(self):
        """(number, offset, length, kind) of each slot."""
        data = self.path.read_bytes()
        count, = struct.unpack_from("<I", data, len(data) - TRAILER + 12)
        table, = struct.unpack_from("<Q", data, len(data) - TRAILER + 24)
        for n in range(count):
            offset, length, _, kind = struct.unpack_from(
                "<IHBB", data, table + n * SLOT)
            yield n, offset, length, kind

    def flip_pages(self):
        """One bit of each page's slot; of none that holds a node. The same
        again undoes it."""
        data = bytearray(self.path.read_bytes())
        for _, offset, length, kind in list(self.slots()):
            if kind == KIND_PAGE:
                data[offset + length // 2] ^= 4
        with open(self.path, "r+b") as f:
            f.write(data)

    @contextlib.contextmanager
    def flipped(self):
        self.flip_pages()
        yield
        self.flip_pages()

    @contextlib.contextmanager
    def missing(self):
        away = self.path.with_suffix(".away")
        self.path.rename(away)
        yield
        away.rename(self.path)

    @contextlib.contextmanager
    def cut_short(self):
        """Under whoever has it open: its pages are gone, and its tables."""
        data = self.path.read_bytes()
        with open(self.path, "r+b") as f:
            f.truncate(64)
        yield
        with open(self.path, "r+b") as f:
            f.write(data)


def publish_apart(store, name, image):
    """A snapshot in a pack of its own."""
    packs = store.path / "packs"
    before = set(packs.iterdir())
    store.publish(name, image)
    pack, = set(packs.iterdir()) - before
    return Pack(pack)
