"""The mount as a reader sees it: every name, every byte, and no change."""
import concurrent.futures
import ctypes
import errno
import hashlib
import json
import mmap
import os
import random
import re
import shutil
import stat
import subprocess
import threading

import pytest

from conftest import BUILD, DEADLINE, PAGE, Store, make_image, sha256
from mounts import PAGERFS, READX, SANITIZED, Mount, is_mounted, unmount


@pytest.fixture
def kind():
    """What mounts: test_daemon_pitfalls.py has another."""
    return Mount


@pytest.fixture
def mount(place, store, kind):
    """mount(*options): the store, mounted on place/mnt or another folder."""
    mounts = []

    def run(*options, path=place / "mnt", env=None, of=store.path):
        made = kind(of, path, *options, env=env)
        mounts.append(made)
        return made

    yield run
    for made in mounts:
        made.__exit__()


@pytest.fixture
def rich(place, store):
    """The store with a vmstate, an attached file and a partial page."""
    image = make_image(700, seed=2) + b"the end"
    (place / "memory").write_bytes(image)
    (place / "state").write_bytes(b"devices" * 1000)
    store.ctl("publish", "rich one", "--memory", place / "memory",
              "--vmstate", place / "state",
              "--attach", f"vm.json={__file__}", "--base", "guest",
              "--codec", "lz4")
    store.images["rich one"] = image
    return store


def fails(number, call, *arguments, **keys):
    with pytest.raises(OSError) as e:
        call(*arguments, **keys)
    assert e.value.errno == number, (call, arguments, e.value)


def walk(top):
    """Every path below, symlinks not followed."""
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            yield os.path.join(folder, name)


# What is there

def test_the_tree(mount, rich, place):
    mnt = mount().path
    assert sorted(os.listdir(mnt)) == [".pager", "blocks", "digests",
                                       "snapshots"]
    assert sorted(os.listdir(mnt / "snapshots")) == ["guest", "rich one"]
    one = mnt / "snapshots" / "rich one"
    assert sorted(os.listdir(one)) == ["manifest.json", "memory", "pages",
                                       "vm.json", "vmstate"]
    assert (one / "memory").read_bytes() == rich.images["rich one"]
    assert (one / "vmstate").read_bytes() == b"devices" * 1000
    assert (one / "vm.json").read_bytes() == open(__file__, "rb").read()
    shown = rich.ctl("--json", "show", "rich one").stdout
    assert json.loads((one / "manifest.json").read_text()) == \
        json.loads(shown)
    digest = json.loads(shown)["image_digest"]
    assert os.readlink(mnt / "digests" / digest) == "../snapshots/rich one"
    assert (mnt / "digests" / digest / "vmstate").exists()
    assert len(os.listdir(mnt / "digests")) == 2
    assert json.loads((mnt / ".pager/cache.json").read_text())["limit"] > 0


def test_pages_and_blocks(mount, store):
    mnt = mount().path
    image = store.images["guest"]
    lines = (mnt / "snapshots/guest/pages").read_text().splitlines()
    page = 0
    for line in lines:
        first, count, kind, digest, shared = line.split()
        assert int(first) == page
        content = image[page * PAGE:][:PAGE]
        assert (kind == "zero") == (content == bytes(PAGE))
        if kind == "block":
            block = mnt / "blocks" / digest[:2] / digest
            assert block.read_bytes() == content
            assert digest in os.listdir(block.parent)
        same = sum(image[at:at + PAGE] == content
                   for at in range(0, len(image), PAGE))
        assert int(shared) == same
        page += int(count)
    assert page == len(image) // PAGE


def test_attributes(mount, rich):
    mnt = mount()
    memory = mnt.memory("rich one")
    st = memory.stat()
    shown = json.loads(rich.ctl("--json", "show", "rich one").stdout)
    assert st.st_size == len(rich.images["rich one"])
    assert stat.filemode(st.st_mode) == "-r--------"
    assert st.st_blocks == 8 * (shown["pages"] - shown["zero_pages"])
    assert os.getxattr(memory, "user.pager.digest").decode() == \
        shown["image_digest"]
    assert os.getxattr(memory, "user.pager.codec") == b"lz4"
    assert os.getxattr(memory.parent, "user.pager.parent") == b"guest"
    assert sorted(os.listxattr(memory)) == [
        "user.pager.codec", "user.pager.digest", "user.pager.parent"]
    assert "user.pager.parent" not in os.listxattr(mnt.memory())
    fails(errno.ENODATA, os.getxattr, memory, "user.other")
    assert os.listxattr(mnt.path) == []
    below, seen = os.statvfs(rich.path), os.statvfs(mnt.path)
    assert seen.f_blocks == below.f_blocks and seen.f_namemax == 255
    assert seen.f_flag & os.ST_RDONLY


# No change

def change_calls(mnt):
    """Everything that would change something, as (call, arguments)."""
    guest = f"{mnt}/snapshots/guest"
    memory, folder = f"{guest}/memory", f"{mnt}/snapshots"
    yield os.mkdir, f"{folder}/new"
    yield os.mkdir, f"{mnt}/new"
    yield os.mknod, f"{guest}/new", 0o600 | stat.S_IFREG
    yield os.mkfifo, f"{guest}/fifo"
    yield os.symlink, "x", f"{folder}/link"
    yield os.link, memory, f"{guest}/other"
    yield os.rename, guest, f"{folder}/other"
    yield os.rename, memory, f"{guest}/other"
    yield os.unlink, memory
    yield os.rmdir, guest
    yield os.chmod, memory, 0o600
    yield os.chown, memory, 1, 1
    yield os.utime, memory, (1, 1)
    yield os.truncate, memory, 0
    yield os.setxattr, memory, "user.pager.codec", b"x"
    yield os.setxattr, guest, "user.x", b"x"
    yield os.removexattr, memory, "user.pager.codec"
    yield os.open, memory, os.O_WRONLY
    yield os.open, memory, os.O_RDONLY | os.O_TRUNC
    yield os.open, memory, os.O_RDWR | os.O_TRUNC
    yield os.open, f"{guest}/new", os.O_CREAT | os.O_RDONLY
    yield os.open, f"{guest}/manifest.json", os.O_RDWR
    yield os.open, f"{mnt}/snapshots", os.O_TMPFILE | os.O_RDWR


@pytest.mark.parametrize("option", ["cache=8M", "rdwr_open"])
# PITFALLS 48
def test_every_change_is_refused(mount, store, option):
    mnt = mount("-o", option).path
    for call, *arguments in change_calls(mnt):
        with pytest.raises(OSError) as e:
            call(*arguments)
        # A kernel that may write asks a file system for its temporary files.
        expected = ((errno.EROFS, errno.EOPNOTSUPP)
                    if os.O_TMPFILE | os.O_RDWR in arguments
                    else (errno.EROFS,))
        assert e.value.errno in expected, (call, arguments, e.value)
    memory = mnt / "snapshots/guest/memory"
    assert not os.access(memory, os.W_OK)
    assert memory.read_bytes() == store.images["guest"]


def test_without_rdwr_open_nothing_opens_for_writing(mount, store):
    fails(errno.EROFS, os.open, mount().memory(), os.O_RDWR)


def test_a_private_mapping_of_a_file_opened_for_writing(mount, store):
    """As QEMU before 8.2 does it: O_RDWR and MAP_PRIVATE."""
    mnt = mount("-o", "rdwr_open")
    image = store.images["guest"]
    fd = os.open(mnt.memory(), os.O_RDWR)
    private = mmap.mmap(fd, 0, mmap.MAP_PRIVATE,
                        mmap.PROT_READ | mmap.PROT_WRITE)
    other = mmap.mmap(fd, 0, mmap.MAP_PRIVATE,
                      mmap.PROT_READ | mmap.PROT_WRITE)
    assert private[:] == image
    private[5 * PAGE:6 * PAGE] = b"w" * PAGE
    assert other[:] == image
    assert private[5 * PAGE:6 * PAGE] == b"w" * PAGE
    fails(errno.ENODEV, mmap.mmap, fd, 0, mmap.MAP_SHARED,
          mmap.PROT_READ | mmap.PROT_WRITE)
    for call, *arguments in ((os.pwrite, fd, b"x", 0),
                             (os.write, fd, b"x" * 5000),
                             (os.ftruncate, fd, 0),
                             (os.posix_fallocate, fd, 0, PAGE),
                             (os.fchmod, fd, 0o600)):
        fails(errno.EROFS, call, *arguments)
    with open(mnt.snapshots / "guest/manifest.json", "rb") as source:
        fails(errno.EROFS, os.copy_file_range, source.fileno(), fd, 100,
              0, 0)
    assert other[:] == image
    assert mnt.memory().read_bytes() == image
    private.close()
    other.close()
    os.close(fd)


# Reading

# PITFALLS 52
def test_a_million_random_reads(mount, store, place):
    image = make_image(5000, seed=9) + b"x" * 77
    (place / "original").write_bytes(image)
    store.ctl("publish", "big", "--memory", place / "original")
    mnt = mount("-o", "cache=2M")
    done = subprocess.run(
        [READX, mnt.memory("big"), place / "original",
         "50000" if SANITIZED else "1000000", "1"], text=True,
        stdout=subprocess.PIPE, timeout=10 * DEADLINE)
    assert done.returncode == 0, done.stdout
    assert mnt.cache()["pinned"] == 0
    assert mnt.cache()["evictions"] > 0


# PITFALLS 52
def test_tools_that_copy(mount, rich, place):
    mnt = mount().path
    memory = mnt / "snapshots/rich one/memory"
    want = sha256(rich.images["rich one"])
    for how in "always", "auto", "never":
        subprocess.run(["cp", f"--sparse={how}", memory, place / how],
                       check=True)
        assert sha256((place / how).read_bytes()) == want
    allocated = (place / "auto").stat().st_blocks * 512
    assert allocated < 0.8 * len(rich.images["rich one"])
    said = subprocess.run(["sha256sum", memory], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    assert said.split()[0] == want
    subprocess.run(["cmp", memory, place / "always"], check=True)
    shutil.copyfile(memory, place / "copied")   # sendfile, copy_file_range
    assert sha256((place / "copied").read_bytes()) == want


# PITFALLS 52
def test_tar_and_diff_of_a_whole_tree(mount, rich, place):
    mnt = mount().path
    subprocess.run(["tar", "-S", "-cf", place / "tar", "-C", mnt, "snapshots",
                    "digests"], check=True)
    (place / "out").mkdir()
    subprocess.run(["tar", "-xf", place / "tar", "-C", place / "out"],
                   check=True)
    for name in "snapshots", "digests":
        subprocess.run(["diff", "-r", mnt / name, place / "out" / name],
                       check=True)
    assert (place / "tar").stat().st_size < \
        0.9 * sum(map(len, rich.images.values()))


# PITFALLS 49
def test_seek_in_every_file(mount, rich):
    mnt = mount().path
    for path in walk(mnt / "snapshots"):
        if os.path.isdir(path):
            continue
        with open(path, "rb") as f:
            size = os.fstat(f.fileno()).st_size
            content = f.read()
            assert len(content) == size
            for whence in os.SEEK_DATA, os.SEEK_HOLE:
                for past in size, size + 1, 1 << 60:
                    fails(errno.ENXIO, os.lseek, f.fileno(), past, whence)
            at, seen = 0, bytearray(size)
            while at < size:
                try:
                    data = os.lseek(f.fileno(), at, os.SEEK_DATA)
                except OSError as e:
                    assert e.errno == errno.ENXIO
                    break
                hole = os.lseek(f.fileno(), data, os.SEEK_HOLE)
                assert at <= data < hole <= size
                seen[data:hole] = content[data:hole]
                at = hole
            assert seen == content


def test_64_parallel_readers(mount, rich):
    mnt = mount("-o", "cache=4M")

    def read(n):
        name = "guest" if n % 2 else "rich one"
        rng = random.Random(n)
        image = rich.images[name]
        with open(mnt.memory(name), "rb", buffering=0) as f:
            for _ in range(20):
                at = rng.randrange(len(image))
                size = rng.randrange(1, 1 << 20)
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                got = b""
                while len(got) < min(size, len(image) - at):
                    more = os.pread(f.fileno(), size - len(got),
                                    at + len(got))
                    assert more
                    got += more
                assert got == image[at:at + size]

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        list(pool.map(read, range(64)))
    assert mnt.cache()["pinned"] == 0


# Numbers and names

def numbers(mnt):
    result = {}
    for path in walk(mnt):
        st = os.lstat(path)
        if "/.pager/" in path:
            continue
        result[os.path.relpath(path, mnt)] = (
            st.st_ino, st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns,
            st.st_blocks)
    return result


# PITFALLS 50
def test_inodes_and_times_are_stable(mount, rich):
    first = mount()
    before = numbers(first.path)
    assert numbers(first.path) == before
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("2")
    assert numbers(first.path) == before
    assert first.end() == 0
    assert numbers(mount().path) == before
    inodes = [value[0] for value in before.values()]
    assert len(set(inodes)) == len(inodes)
    for folder, _, _ in os.walk(first.path):
        for entry in os.scandir(folder):
            assert entry.inode() == entry.stat(follow_symlinks=False).st_ino


def test_new_and_removed_show_at_once(mount, store):
    mnt = mount()
    for n in range(20):
        assert not mnt.memory("new").exists()
        assert "new" not in os.listdir(mnt.snapshots)
        image = make_image(5, seed=100 + n)
        store.publish("new", image)
        assert mnt.memory("new").read_bytes() == image
        assert "new" in os.listdir(mnt.snapshots)
        digests = os.listdir(mnt.path / "digests")
        assert len(digests) == 2
        store.ctl("rm", "new")
        assert os.listdir(mnt.path / "digests") != digests


def test_what_is_open_cannot_be_removed(mount, store):
    mnt = mount()
    with open(mnt.memory(), "rb") as f:
        refused = store.ctl("rm", "guest", check=False)
        assert refused.returncode == 4
        assert re.fullmatch(r"pagerctl: [^\n]*guest[^\n]*\n", refused.stderr)
        view = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    # The mapping alone still holds it.
    assert store.ctl("rm", "guest", check=False).returncode == 4
    assert view[:] == store.images["guest"]
    view.close()
    store.ctl("rm", "guest")
    fails(errno.ENOENT, open, mnt.memory(), "rb")


# PITFALLS 55
def test_names_of_all_kinds(mount, store):
    mnt = mount()
    names = ["with space", "ünïcödé-名前", "x" * 255, "é" * 127, "a\\b",
             "*", "...", "a,b=c", "\U0001f600"]
    for name in names:
        store.publish(name, name.encode() * 500)
        assert mnt.memory(name).read_bytes() == name.encode() * 500
    assert set(os.listdir(mnt.snapshots)) == {"guest", *names}
    for bad in "..", ".", "a/b", "new\nline", "x" * 256, "", "tab\t":
        refused = store.ctl("publish", bad, "--memory", __file__, check=False)
        assert refused.returncode in (1, 2)
        assert len(refused.stderr.splitlines()) == 1
    assert set(os.listdir(mnt.snapshots)) == {"guest", *names}
    fails(errno.ENAMETOOLONG, os.stat, mnt.snapshots / ("x" * 256))
    fails(errno.ENOENT, os.stat, mnt.snapshots / "new\nline")
    assert os.path.samefile(mnt.snapshots / "guest" / "..", mnt.snapshots)


def copy_manifest(store, to):
    """A snapshot more, quickly: a manifest does not hold its name."""
    manifests = store.path / "snapshots"
    shutil.copyfile(manifests / "guest", manifests.parent / "tmp" / "copy")
    os.rename(manifests.parent / "tmp" / "copy", manifests / to)


# PITFALLS 51
def test_ten_thousand_snapshots_that_come_and_go(mount, store):
    count = 1000 if SANITIZED else 10000
    lasting = [f"lasting {n:05}" for n in range(count)]
    for name in lasting:
        copy_manifest(store, name)
    mnt = mount()
    stop = threading.Event()

    def come_and_go():
        rng = random.Random(1)
        while not stop.is_set():
            name = f"passing {rng.randrange(500)}"
            copy_manifest(store, name)
            os.unlink(store.path / "snapshots" / name)

    mover = threading.Thread(target=come_and_go)
    mover.start()
    try:
        for _ in range(5):
            seen = os.listdir(mnt.snapshots)
            assert len(set(seen)) == len(seen)
            assert sorted(n for n in seen if n.startswith("lasting")) == \
                lasting
        entries = sum(entry.is_dir() and entry.stat().st_ino > 0
                      for entry in os.scandir(mnt.snapshots)
                      if entry.name.startswith("lasting"))
        assert entries == count
    finally:
        stop.set()
        mover.join()
    image = store.images["guest"]
    for name in lasting[::997]:
        assert mnt.memory(name).read_bytes() == image
    assert len(os.listdir(mnt.path / "digests")) == 1


# Starting and who may

def pagerfs(*arguments, **keys):
    return subprocess.run([PAGERFS, *arguments], text=True, timeout=DEADLINE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **keys)


def test_wrong_usage_is_one_line_and_2(place):
    for arguments in ([], ["one"], ["a", "b", "c"], ["--bogus", "a", "b"],
                      ["a", "b", "-o", "colour=red"]):
        result = pagerfs(*arguments)
        assert result.returncode == 2 and result.stdout == ""
        assert re.fullmatch(r"pagerfs: [^\n]+\n", result.stderr)


def test_what_cannot_be_mounted_is_one_line_and_1(place, store):
    (place / "full").mkdir()
    (place / "full" / "file").write_text("x")
    (place / "mnt").mkdir()
    for of, on in ((place / "none", place / "mnt"),
                   (place / "full", place / "mnt"),
                   (store.path, place / "none"),
                   (store.path, store.path / "format")):
        for foreground in [], ["-f"]:
            result = pagerfs(of, on, *foreground)
            assert result.returncode == 1 and result.stdout == ""
            assert re.fullmatch(r"pagerfs: [^\n]+\n", result.stderr)
    assert not is_mounted(place / "mnt")


def test_help_and_manual_tell_the_same():
    result = pagerfs("--help")
    manual = (BUILD / "fs/mount/pagerfs.8").read_text().replace("\\-", "-")
    assert result.returncode == 0 and result.stderr == ""
    told = re.findall(r"^  (-\w|\w+)", result.stdout, re.M)
    assert told == re.findall(r"^\.TP\n\.B (-\w|\w+)", manual, re.M)
    assert len(told) >= 10
    assert pagerfs("--version").stdout.startswith("pagerfs ")


def test_in_the_background_and_by_mount_8(place, store):
    mnt = place / "mnt"
    mnt.mkdir()
    # Installed it is "-t fuse.pagerfs"; mount(8) searches no PATH of ours.
    for command in ([PAGERFS, store.path, mnt],
                    ["mount", "-t", f"fuse.{PAGERFS}", "-o", "cache=8M",
                     store.path, mnt]):
        subprocess.run(command, check=True, timeout=DEADLINE)
        try:
            line, = [ln for ln in open("/proc/self/mounts", encoding="utf-8")
                     if ln.split()[1] == str(mnt)]
            assert line.startswith(f"{store.path} {mnt} fuse.pagerfs ro,")
            image = (mnt / "snapshots/guest/memory").read_bytes()
            assert image == store.images["guest"]
            subprocess.run(["umount", mnt], check=True)
            assert not is_mounted(mnt)
        finally:
            unmount(mnt)


INSTALLED = """set -e
mount --bind "$1" /usr/local/bin
printf '%s %s fuse.pagerfs cache=8M,ro,nofail,_netdev 0 0\\n' "$2" "$3" > "$4"
check() {
    grep -q "^$2 $3 fuse.pagerfs ro," /proc/self/mounts
    cmp "$3/snapshots/guest/memory" "$5"
    umount "$3"
}
mount -t fuse.pagerfs "$2" "$3" -o cache=16M,readahead=0
check "$@"
mount -T "$4" "$3"
check "$@"
mount -t fuse.pagerfs "$2" "$3" -o colour=red && exit 1
mount -t fuse.pagerfs "$2/none" "$3" && exit 1
echo all done
"""


def test_mount_8_finds_an_installed_pagerfs(place, store):
    """By its type, and from fstab; in a mount namespace of its own."""
    for folder in "mnt", "bin":
        (place / folder).mkdir()
    shutil.copy(PAGERFS, place / "bin" / "pagerfs")
    (place / "image").write_bytes(store.images["guest"])
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", INSTALLED,
         "sh", place / "bin", store.path, place / "mnt", place / "fstab",
         place / "image"], text=True, timeout=DEADLINE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stdout.splitlines()[-1:] == ["all done"], done
    assert "colour" in done.stderr and "no store at" in done.stderr
    assert not is_mounted(place / "mnt")


def test_other_users_stay_outside_unless_let_in(mount, store, place):
    place.chmod(0o755)
    closed = mount()
    open_to = mount("-o", "allow_other,uid=65534", path=place / "open")

    def read_as_nobody(path):
        return subprocess.run(["cat", path], user=65534, group=65534,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)

    assert read_as_nobody(closed.memory()).returncode == 1
    done = read_as_nobody(open_to.memory())
    assert done.returncode == 0 and done.stdout == store.images["guest"]


# PITFALLS 47
def test_a_store_of_a_newer_format(kind, store, place):
    """The version stands behind the magic, and is judged before all else."""
    with open(store.path / "format", "r+b") as f:
        f.seek(8)
        f.write((99).to_bytes(4, "little"))
    with pytest.raises(AssertionError) as e:
        kind(store.path, place / "mnt")
    assert "99" in str(e.value) and "newer" in str(e.value)
    assert not is_mounted(place / "mnt")


# PITFALLS 47
def test_a_store_of_another_user(kind, store, place):
    os.chown(store.path / "snapshots", 65534, 65534)
    with pytest.raises(AssertionError) as e:
        kind(store.path, place / "mnt")
    assert "belongs to user 65534" in str(e.value)
    assert not is_mounted(place / "mnt")


# PITFALLS 47
def test_a_read_only_store(kind, store, place):
    (place / "bound").mkdir()
    subprocess.run(["mount", "--bind", store.path, place / "bound"],
                   check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place / "bound"],
                   check=True)
    try:
        with kind(place / "bound", place / "mnt") as mnt:
            assert mnt.memory().read_bytes() == store.images["guest"]
    finally:
        unmount(place / "bound")


# PITFALLS 46
def test_publishing_from_the_mount_itself(mount, store):
    """A store that is read through its own mount while it grows."""
    mnt = mount("-o", "cache=4M")
    image = store.images["guest"]
    for n in range(5):
        store.ctl("publish", f"copy {n}", "--memory", mnt.memory(),
                  "--attach", f"again={mnt.snapshots}/guest/pages")
        assert mnt.memory(f"copy {n}").read_bytes() == image
    assert (mnt.snapshots / "copy 4/again").read_bytes() == \
        (mnt.snapshots / "guest/pages").read_bytes()
