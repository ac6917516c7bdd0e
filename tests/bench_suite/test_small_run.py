"""A small run of the real `make bench`: on C and on CPython, with the library as it is built here."""

import json
import os
import subprocess
import unittest

import fake
from suite import places


class SmallRun(unittest.TestCase):
    def test_small_run(self):
        output = places.Output(os.path.join(places.TARGET, "tmp", "bench"))
        # An outer make's jobs and variables are not for this one.
        environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH")}
        command = [
            "make", "--no-print-directory", "bench", "QUICK=1", "FRESH=1", "ROUNDS=2", "ONLY=lifo,json_loads", "ALLOC=pymalloc",
            f"OUTPUT={output.directory}",
        ]
        done = subprocess.run(command, cwd=fake.ROOT, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

        with open(output.result, encoding="utf-8") as file:
            result = json.load(file)
        (version,) = result["pythons"]
        expected = [("c1", "lifo", allocator) for allocator in ("glibc", "pymalloc")]
        expected += [("cn", "lifo", allocator) for allocator in ("glibc", "pymalloc")]
        expected += [(f"py{version}", "json_loads", allocator) for allocator in ("glibc", "own", "pymalloc")]
        rows = [(run["round"], run["group"], run["workload"], run["allocator"]) for run in result["runs"]]
        self.assertEqual(sorted(rows), [(number, *row) for number in (1, 2) for row in expected])
        for run in result["runs"]:
            self.assertIsNone(run["failure"])
            self.assertTrue(0 < run["seconds"] < 60 and run["peak"] > 1 << 20 and run["faults"] > 50, run)
        self.assertTrue(result["quick"] and result["finished"])
        self.assertGreater(os.path.getsize(output.report), 10_000)


if __name__ == "__main__":
    unittest.main()
