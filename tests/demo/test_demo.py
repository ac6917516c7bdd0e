"""`make demo`: a person sees that it goes on, and it ends in a minute also where a run takes three times as long."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

import demo  # noqa: E402
from demo import OURS, OWN  # noqa: E402


def rounds_of(seconds):
    """How many rounds there are, and how long they take, where one takes so long."""
    lengths = []
    while demo.another_round(lengths):
        lengths.append(seconds)
    return len(lengths), sum(lengths)


class Rounds(unittest.TestCase):
    def test_fewer_where_a_round_takes_long(self):
        # On two cores of 2026 a round takes 6.6 s.
        self.assertEqual(rounds_of(6.6)[0], 6)
        self.assertEqual(rounds_of(0.5)[0], 9)
        rounds, seconds = rounds_of(3 * 6.6)
        self.assertEqual(rounds, 2)
        self.assertLess(seconds, 45, "there is a build before it")

    def test_a_long_round_is_expected_again(self):
        self.assertTrue(demo.another_round([10, 10]))
        self.assertFalse(demo.another_round([10, 16]))

    def test_allocators_take_turns_and_the_table_tells_how_often(self):
        ran = []

        def run(name, progress, **more):
            ran.append(name)
            return {"seconds": 1.0 if name == OWN else 0.5 * len(ran), "peak": 4 << 20, "left": 1 << 20, "modules": 7, "bytes": 1e6, "passes": 2,
                    "digest": "same", "stderr": ""}  # fmt: skip

        with unittest.mock.patch.object(demo, "run", run):
            result, _ = demo.measure(3, demo.Progress())
        self.assertEqual(ran, [OWN, OURS] * 3)
        self.assertIn("3 runs on each allocator, in turns", demo.demo_result.work(result))
        # Of 1.0, 2.0 and 3.0 s.
        self.assertRegex(demo.demo_result.table(result)[1], r"^time, median +1\.00 s +2\.00 s +2\.00   1\.00 to 3\.00$")


class GoingOn(unittest.TestCase):
    def test_a_line_every_few_seconds_where_there_is_no_terminal(self):
        self.assertLess(demo.SIGN + demo.REDRAW, 5)
        said = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(said):
            work = os.path.join(folder, "work.py")
            with open(work, "w", encoding="utf-8") as file:
                file.write("import time; time.sleep(1.2); print('{}')")
            with unittest.mock.patch.multiple(demo, WORK=work, SIGN=0.2, REDRAW=0.1):
                progress = demo.Progress()
                progress.now("round 1, on pymalloc")
                result = demo.run(OURS, progress)
        self.assertGreater(result["seconds"], 1.2)
        lines = said.getvalue().splitlines()
        self.assertGreaterEqual(len(lines), 3)
        for line in lines:
            self.assertRegex(line, r"^round 1, on pymalloc, \d s$")

    def test_a_build_that_says_nothing(self):
        start = time.monotonic()
        patiently = [os.path.join(ROOT, "scripts/patiently"), "sh", "-c", "sleep 5; echo built; exit 3"]
        done = subprocess.run(patiently, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "built\n", "still building, 4 s\n"))
        self.assertLess(time.monotonic() - start, 8, "its clock holds nobody up")

    def test_builds_that_a_person_waits_for_are_not_quiet(self):
        for target, quiet in (("watch", False), ("demo-library", False), ("small", True)):
            plan = subprocess.run(["make", "-C", ROOT, "-n", "-B", target], capture_output=True, text=True, timeout=60, check=True).stdout
            self.assertEqual("--quiet" in plan, quiet, plan)
            self.assertEqual("scripts/patiently" in plan, not quiet, plan)


if __name__ == "__main__":
    unittest.main()
