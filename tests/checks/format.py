"""Every C file of the tree is as clang-format leaves it."""
import subprocess
import sys

TOP = sys.argv[1]
files = subprocess.run(
    ["git", "-C", TOP, "ls-files", "-co", "--exclude-standard",
     "*.c", "*.h"], check=True, text=True,
    stdout=subprocess.PIPE).stdout.split()
sys.exit(subprocess.run(
    ["clang-format", "--dry-run", "--Werror", *files], cwd=TOP).returncode)
