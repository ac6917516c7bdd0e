"""Medians, ratios and intervals: on figures whose answers are known, and in simulations whose truth is."""

import math
import unittest

import fake  # noqa: F401, it finds the suite
import numpy
from suite import statistics


def run(allocator, number, seconds, workload="larson", group="c1", failure=None):
    return {
        "workload": workload, "group": group, "allocator": allocator, "round": number, "seconds": seconds, "peak": 1 << 20,
        "faults": 7, "failure": failure,
    }


def summary(runs, metric="seconds", **more):
    return statistics.summary(statistics.frame({"runs": runs}), metric, **more)


class Known(unittest.TestCase):
    def test_ratios_are_those_of_each_round(self):
        # The machine gets slower; the second allocator stays at 0.8 of the first, but for one round.
        runs = [run("glibc", number, seconds) for number, seconds in ((1, 1.0), (2, 2.0), (3, 4.0))]
        runs += [run("pymalloc", number, seconds) for number, seconds in ((3, 3.2), (2, 1.6), (1, 0.9))]
        row = summary(runs).loc[("c1", "larson", "pymalloc")]
        self.assertAlmostEqual(row["median"], 1.6)
        self.assertAlmostEqual(row["ratio"], 0.8)
        self.assertAlmostEqual(row["low"], 0.8)
        self.assertAlmostEqual(row["high"], 0.9)
        self.assertAlmostEqual(row["median_low"], 0.9)
        self.assertAlmostEqual(row["median_high"], 3.2)
        # Quartiles of 0.9, 1.6 and 3.2 are 1.25 and 2.4.
        self.assertAlmostEqual(row["spread"], 1.15 / 1.6)
        self.assertTrue(row["wide"])
        self.assertEqual((row["rounds"], row["failures"]), (3, 0))
        self.assertAlmostEqual(summary(runs).loc[("c1", "larson", "glibc"), "ratio"], 1)

    def test_failed_runs_count_in_nothing_but_failures(self):
        runs = [run("glibc", number, 1.0) for number in (1, 2)]
        runs += [run("pymalloc", 1, 0.5), run("pymalloc", 2, 99.0, failure="killed by SIGSEGV")]
        row = summary(runs).loc[("c1", "larson", "pymalloc")]
        self.assertEqual((row["median"], row["ratio"], row["rounds"], row["failures"]), (0.5, 0.5, 1, 1))

    def test_a_round_without_its_baseline_has_no_ratio(self):
        runs = [run("glibc", 1, 1.0), run("glibc", 2, None, failure="exit status 1")]
        runs += [run("pymalloc", 1, 0.5), run("pymalloc", 2, 0.9)]
        row = summary(runs).loc[("c1", "larson", "pymalloc")]
        self.assertEqual((row["ratio"], row["rounds"]), (0.5, 2))

    def test_one_round_gives_no_interval(self):
        row = summary([run("glibc", 1, 1.0), run("pymalloc", 1, 0.5)]).loc[("c1", "larson", "pymalloc")]
        self.assertEqual(row["ratio"], 0.5)
        self.assertTrue(math.isnan(row["low"]) and math.isnan(row["high"]))

    def test_each_group_has_its_baseline_unless_one_is_named(self):
        runs = [run(key, 1, seconds, group="py3.13") for key, seconds in (("own", 1.0), ("glibc", 2.0), ("pymalloc", 0.5))]
        self.assertEqual(summary(runs).loc[("py3.13", "larson", "pymalloc"), "ratio"], 0.5)
        self.assertEqual(summary(runs, baseline="glibc").loc[("py3.13", "larson", "pymalloc"), "ratio"], 0.25)

    def test_figures_that_programs_report_are_metrics(self):
        runs = [{**run(key, 1, 1.0), "figures": {"idle": idle}} for key, idle in (("glibc", 100), ("pymalloc", 25))]
        self.assertEqual(summary(runs, "figures.idle").loc[("c1", "larson", "pymalloc"), "ratio"], 0.25)
        self.assertTrue(summary(runs, "figures.floor")["median"].isna().all())

    def test_geometric_mean(self):
        runs = []
        for workload, factor in (("a", 0.5), ("b", 2.0), ("c", 1.0), ("d", 8.0)):
            runs += [run("glibc", 1, 1.0, workload), run("pymalloc", 1, factor, workload)]
        runs.append(run("pymalloc", 1, None, "e", failure="killed by SIGSEGV"))
        means = statistics.geometric(summary(runs))
        row = means.loc[("c1", "pymalloc")]
        self.assertAlmostEqual(row["ratio"], 8 ** 0.25)
        self.assertEqual(row["workloads"], 4)
        self.assertTrue(row["low"] < 1 < row["ratio"] < row["high"])
        self.assertAlmostEqual(means.loc[("c1", "glibc"), "ratio"], 1)

    def test_nothing_measured_is_no_error(self):
        self.assertEqual(len(statistics.geometric(summary([]))), 0)


class Simulated(unittest.TestCase):
    """Log-normal noise, always the same."""

    def test_intervals_contain_the_truth(self):
        noise = numpy.random.default_rng(7)
        truth = 0.9
        runs = [
            run(key, number, factor * noise.lognormal(0, 0.05), f"w{workload}")
            for workload in range(400)
            for number in range(1, 6)
            for key, factor in (("glibc", 1.0), ("pymalloc", truth))
        ]
        table = summary(runs).xs("pymalloc", level="allocator")
        # Of five rounds the least and the greatest contain the median in 15 of 16 cases.
        inside = ((table["low"] <= truth) & (truth <= table["high"])).mean()
        self.assertGreater(inside, 0.90)
        # And they tell something: the noise of a ratio is 7 %.
        self.assertLess((table["high"] - table["low"]).median(), 0.25)

    def test_intervals_of_means_contain_the_truth(self):
        noise = numpy.random.default_rng(8)
        inside = 0
        for _ in range(100):
            ratios = 0.9 * noise.lognormal(0, 0.2, 30)
            runs = [run("glibc", 1, 1.0, f"w{place}") for place in range(30)]
            runs += [run("pymalloc", 1, ratio, f"w{place}") for place, ratio in enumerate(ratios)]
            row = statistics.geometric(summary(runs)).loc[("c1", "pymalloc")]
            inside += row["low"] <= 0.9 <= row["high"]
        self.assertGreaterEqual(inside, 88)


if __name__ == "__main__":
    unittest.main()
