"""Counts the results that contrib/test left in its log folder.

Prints every failed and every skipped test, then "N passed, N failed".
Exit status 0 only where nothing failed, nothing was skipped and something
was run.
"""
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def junit(path):
    """Yields (name, result, reason) for each case of a JUnit file."""
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{path.stem}: {case.get('classname')}/{case.get('name')}"
        bad = [c for c in case if c.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if bad or case.get("status") == "fail":
            yield name, "failed", ""
        elif skipped is not None or case.get("status") == "notrun":
            reason = "" if skipped is None else skipped.get("message", "")
            yield name, "skipped", reason
        else:
            yield name, "passed", ""


def checks(path):
    for line in path.read_text().splitlines():
        name, result = line.rsplit(" ", 1)
        yield name, result, ""


def main(logs):
    results = []
    for path in sorted(logs.glob("*.xml")):
        results += junit(path)
    for path in sorted(logs.glob("*.result")):
        results += checks(path)
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for name, result, reason in results:
        count[result] += 1
        if result != "passed":
            print(f"{result}: {name} {reason}".rstrip())
    line = f"{count['passed']} passed, {count['failed']} failed"
    if count["skipped"]:
        line += f", {count['skipped']} skipped"
    print(line)
    good = count["passed"] and not count["failed"] and not count["skipped"]
    return 0 if good else 1


sys.exit(main(pathlib.Path(sys.argv[1])))
