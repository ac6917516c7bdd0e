"""A process that lies: every command says something of it, or one line, in bounded time and memory, and writes nothing that moves a cursor."""

import json
import os
import re
import resource
import subprocess
import tempfile
import unittest

import installed
import looking

MIB = 1 << 20
# What every command may take, whatever it is told.
MOST_MEMORY = 256 * MIB
# Seconds, on a busy machine. Alone it is a third.
LIMIT = 100
SHOWN = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]*")


class Hostile(looking.Test):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="pymalloc-hostile-")
        cls.addClassCleanup(folder.cleanup)
        cls.hostile = os.path.join(folder.name, "hostile")
        source = os.path.join(looking.HERE, "hostile.c")
        subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-Werror", source, "-o", cls.hostile], check=True)

    def lying(self, how):
        environment = {**os.environ, "LD_PRELOAD": installed.LIBRARY}
        process = subprocess.Popen([self.hostile, how], env=environment, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def look(self, *arguments):
        """What the tool says of it: its status and output. Whatever it is, it is bounded, and can be shown."""
        files = [self.path("out"), self.path("error")]
        with open(files[0], "wb") as out, open(files[1], "wb") as error:
            process = subprocess.Popen([looking.WATCH, *map(str, arguments)], stdout=out, stderr=error)
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (LIMIT, LIMIT))
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out, error = map(self.read, ("out", "error"))
        self.assertLess(used.ru_maxrss * 1024, MOST_MEMORY, arguments)
        self.assertIn(process.returncode, (0, 1), error)
        self.assertTrue(SHOWN.fullmatch(out) and SHOWN.fullmatch(error), (arguments, out[:300], error[:300]))
        if process.returncode:
            self.assertRegex(error, r"\Apymalloc-watch: .+\n\Z")
            self.assertEqual(out, "")
        else:
            self.assertEqual(error, "")
        return process.returncode, out

    def each_command(self, pid):
        snapshot = self.path("snapshot")
        for arguments in (["--types", "--json"], ["--types"], ["--pins"], ["--pins", "--json"], ["--why", "--for", "0.1"], ["--once"], ["--json"]):
            yield self.look(*arguments, pid)
        yield self.look("--snapshot", pid, "-o", snapshot)
        if os.path.exists(snapshot):
            yield self.look("--diff", snapshot, snapshot)

    def test_types_that_are_none(self):
        process = self.lying("types")
        for status, _ in self.each_command(process.pid):
            self.assertEqual(status, 0)
        _, out = self.look("--types", "--json", process.pid)
        told = json.loads(out)
        # Those of a proper metatype and with a name count; those in a circle are none.
        self.assertGreater(len(told["types"]), 1000)
        self.assertLess(len(told["types"]), 1 << 15)
        self.assertTrue(any("?" in row["name"] for row in told["types"]))

    def test_types_that_change(self):
        process = self.lying("changing")
        for status, _ in self.each_command(process.pid):
            self.assertEqual(status, 0)

    def test_figures_that_are_none(self):
        process = self.lying("statics")
        for arguments in (["--types", "--json"], ["--pins"], ["--json", "--count", "20", "--interval", "0.01"]):
            self.look(*arguments, process.pid)

    def test_a_process_that_becomes_itself_anew(self):
        process = self.lying("execs")
        told = [self.look(what, process.pid)[0] for what in ("--types", "--pins", "--once") * 15]
        # Now and then it is met with the library in it.
        self.assertIn(0, told)

    def test_a_process_that_ends(self):
        for _ in range(20):
            process = self.lying("ends")
            self.look("--types", process.pid)


if __name__ == "__main__":
    unittest.main()
