"""Which CPython a name stands for, beside programs of that name that do not start one."""

import os
import sys
import tempfile
import unittest
from unittest import mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "benches", "python"))
import pythons

THIRTEEN = pythons.Interpreter("3.13", "/somewhere/python3", "3.13.0")


class Named(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        patched = mock.patch.dict(os.environ, PATH=self.folder.name)
        patched.start()
        self.addCleanup(patched.stop)

    def program(self, name, script):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o755)

    def test_a_shim_that_fails_stands_for_the_one_found(self):
        self.program("python3.13", "exit 127")
        self.assertEqual(pythons._named("python3.13", {"3.13": THIRTEEN}), THIRTEEN)

    def test_one_that_is_not_on_path_stands_for_the_one_found(self):
        self.assertEqual(pythons._named("python3.13", {"3.13": THIRTEEN}), THIRTEEN)

    def test_what_a_program_starts_comes_before_its_name(self):
        self.program("python3.13", f'exec "{sys.executable}" "$@"')
        running = "{}.{}".format(*sys.version_info)
        self.assertEqual(pythons._named("python3.13", {}).version, running)

    def test_what_is_none_is_told_in_one_line(self):
        self.program("tool", "exit 0")
        for name, reason in [("python3.99", "there is no such program"), ("tool", "is not a released CPython")]:
            with self.assertRaises(SystemExit) as stopped:
                pythons._named(name, {"3.13": THIRTEEN})
            self.assertIn(reason, str(stopped.exception))


if __name__ == "__main__":
    unittest.main()
