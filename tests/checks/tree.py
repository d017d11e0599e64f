"""What the tree may hold: limits that a reader relies on.

Files under 800 lines, folders of at most a dozen sources, functions under 100
lines, no unfinished marks, no risky libc calls, no paths of one machine.
"""
import collections
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(sys.argv[1])
FILE_LINES = 800
FUNCTION_LINES = 100
FOLDER_FILES = 12
BANNED = re.compile(
    r"\b(strcpy|strcat|sprintf|vsprintf|gets|strncpy|strtok|alloca|"
    r"mktemp|tmpnam|system|usleep|sleep)\s*\(")
MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
PATHS = re.compile(r"(?<![\w.$}])/(work|root|farm)/")
SOURCES = (".c", ".h")

problems = []


def problem(path, text, line=None):
    where = f"{path}:{line}" if line else f"{path}"
    problems.append(f"{where}: {text}")


def listed():
    out = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP,
        check=True, text=True, stdout=subprocess.PIPE).stdout
    return [pathlib.Path(n) for n in out.splitlines()
            if (TOP / n).is_file()]


def strip_comments(text):
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text,
                  flags=re.S)


def check_functions(path, lines):
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start > FUNCTION_LINES:
                problem(path, f"a function of {number - start} lines", start)
            start = None


def check_source(path, text):
    lines = text.splitlines()
    if len(lines) > FILE_LINES:
        problem(path, f"{len(lines)} lines; {FILE_LINES} is the limit")
    check_functions(path, lines)
    for number, line in enumerate(strip_comments(text).splitlines(), 1):
        match = BANNED.search(line)
        if match:
            problem(path, f"{match.group(1)}() is banned", number)


def main():
    folders = collections.Counter()
    for path in listed():
        try:
            text = (TOP / path).read_text()
        except UnicodeDecodeError:
            continue
        if path.suffix in SOURCES:
            if path.parts[0] in ("fs", "pagerd"):
                folders[path.parent] += 1
            check_source(path, text)
        if path != pathlib.Path("tests/checks/tree.py"):
            for number, line in enumerate(text.splitlines(), 1):
                if MARKS.search(line):
                    problem(path, "an unfinished mark", number)
                if PATHS.search(line):
                    problem(path, "a path of one machine", number)
    for folder, count in folders.items():
        if count > FOLDER_FILES:
            problem(folder, f"{count} sources; {FOLDER_FILES} is the limit")
    print("\n".join(problems))
    return 1 if problems else 0


sys.exit(main())
