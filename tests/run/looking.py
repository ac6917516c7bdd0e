"""What the tests share that look at a Python process from outside: processes on the library, and what a command says of them.

PYMALLOC_WATCH names the tool; without it these tests are skipped.
"""

import os
import subprocess
import sys
import unittest

import installed

sys.path.insert(0, os.path.join(installed.ROOT, "benches", "python"))
import pythons  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
WATCH = os.environ.get("PYMALLOC_WATCH")
PLANTED = os.path.join(HERE, "planted.py")


def found():
    """The CPythons of this machine, oldest first."""
    return [interpreter.path for interpreter in pythons.interpreters()]


@unittest.skipUnless(WATCH, "PYMALLOC_WATCH does not name the tool")
class Test(installed.Test):
    def setUp(self):
        super().setUp()
        os.symlink(os.path.abspath(WATCH), self.path("bin/pymalloc-watch"))

    def started(self, python, *arguments):
        """A Python program on the library: the process, and the first line that it wrote."""
        environment = {**os.environ, "LD_PRELOAD": installed.LIBRARY, "PYTHONMALLOC": "malloc"}
        process = subprocess.Popen([python, "-B", *arguments], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.kill)
        return process, process.stdout.readline()

    def command(self, *arguments, **more):
        """Runs `pymalloc`: what subprocess.run gives."""
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": installed.LIMIT, **more}
        return subprocess.run([self.path("bin/pymalloc"), *map(str, arguments)], **more)

    def told(self, *arguments):
        """What it says. It must end well."""
        done = self.command(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout
