"""The model of docs/scaling.md against what is known in closed form, and the counts against what a program does."""

import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

import scaling_model  # noqa: E402


def repaired(think, service, machines):
    """The rate of one repairman and so many machines, which wait for nothing else (Erlang)."""
    weights = [math.factorial(machines) / math.factorial(machines - broken) * (service / think) ** broken for broken in range(machines + 1)]
    return (1 - weights[0] / sum(weights)) / service


def row(taken, held, written=0, calls=1_000_000, processor=1.0):
    lock = {"taken": taken, "held": held, "interrupted": 0, "found_taken": 0, "refused": 0, "instances": 1}
    return {"workload": "made-up", "threads": 2, "calls": calls, "processor": processor, "locks": {"arenas": lock}, "words": {"w": written}}


class Model(unittest.TestCase):
    def test_one_queue_is_as_in_the_closed_form(self):
        for machines in (1, 2, 7, 40):
            for service in (0.01, 0.3, 5.0):
                rate = scaling_model.throughput(1.0, [service], machines)
                self.assertAlmostEqual(rate, repaired(1.0, service, machines), places=9)

    def test_who_shares_nothing_is_as_fast_on_every_core(self):
        alone = row(taken=0, held=0)
        self.assertAlmostEqual(scaling_model.predict(alone, 128)[0], 128)
        self.assertIsNone(scaling_model.bend(alone))

    def test_a_lock_held_a_tenth_of_the_time_bends_before_ten_cores(self):
        # A million calls of a microsecond each, of which the lock has 100 ns.
        often = row(taken=1_000_000, held=100_000_000)
        gain, busiest, load = scaling_model.predict(often, 128)
        self.assertEqual(busiest, "arenas")
        self.assertLess(gain, 10)
        self.assertGreater(load, 0.99)
        self.assertLess(scaling_model.bend(often), 10)

    def test_a_word_that_each_call_writes_is_a_queue_of_its_own(self):
        _, busiest, _ = scaling_model.predict(row(taken=0, held=0, written=2_000_000), 32)
        self.assertEqual(busiest, "w")


class Counts(unittest.TestCase):
    """Builds the library that counts, which takes half a minute the first time."""

    def test_a_program_of_two_threads_is_counted(self):
        with tempfile.TemporaryDirectory() as folder:
            target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
            environment = {**os.environ, "CARGO_TARGET_DIR": target, "SCALING_OUTPUT": os.path.join(folder, "scaling.json")}
            command = [os.path.join(ROOT, "scripts", "count-locks"), "--only", "threadtest", "--work", "0.1"]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            with open(environment["SCALING_OUTPUT"], encoding="utf-8") as file:
                rows = json.load(file)
        self.assertEqual([each["threads"] for each in rows], [2, 4, 16, 64])
        for each in rows:
            # Every block is allocated and freed.
            self.assertGreater(each["calls"], 100_000)
            locks, words = each["locks"], each["words"]
            # Each of its threads has a heap, and no lock is held for nothing or for ever.
            self.assertGreaterEqual(locks["a heap's lists"]["instances"], 2)
            self.assertGreater(locks["a heap's lists"]["taken"], locks["arenas"]["taken"])
            for name, lock in locks.items():
                self.assertLessEqual(lock["found_taken"], lock["taken"], name)
                self.assertLess(lock["held"], 2e9 * each["processor"], name)
            # Each thread's heap is counted as active, and what takes slots tells of it under the lock of the arenas.
            self.assertGreaterEqual(words["active heaps"], each["threads"])
            self.assertLessEqual(words["taken slots"], 2 * locks["arenas"]["taken"])


if __name__ == "__main__":
    unittest.main()
