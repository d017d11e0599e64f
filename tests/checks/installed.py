"""What an installation holds, and that a program builds against it."""
import os
import pathlib
import subprocess
import sys
import tempfile

PREFIX = pathlib.Path(sys.argv[1]).resolve()
PROGRAMS = ("pagerd", "pagerctl", "pagerfs", "pagerbench")
FILES = (
    *(f"bin/{name}" for name in PROGRAMS),
    "lib/libpager.so",
    "lib/pager/libpager-preload.so",
    "lib/pkgconfig/pager.pc",
    "include/pager/pager.h",
    "lib/systemd/system/pagerd.service",
    "share/man/man1/pagerctl.1",
    "share/man/man8/pagerd.8",
    "share/man/man8/pagerfs.8",
    "share/bash-completion/completions/pagerctl.bash",
    "share/zsh/site-functions/_pagerctl",
)
PROGRAM = """
#include <pager/pager.h>
#include <stdio.h>

int main(void)
{
	struct pager *p;

	if (pager_open(NULL, &p) < 0)
		return 1;
	puts("opened");
	pager_close(p);
	return 0;
}
"""


def output(*command, **keys):
    return subprocess.run(command, check=True, text=True,
                          stdout=subprocess.PIPE, **keys).stdout


def check_files():
    missing = [name for name in FILES if not (PREFIX / name).exists()]
    assert not missing, f"not installed: {missing}"


def check_programs():
    version = (pathlib.Path(__file__).parents[2] / "VERSION").read_text()
    for name in PROGRAMS:
        shown = output(PREFIX / "bin" / name, "--help")
        long = [ln for ln in shown.splitlines() if len(ln) > 80]
        assert shown and not long, f"{name} --help: {long}"
    for name in ("pagerd", "pagerctl"):
        assert version.strip() in output(PREFIX / "bin" / name, "--version")


def check_library():
    """A C program, by pkg-config alone."""
    env = {**os.environ, "PKG_CONFIG_PATH": str(PREFIX / "lib/pkgconfig"),
           "LD_LIBRARY_PATH": str(PREFIX / "lib")}
    flags = output("pkg-config", "--cflags", "--libs", "pager",
                   env=env).split()
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "user.c"
        source.write_text(PROGRAM)
        user = pathlib.Path(folder) / "user"
        output("gcc", "-Wall", "-Werror", source, "-o", user, *flags, env=env)
        assert output(user, env=env) == "opened\n"


check_files()
check_programs()
check_library()
