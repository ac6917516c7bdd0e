"""A whole `make bench` on fake workloads, as a process: what it leaves, also when killed, interrupted or short of disk."""

import itertools
import json
import os
import resource
import signal
import time
import unittest

import fake

# Rounds of 50 ms runs that are to be interrupted: they last for seconds, so that a test that waits for a processor still finds some left.
MANY = "40"


class Bench(fake.InDirectory):
    def setUp(self):
        super().setUp()
        self.output = fake.output(self.directory)

    def bench(self, *arguments, status=0, **more):
        """What the whole run printed to stdout and stderr."""
        process = fake.run(self.directory, *arguments, **more)
        output, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, status, errors)
        return output, errors

    def result(self):
        with open(self.output.result, encoding="utf-8") as file:
            return json.load(file)

    def lines(self):
        """The runs stored so far; every line of the file must be whole."""
        with open(self.output.runs, encoding="utf-8") as file:
            return [run for line in file if "workload" in (run := json.loads(line))]

    def stored(self):
        """How many lines are stored so far."""
        try:
            with open(self.output.runs, "rb") as file:
                return file.read().count(b"\n")
        except FileNotFoundError:
            return 0

    def begin(self, runs, *arguments):
        """A run that has stored so many runs more than there were."""
        before = self.stored()
        process = fake.run(self.directory, *arguments)
        deadline = time.monotonic() + 60
        while self.stored() < max(before, 1) + runs:
            self.assertIsNone(process.poll(), "it has ended already")
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        return process

    def assert_each_once(self, runs, rounds, workloads=("slow",)):
        rows = sorted((run["round"], run["workload"], run["allocator"]) for run in runs)
        expected = itertools.product(range(1, rounds + 1), workloads, ("glibc", "pymalloc"))
        self.assertEqual(rows, sorted(expected))

    def test_failures_are_rows_and_not_the_end(self):
        output, errors = self.bench("--programs", "fine,crash,hang,sulk", "--rounds", "3", "--limit", "0.5")
        self.assertEqual(errors, "")
        result = self.result()
        keys = ("fine", "crash", "hang", "sulk")
        failures = {key: [run["failure"] for run in result["runs"] if run["workload"] == key] for key in keys}
        self.assertEqual(failures, {
            "fine": [None] * 6,
            # Twice on each of two allocators.
            "crash": ["killed by SIGSEGV"] * 4,
            "hang": ["no result within 0.5 s"] * 4,
            "sulk": ["exit status 3: it will not"] * 4,
        })
        self.assertEqual(result["missing"], [{"key": "rpmalloc", "reason": "not to be had"}])
        self.assertEqual([allocator["key"] for allocator in result["allocators"]], ["pymalloc", "glibc"])
        self.assertTrue(result["finished"] >= result["started"])
        self.assertEqual(set(result["machine"]), {"cpu", "cores", "memory", "kernel", "libc", "compiler", "huge_pages", "load"})
        self.assertRegex(output, r"(?m)^round 1 of 3, c1: 0 of 24 runs, about .* left$")
        self.assertLess(len(output.splitlines()), 40)

    def test_killed_it_goes_on_without_repeating_a_run(self):
        arguments = ["--programs", "slow", "--rounds", MANY]
        process = self.begin(5, *arguments)
        process.kill()
        process.communicate()
        kept = self.lines()
        output, _ = self.bench(*arguments)
        self.assertRegex(output, rf"going on after {len(kept)} runs")
        self.assertGreaterEqual(len(kept), 5)
        runs = self.result()["runs"]
        self.assertEqual(runs[: len(kept)], kept)
        self.assert_each_once(runs, int(MANY))

    def test_interrupted_it_writes_what_it_has_and_goes_on(self):
        # Whoever starts the tests in the background may have them ignore interrupts, and what they start with them.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        arguments = ["--programs", "slow", "--rounds", MANY, "--report"]
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.begin(5, *arguments)
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
            self.assertEqual((process.returncode, errors), (130, ""))
            result = self.result()
            self.assertEqual(result["finished"], None)
            self.assertEqual(result["runs"], self.lines())
            self.assertGreater(os.path.getsize(self.output.report), 1000)
            self.assertRegex(output, rf"Interrupted: {len(result['runs'])} runs are kept")
        self.bench(*arguments)
        self.assert_each_once(self.result()["runs"], int(MANY))

    def test_a_full_disk_is_told_in_a_line_and_costs_nothing(self):
        arguments = ["--programs", "slow", "--rounds", "10"]

        def no_more_room():
            # What a file may grow to; a write beyond it fails as on a full disk.
            resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))

        self.bench(*arguments, "--rounds", "1")
        os.remove(self.output.runs)
        _, errors = self.bench(*arguments, status=2, preexec_fn=no_more_room)
        self.assertRegex(errors, r"\Abench: .*runs.jsonl: File too large; what was measured so far is kept, .*\n\Z")
        kept = self.lines()
        self.assertGreater(len(kept), 3)
        self.bench(*arguments)
        self.assert_each_once(self.result()["runs"], 10)
        self.assertEqual(self.result()["runs"][: len(kept)], kept)

    def test_a_part_is_chosen_by_names(self):
        self.bench("--programs", "fine,slow", "--only", "slow", "--allocators", "glibc", "--rounds", "1")
        self.assertEqual([(run["workload"], run["allocator"]) for run in self.result()["runs"]], [("slow", "glibc")])
        output, _ = self.bench("--programs", "fine,slow", "--only", "c1", "--allocators", "pymalloc", "--rounds", "1")
        self.assertIn("since the ratios are to it: glibc", output)
        self.assert_each_once(self.result()["runs"], 1, ("fine", "slow"))

    def test_unknown_names_are_told_with_those_that_there_are(self):
        for arguments, words in (
            (["--only", "fin,slow"], r"no workload or group is called fin; there are c1, fine"),
            (["--allocators", "tcmalloc"], r"no allocator is called tcmalloc; there are pymalloc, own, glibc, rpmalloc"),
            (["--only", "memory"], r"no workload or group is called memory; there are c1, fine"),
        ):
            output, errors = self.bench("--programs", "fine,slow" if "fin,slow" in arguments else "fine", *arguments, status=2)
            self.assertRegex(errors, rf"\Abench: {words}.*\n\Z")

    def test_what_is_missing_can_leave_nothing_to_run(self):
        _, errors = self.bench("--programs", "fine", "--allocators", "rpmalloc,glibc", "--rounds", "1")
        self.assertEqual(errors, "")
        fake.write(os.path.join(self.directory, "benches", "c", "fine.c"), "wrong")
        _, errors = self.bench("--programs", "fine", status=2)
        self.assertRegex(errors, r"\Abench: nothing can be run: .*fine \(c1\): fine does not compile: .*\n\Z")


if __name__ == "__main__":
    unittest.main()
