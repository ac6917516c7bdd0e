"""The Python module and the worked example, on every CPython found."""

import os
import subprocess
import sys
import unittest

import installed

sys.path.insert(0, os.path.join(installed.ROOT, "benches", "python"))
import pythons

INSIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside.py")
EXAMPLE = os.path.join(installed.MODULE, "examples", "lifetime.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": installed.MODULE, "PYTHONDONTWRITEBYTECODE": "1"}


class Module(installed.Test):
    def each(self):
        found = pythons.interpreters()
        self.assertTrue(found)
        return [interpreter.path for interpreter in found]

    def oldest_and_newest(self):
        found = self.each()
        return {found[0], found[-1]}

    def test_inside(self):
        for python in self.each():
            done = self.run_it(python, INSIDE, self.folder, env=ENVIRONMENT)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_worked_example(self):
        for python in self.each():
            shown = self.output(python, EXAMPLE, env=ENVIRONMENT)
            self.assertIn("the last name deleted:  0 references, free", shown)
            self.assertIn("both arenas are unmapped", shown)

    def test_without_the_library(self):
        program = (
            "import pymalloc\n"
            "print(pymalloc.enabled())\n"
            "for function in (pymalloc.stats, pymalloc.trim, lambda: pymalloc.inspect(1), lambda: pymalloc.heapmap('/no/file')):\n"
            "    try: function()\n"
            "    except pymalloc.NotLoaded as error: print(error)\n"
        )
        said = "pymalloc is not loaded in this process: start it with `pymalloc run python3 ...`"
        for python in self.oldest_and_newest():
            done = subprocess.run([python, "-c", program], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
            self.assertEqual(done.stdout.splitlines(), ["False"] + [said] * 4)
            done = subprocess.run([python, EXAMPLE], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, r"\Alifetime\.py: .*\n\Z")

    def test_with_the_library_but_other_objects(self):
        program = f"import sys; sys.path.append({installed.MODULE!r}); import pymalloc\n"
        program += "print(pymalloc.enabled(), 'pid' in pymalloc.stats())"
        for python in self.oldest_and_newest():
            done = self.run_it(python, "-E", "-c", program)
            self.assertEqual((done.returncode, done.stdout), (0, "False True\n"), done)
            self.assertRegex(done.stderr, r"\Apymalloc-run: Python's option -E ignores PYTHONMALLOC.*\n\Z")


if __name__ == "__main__":
    unittest.main()
