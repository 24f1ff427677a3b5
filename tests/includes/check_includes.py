#!/usr/bin/env python3
"""Holds #include lines and link lists to the table of rooms in docs/architecture.md.

A room is a folder of src/, or apps, bench or python. An edge `a -> b` lets files of a include "b/..." and
targets of a link b. Everyone may use base and the public headers. Prints one line a violation.
"""
import pathlib
import re
import sys

EVERYONE = {"base", "kvpool"}
OUTSIDE = {"options", "shared"}  # warnings, and the C face's library, which is the room c
TOPS = {"apps", "bench", "python"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
CALL = re.compile(r"\b(kvpool_room|kvpool_test|target_link_libraries)\s*\(([^()]*)\)", re.DOTALL)
LISTS = {"DEPS", "LIBS", "SOURCES", "LABELS", "TIMEOUT", "COMMAND"}


def read_table(document):
    """{room: set of rooms} from the block of `a -> b, c` lines."""
    edges = {}
    for line in document.splitlines():
        match = re.fullmatch(r"\s{4}(\w+) -> ([\w, ]+)", line)
        if match:
            rooms = {room.strip() for room in match.group(2).split(",")}
            edges.setdefault(match.group(1), set()).update(rooms)
    return edges


def room_of(path):
    """The room that a file, relative to the root, lies in; None for those that are no room."""
    parts = path.parts
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return parts[0] if parts[0] in TOPS else None


def allowed(edges, room, other):
    return other == room or other in EVERYONE or other in edges.get(room, set())


def included_rooms(text, rooms):
    """The rooms that the text's quoted includes name, with the include itself."""
    for name in INCLUDE.findall(text):
        first = name.split("/")[0]
        if "/" in name and first in rooms:
            yield first, name


def linked_targets(text):
    """(target, [targets it links]) for each call; names without the kvpool_ prefix."""
    for verb, body in CALL.findall(re.sub(r"#.*", "", text)):
        words = body.split()
        if verb == "target_link_libraries":
            linked = [word[7:] for word in words[1:] if word.startswith("kvpool_")]
        else:
            linked, current = [], None
            for word in words[1:]:
                if word in LISTS:
                    current = word
                elif current == "DEPS":
                    linked.append(word)
        if words:
            yield verb, words[0].removeprefix("kvpool_"), [t for t in linked if t not in OUTSIDE]


def files(root, *patterns):
    for top in ("src", *sorted(TOPS)):
        for pattern in patterns:
            yield from sorted((root / top).rglob(pattern))


def check(root):
    """A list of violations, empty when all is well."""
    edges = read_table((root / "docs/architecture.md").read_text())
    rooms = {path.name for path in (root / "src").iterdir() if path.is_dir()} | TOPS
    problems = [f"docs/architecture.md: {room} is in the table and not in the tree"
                for room in sorted((set(edges) | set().union(*edges.values())) - rooms)]
    lists = {path.relative_to(root): list(linked_targets(path.read_text()))
             for path in files(root, "CMakeLists.txt", "*.cmake")}
    target_room = {target: room_of(path) for path, calls in lists.items()
                   for verb, target, _ in calls if verb == "kvpool_room"}
    room_links = {}
    for path, calls in lists.items():
        room = room_of(path)
        for verb, target, linked in calls:
            for other in linked:
                if other not in target_room:
                    problems.append(f"{path}: {target} links {other}, which no kvpool_room makes")
                elif not allowed(edges, room, target_room[other]):
                    problems.append(f"{path}: {target} links {other}: the table has no "
                                    f"{room} -> {target_room[other]}")
            if verb == "kvpool_room":
                room_links.setdefault(room, set()).update(target_room.get(t) for t in linked)
    for path in files(root, "*.h", "*.cpp"):
        relative = path.relative_to(root)
        room = room_of(relative)
        for other, name in included_rooms(path.read_text(errors="replace"), rooms):
            if not allowed(edges, room, other):
                problems.append(f'{relative}: "{name}": the table has no {room} -> {other}')
            elif (relative.parts[0] == "src" and not path.name.endswith("_test.cpp")
                  and other != room and other not in room_links.get(room, set())):
                problems.append(f'{relative}: "{name}": {room} does not list {other} in its DEPS')
    return problems


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    problems = check(root)
    print("\n".join(problems) or "every include and link is an edge of the table")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
