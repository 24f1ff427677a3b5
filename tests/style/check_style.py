#!/usr/bin/env python3
"""Rules of the house that no compiler knows. Prints one line a violation."""
import pathlib
import re
import sys

MOST_LINES = 500
CODE = {".h", ".cpp"}
TEXT = CODE | {".c", ".py", ".pyi", ".md", ".txt", ".cmake", ".toml", ""}
FOLDERS = ("src", "include", "apps", "bench", "tests", "examples", "scripts", "cmake", "docs", "python")

# (what it looks like, where, why). Written so that this file does not match itself.
RULES = (
    (re.compile(r"\b(TO" "DO|FIX" "ME|XX" "X)\\b"), TEXT, FOLDERS, "finish it or leave it out"),
    (re.compile(r"\b(secure_)?get" r"env\b"), CODE, ("src",), "settings come in Config"),
    (re.compile(r"/(wo" r"rk|ho" r"me)/"), TEXT, FOLDERS, "a path of one machine"),
)
SLEEP = re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep)\b")


def check_file(name, text):
    """Violations of one file; `name` is its path from the root, with slashes."""
    suffix = pathlib.PurePosixPath(name).suffix
    lines = text.splitlines()
    if suffix in CODE and len(lines) >= MOST_LINES:
        yield f"{name}: {len(lines)} lines, {MOST_LINES} or more: split it"
    for number, line in enumerate(lines, 1):
        for pattern, suffixes, folders, why in RULES:
            if suffix in suffixes and name.split("/")[0] in folders and pattern.search(line):
                yield f"{name}:{number}: {pattern.search(line).group(0)}: {why}"
        if name.startswith("src/") and name.endswith("_test.cpp") and SLEEP.search(line):
            yield f"{name}:{number}: a unit test that sleeps: use a clock of its own"


def check(root):
    problems = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and path.suffix in TEXT and "/corpus/" not in name:
                problems += check_file(name, path.read_text(errors="replace"))
    return problems


def main():
    problems = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve())
    print("\n".join(problems) or "the rules of the house are kept")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
