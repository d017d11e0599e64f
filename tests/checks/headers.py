"""Every header compiles alone, so each includes what it uses.

Headers of include/pager are compiled without our own flags and folders, as
a user of the library does it.
"""
import pathlib
import subprocess
import sys

TOP = pathlib.Path(sys.argv[1])
FLAGS = ["-std=gnu11", "-Wall", "-Werror", "-fsyntax-only", "-x", "c"]
# Those that put their headers into a folder of their own.
LIBRARIES = subprocess.run(
    ["pkg-config", "--cflags", "fuse3"], check=True, text=True,
    stdout=subprocess.PIPE).stdout.split()


def headers():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.h"], cwd=TOP,
        check=True, text=True, stdout=subprocess.PIPE).stdout.split()
    return [pathlib.Path(name) for name in listed]


def compiles(header):
    flags = ["-I", str(TOP / "include")]
    if header.parts[0] != "include":
        flags += ["-D_GNU_SOURCE", "-I", str(TOP), "-DPAGER_INJECT=1",
                  "-D_FILE_OFFSET_BITS=64", *LIBRARIES]
    include = (header.relative_to("include")
               if header.parts[0] == "include" else header)
    result = subprocess.run(
        ["gcc", *FLAGS, *flags, "-"], input=f'#include "{include}"\n',
        cwd=TOP, text=True, stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
    if result.returncode:
        print(f"{header} does not compile alone:\n{result.stdout}")
    return result.returncode == 0


bad = [h for h in headers() if not compiles(h)]
sys.exit(1 if bad else 0)
