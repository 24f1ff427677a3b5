"""The tree keeps the rules, and the check finds what does not."""
import pathlib
import unittest

import check_style

ROOT = pathlib.Path(__file__).resolve().parents[2]


class MadeUpFiles(unittest.TestCase):
    def test_what_breaks_a_rule_is_found(self):
        for name, text in (
            ("src/pool/a.cpp", "x;\n" * 500),
            ("src/pool/a.cpp", "std::get" "env(\"HOME\");"),
            ("docs/a.md", "TO" "DO: write"),
            ("scripts/a", "cd /wo" "rk/main"),
            ("src/pool/a_test.cpp", "std::this_thread::sleep_for(1s);"),
        ):
            self.assertEqual(len(list(check_style.check_file(name, text))), 1, name)

    def test_what_keeps_them_is_not(self):
        for name, text in (
            ("src/pool/a.cpp", "x;\n" * 499),
            ("apps/kvpool/a.cpp", "std::get" "env(\"COLUMNS\");"),
            ("src/device/slow.cpp", "nanosleep(&time, nullptr);"),
        ):
            self.assertEqual(list(check_style.check_file(name, text)), [], name)


class ThisTree(unittest.TestCase):
    def test_keeps_the_rules(self):
        self.assertEqual(check_style.check(ROOT), [])


if __name__ == "__main__":
    unittest.main()
