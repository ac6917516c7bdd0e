"""The groups that run the programs of several threads with more of them than there are cores."""

import os
import types
import unittest
from unittest import mock

from suite import groups, machine, plan, workloads
from suite.places import ROOT


def every():
    sources = workloads.Sources(os.path.join(ROOT, "benches"), "built", None, None)
    return workloads.every(sources, types.SimpleNamespace(version="3.13"), [])


def keys(group, chosen):
    return [each.key for each in chosen if each.group == group]


class Threads(unittest.TestCase):
    def test_they_have_the_programs_of_all_cores(self):
        for group in groups.ON_REQUEST:
            self.assertEqual(keys(group, every()), keys("cn", every()))

    def test_they_run_where_they_are_named_and_nowhere_else(self):
        chosen = {options: plan.choose(every(), options) for options in (plan.Options(), plan.Options(quick=True), plan.Options(only=("larson",)))}
        for options, those in chosen.items():
            self.assertFalse({each.group for each in those} & set(groups.ON_REQUEST), options)
            self.assertIn("larson", keys("cn", those))
        named = plan.choose(every(), plan.Options(only=("c64", "larson")))
        self.assertEqual(keys("c64", named), keys("cn", every()))
        self.assertEqual(keys("cn", named), ["larson"])

    def test_all_threads_together_do_the_same_work(self):
        with mock.patch.object(machine, "cores", return_value=2):
            self.assertEqual(workloads._of_all(["{threads}", "350"], 64), ["{threads}", "10"])
            self.assertEqual(workloads._of_all(["{threads}", "350"], 4), ["{threads}", "175"])
            # None has nothing to do.
            self.assertEqual(workloads._of_all(["{threads}", "7"], 64), ["{threads}", "1"])


if __name__ == "__main__":
    unittest.main()
