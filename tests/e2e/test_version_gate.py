"""contrib/version-gate on small repositories."""
import os
import subprocess

import pytest

from conftest import HERE

GATE = HERE.parent.parent / "contrib" / "version-gate"
ENV = {**os.environ, "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t",
       "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}


class Repository:
    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")
        self.commit(VERSION="1.9.0\n", **{"fs/a.c": "a", "README.md": "r"})
        self.git("branch", "base")

    def git(self, *arguments):
        subprocess.run(["git", *arguments], cwd=self.path, env=ENV,
                       check=True, stdout=subprocess.DEVNULL)

    def commit(self, **files):
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    def gate(self, *arguments):
        return subprocess.run([GATE, *arguments], cwd=self.path, env=ENV,
                              capture_output=True, text=True).returncode


@pytest.fixture
def repository(place):
    return Repository(place / "repository")


@pytest.mark.parametrize("version, status", [
    ("1.9.0", 1), ("1.10.0", 0), ("2.0.0", 0), ("1.9.1", 0), ("1.8.9", 1),
    ("0.99.99", 1), ("1.9", 2), ("", 2), ("1.9.0-rc1", 2), ("01.9.00", 1)])
def test_runtime_code_wants_a_higher_version(repository, version, status):
    repository.commit(VERSION=version + "\n", **{"fs/a.c": "b"})
    assert repository.gate("base") == status


def test_other_files_want_none(repository):
    repository.commit(**{"README.md": "s", "tests/t.c": "t"})
    assert repository.gate("base") == 0


def test_a_removed_file_is_a_change(repository):
    (repository.path / "fs/a.c").unlink()
    repository.commit()
    assert repository.gate("base") == 1


def test_it_fails_closed(repository, place):
    repository.commit(VERSION="2.0.0\n")
    assert repository.gate() == 2
    assert repository.gate("nobody") == 2
    repository.git("checkout", "-q", "--orphan", "lonely")
    repository.commit(VERSION="3.0.0\n", **{"fs/a.c": "c"})
    assert repository.gate("base") == 2
    repository.git("rm", "-q", "--cached", "VERSION")
    (repository.path / "VERSION").unlink()
    repository.git("commit", "-q", "-m", "no version")
    assert repository.gate("lonely") == 2
    subprocess.run(["git", "clone", "-q", "--depth", "1",
                    f"file://{repository.path}", place / "shallow"],
                   check=True)
    assert subprocess.run([GATE, "HEAD"], cwd=place / "shallow",
                          capture_output=True).returncode == 2
