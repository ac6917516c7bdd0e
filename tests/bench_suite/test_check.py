"""The check of a result against an older one: what it finds, what it does not, and its exit statuses."""

import contextlib
import copy
import io
import json
import os
import subprocess
import sys
import unittest

import fake
import numpy
from suite import check, places, statistics

GROUPS = {"c1": ("glibc", 20), "py3.13": ("own", 30)}


def result(seed, noise=0.01, rounds=5, machine=1.0):
    """A result with its own noise, on a machine that takes so many times as long."""
    random = numpy.random.default_rng(seed)
    runs = []
    for group, (baseline, workloads) in GROUPS.items():
        for place in range(workloads):
            for number in range(1, rounds + 1):
                for allocator, factor in ((baseline, 1.0), ("pymalloc", 0.9)):
                    runs.append({
                        "workload": f"w{place}", "group": group, "allocator": allocator, "round": number, "failure": None,
                        "seconds": machine * factor * random.lognormal(0, noise),
                        "peak": 1e7 * random.lognormal(0, 0.002), "faults": 100,
                    })
    return {"format": 1, "quick": False, "runs": runs}


def changed(old, group, workload, key, factor, allocator="pymalloc"):
    new = copy.deepcopy(old)
    for run in new["runs"]:
        if (run["group"], run["workload"], run["allocator"]) == (group, workload, allocator):
            run[key] *= factor
    return new


class Check(fake.InDirectory):
    def file(self, name, content):
        path = os.path.join(self.directory, name)
        fake.write(path, content if isinstance(content, str) else json.dumps(content))
        return path

    def check(self, old, new):
        """The exit status and what was printed."""
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            status = check.check(self.file("old.json", old), self.file("new.json", new))
        return status, printed.getvalue()

    def assert_one_line(self, text):
        self.assertEqual(len(text.strip().splitlines()), 1, text)

    def test_a_slower_workload_is_found_and_no_other(self):
        old = result(1)
        status, printed = self.check(old, changed(result(2), "c1", "w3", "seconds", 1.1))
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"c1 w3 .*slower")
        self.assertIn("50 workloads on pymalloc: 1 slower\n", printed)

    def test_a_bigger_workload_is_found(self):
        status, printed = self.check(result(1), changed(result(2), "py3.13", "w7", "peak", 1.1))
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"py3.13 w7 .*bigger at its peak")

    def test_what_matters_to_nobody_is_not_found(self):
        status, _ = self.check(result(1, noise=0.0001), changed(result(2, noise=0.0001), "c1", "w3", "seconds", 1.015))
        self.assertEqual(status, 0)

    def test_noise_is_not_found(self):
        found = []
        for noise in (0.02, 0.08):
            for seed in range(0, 12, 2):
                old, new = (statistics.frame(result(each, noise)) for each in (seed, seed + 1))
                rows = check.changes(old, new, "seconds")["worse"]
                found += list(rows[rows].index)
        # Of some six hundred.
        self.assertLessEqual(len(found), 1, found)

    def test_a_little_everywhere_is_found_in_the_mean(self):
        new = result(2, noise=0.04)
        for run in new["runs"]:
            if run["allocator"] == "pymalloc" and run["group"] == "py3.13":
                run["seconds"] *= 1.06
        status, printed = self.check(result(1, noise=0.04), new)
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"py3.13 all together +\+[4-8]\..% +slower")
        self.assertNotRegex(printed, r"c1 all together")

    def test_a_slower_machine_is_not_blamed(self):
        self.assertEqual(self.check(result(1), result(2, machine=3.0))[0], 0)

    def test_without_a_baseline_figures_are_compared(self):
        old, new = result(1), changed(result(2), "c1", "w3", "seconds", 1.2)
        new["runs"] = [run for run in new["runs"] if run["allocator"] == "pymalloc"]
        status, printed = self.check(old, new)
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"c1 w3 .*slower")

    def test_improvements_are_told_and_are_no_failure(self):
        status, printed = self.check(result(1), changed(result(2), "c1", "w3", "seconds", 0.8))
        self.assertEqual(status, 0)
        self.assertIn("1 faster", printed)

    def test_a_new_failure_is_found(self):
        new = result(2)
        for run in new["runs"]:
            if (run["group"], run["workload"], run["allocator"]) == ("c1", "w5", "pymalloc"):
                run.update(seconds=None, failure="killed by SIGSEGV")
        status, printed = self.check(result(1), new)
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"c1 w5 .*fails: killed by SIGSEGV")
        # And what failed before is no news.
        self.assertEqual(self.check(new, new)[0], 0)

    def test_of_one_round_memory_is_compared_but_not_times(self):
        old = result(1, rounds=1)
        self.assertEqual(self.check(old, changed(old, "c1", "w3", "peak", 1.2))[0], 1)
        status, printed = self.check(old, changed(old, "c1", "w3", "seconds", 1.2))
        self.assertEqual(status, 0)
        self.assertIn("single round", printed)

    def test_what_cannot_be_compared_is_told_in_one_line(self):
        quick = {**result(1), "quick": True}
        others = result(1)
        for run in others["runs"]:
            run["workload"] += "-other"
        for old, new in ((quick, result(1)), (others, result(1)), ("{", result(1)), ("[]", result(1)), ({"runs": 3}, result(1))):
            with self.assertRaises(places.Stop) as raised:
                self.check(old, new)
            self.assert_one_line(str(raised.exception))

    def test_exit_statuses_of_the_command(self):
        good = self.file("good.json", result(1))
        bad = self.file("bad.json", changed(result(1), "c1", "w3", "seconds", 1.3))
        for arguments, status, lines in (([good, good], 0, 0), ([good, bad], 1, 0), ([good, "/nowhere"], 2, 1), ([], 2, 1)):
            command = [sys.executable, "-m", "suite", "check", *arguments]
            done = subprocess.run(command, cwd=os.path.join(fake.ROOT, "benches"), capture_output=True, text=True)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (status, lines), done.stderr)


if __name__ == "__main__":
    unittest.main()
