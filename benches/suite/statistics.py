"""Medians, ratios and their intervals, from the runs of a result.

Owns what is computed of them; the report and the check use it and compute nothing of their own.

What must hold: a ratio is taken within one round of one workload, where the two allocators ran next to each other, so that a
machine that slows down from round to round does not move it. Runs that failed have no figures. An interval that the runs
cannot give (there is only one) is not a number, never a narrow one.
"""

import numpy
import pandas
from scipy import stats

from .groups import baseline_of

# Of the intervals.
CONFIDENCE = 0.95
# Resamples of a bootstrap: the ends of an interval of few rounds are settled long before.
RESAMPLES = 2000
# A spread above this is marked: differences below a tenth are then not to be seen.
WIDE_SPREAD = 0.10

KEYS = ["group", "workload", "allocator"]


def frame(result):
    """The runs of a result, one a row; what a program reports under "figures" is in columns named figures.X."""
    rows = [{key: value for key, value in run.items() if key != "series"} for run in result["runs"]]
    runs = pandas.json_normalize(rows)
    for column in [*KEYS, "round", "seconds", "peak", "faults", "failure"]:
        if column not in runs:
            runs[column] = None
    return runs


def _samples(groups):
    return [group.dropna().to_numpy() for _, group in groups]


def _intervals(samples, statistic):
    """Bootstrap intervals of a statistic for many samples at once: those of one size share their resamples."""
    intervals = numpy.full((len(samples), 2), numpy.nan)
    sizes = numpy.array([len(sample) for sample in samples])
    for size in set(sizes[sizes > 1]):
        chosen = numpy.flatnonzero(sizes == size)
        data = numpy.array([samples[index] for index in chosen])
        bounds = stats.bootstrap(
            (data,), statistic, axis=1, n_resamples=RESAMPLES, batch=100, confidence_level=CONFIDENCE,
            # With a handful of rounds the corrected methods have nothing to correct with; the percentiles always exist.
            method="percentile", random_state=numpy.random.default_rng(1),
        ).confidence_interval
        intervals[chosen] = numpy.column_stack([bounds.low, bounds.high])
    return intervals


def summary(runs, metric, baseline=None):
    """One row for each (group, workload, allocator): what `metric` was, and its ratio to the baseline allocator's.

    Columns: median, with its interval median_low and median_high; spread (interquartile range / median); wide (too wide a spread
    to tell much); ratio (median of the rounds' ratios), with its interval low and high; rounds (that gave a figure); failures.
    Without a baseline each group has its own."""
    if metric not in runs:
        runs = runs.assign(**{metric: None})
    runs = runs.assign(value=pandas.to_numeric(runs[metric]).where(runs["failure"].isna()))
    bases = runs["group"].map(baseline_of) if baseline is None else baseline
    base = runs[runs["allocator"] == bases].set_index(["group", "workload", "round"])["value"].rename("base")
    runs = runs.join(base, on=["group", "workload", "round"])
    # Something divided by nothing says nothing.
    runs["ratio"] = runs["value"] / runs["base"].where(runs["base"] > 0)

    by_row = runs.groupby(KEYS, sort=False)
    values = by_row["value"]
    table = pandas.DataFrame({"median": values.median()})
    table[["median_low", "median_high"]] = _intervals(_samples(values), numpy.median)
    table["spread"] = (values.quantile(0.75) - values.quantile(0.25)) / table["median"]
    table["wide"] = table["spread"] > WIDE_SPREAD
    table["ratio"] = by_row["ratio"].median()
    table[["low", "high"]] = _intervals(_samples(by_row["ratio"]), numpy.median)
    table["rounds"] = values.count()
    table["failures"] = by_row["failure"].count()
    return table


def geometric(table):
    """The geometric mean of a summary's ratios by (group, allocator), over the workloads that have one (column workloads).

    Its interval (low, high) is over the choice of workloads: how far the mean could move with another such set."""
    logs = numpy.log(table["ratio"].where(table["ratio"] > 0).dropna())
    by_row = logs.groupby(["group", "allocator"], sort=False)
    means = pandas.DataFrame({"ratio": numpy.exp(by_row.mean())})
    means[["low", "high"]] = numpy.exp(_intervals(_samples(by_row), numpy.mean))
    means["workloads"] = by_row.count()
    return means
