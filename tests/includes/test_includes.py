"""The tree keeps to its table, and the check finds what does not."""
import pathlib
import tempfile
import unittest

import check_includes

ROOT = pathlib.Path(__file__).resolve().parents[2]

GOOD = {
    "docs/architecture.md": "```text\n    pool -> index, device\n    device -> mem\n```\n",
    "src/base/CMakeLists.txt": "kvpool_room(base SOURCES a.cpp)",
    "src/mem/CMakeLists.txt": "kvpool_room(mem DEPS base SOURCES a.cpp)",
    "src/index/CMakeLists.txt": "kvpool_room(index DEPS base SOURCES a.cpp)",
    "src/device/CMakeLists.txt": "kvpool_room(device DEPS base mem SOURCES a.cpp)",
    "src/pool/CMakeLists.txt": "kvpool_room(pool DEPS base index device SOURCES a.cpp)",
    "src/pool/a.cpp": '#include "pool/a.h"\n#include "index/index.h"\n#include "kvpool/pool.h"\n',
    "src/device/a.cpp": '#include <vector>\n#include "base/check.h"\n#include "mem/region.h"\n',
    "src/mem/a.cpp": "",
    "src/index/a.cpp": "",
    "apps/CMakeLists.txt": "",
    "bench/CMakeLists.txt": "",
}


class MadeUpTree(unittest.TestCase):
    def problems(self, files):
        tree = GOOD | files
        with tempfile.TemporaryDirectory() as folder:
            for path, text in tree.items():
                file = pathlib.Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            return check_includes.check(pathlib.Path(folder))

    def test_a_good_tree_has_no_problem(self):
        self.assertEqual(self.problems(files={}), [])

    def test_a_bad_include_is_found(self):
        found = self.problems(files={"src/device/b.cpp": '#include "index/index.h"\n'})
        self.assertEqual(found, ['src/device/b.cpp: "index/index.h": the table has no '
                                 'device -> index'])

    def test_an_edge_has_a_direction(self):
        self.assertEqual(len(self.problems(files={"src/mem/b.h": ' # include "device/x.h"'})), 1)

    def test_an_edge_does_not_reach_further(self):
        self.assertEqual(len(self.problems(files={"src/pool/b.h": '#include "mem/region.h"'})), 1)

    def test_a_bad_link_is_found(self):
        found = self.problems(files={
            "src/mem/CMakeLists.txt": "kvpool_room(mem\n  DEPS base index  # why\n SOURCES a.cpp)"})
        self.assertEqual(found, ["src/mem/CMakeLists.txt: mem links index: the table has no "
                                 "mem -> index"])
        self.assertEqual(len(self.problems(files={
            "apps/CMakeLists.txt": "target_link_libraries(x PRIVATE kvpool_mem fmt::fmt)"})), 1)

    def test_an_include_that_is_not_linked_is_found(self):
        found = self.problems(files={
            "src/device/CMakeLists.txt": "kvpool_room(device DEPS base SOURCES a.cpp)"})
        self.assertEqual(found, ['src/device/a.cpp: "mem/region.h": device does not list mem in '
                                 'its DEPS'])

    def test_a_room_that_is_not_there_is_found(self):
        found = self.problems(files={"docs/architecture.md": GOOD["docs/architecture.md"] +
                                     "    pool -> attic\n"})
        self.assertEqual(len(found), 1)
        self.assertIn("attic", found[0])


class ThisTree(unittest.TestCase):
    def test_keeps_to_its_table(self):
        self.assertEqual(check_includes.check(ROOT), [])


if __name__ == "__main__":
    unittest.main()
