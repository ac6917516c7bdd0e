"""A result against an older one: what got slower or bigger on pymalloc, beyond noise.

Owns the rule. A workload has changed when the intervals of the two results lie more than CHANGE apart: some two hundred figures
are compared, and of intervals which only just do not touch one would be found in most comparisons of equals. A group has changed
when the interval of its workloads' mean change lies more than CHANGE away from none, which finds a little everywhere.

What is compared are ratios to the baseline allocator, so that a slower machine is not blamed on pymalloc; the figures themselves
only where a result lacks the baseline.
"""

import json

import pandas
from rich.markup import escape
from rich.table import Table

from . import statistics
from .places import Stop, reason
from .progress import console, say

OURS = "pymalloc"
# Less than this matters to nobody, however sure it is.
CHANGE = 0.02
# What stands for the interval of a single round, to both sides. Memory repeats itself within this; times do not, and have none.
SINGLE_ROUND = 0.05
# What is compared, and the words for more and for less of it.
METRICS = {
    "seconds": ("slower", "faster"),
    "peak": ("bigger at its peak", "smaller at its peak"),
    "figures.at_once": ("bigger once the work is dropped", "smaller once the work is dropped"),
    "figures.idle": ("bigger when idle", "smaller when idle"),
}
ALL = "all together"


def _read(path):
    """The result in a file, and its runs."""
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        return result, statistics.frame(result)
    except OSError as error:
        raise Stop(f"{path}: {reason(error)}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Stop(f"{path} is not a result of make bench") from error


def _figures(runs, metric):
    """A row for each workload that pymalloc was measured in: what is compared and its interval, with and without a baseline."""
    table = statistics.summary(runs, metric)
    table = table[table.index.get_level_values("allocator") == OURS].droplevel("allocator")
    return table.rename(columns={"low": "ratio_low", "high": "ratio_high"})


def changes(base_runs, new_runs, metric):
    """By (group, workload), ALL standing for a whole group: before, now, change (now / before), worse, better."""
    both = _figures(base_runs, metric).join(_figures(new_runs, metric), how="inner", lsuffix="_before", rsuffix="_now")
    related = both["ratio_before"].notna() & both["ratio_now"].notna()
    table = pandas.DataFrame(index=both.index)
    for when in ("before", "now"):
        value, low, high = (
            both[f"ratio{end}_{when}"].where(related, both[f"median{end}_{when}"]) for end in ("", "_low", "_high")
        )
        table[when] = value
        if metric != "seconds":
            low, high = low.fillna(value * (1 - SINGLE_ROUND)), high.fillna(value * (1 + SINGLE_ROUND))
        table[f"{when}_low"], table[f"{when}_high"] = low, high
    table["change"] = table["now"] / table["before"]
    table["worse"] = table["now_low"] > table["before_high"] * (1 + CHANGE)
    table["better"] = table["now_high"] * (1 + CHANGE) < table["before_low"]
    table = table.dropna(subset="change")
    return pandas.concat([table, _whole_groups(table)]) if len(table) else table


def _whole_groups(table):
    means = statistics.geometric(table.assign(allocator=OURS, ratio=table["change"]).set_index("allocator", append=True))
    means = means.droplevel("allocator").assign(workload=ALL).set_index("workload", append=True)
    return pandas.DataFrame({
        "change": means["ratio"],
        "worse": means["low"] > 1 + CHANGE,
        "better": means["high"] * (1 + CHANGE) < 1,
    })


def newly_failing(base_runs, new_runs):
    """By (group, workload): what pymalloc fails with that did not fail before."""
    failed = [
        runs[(runs["allocator"] == OURS) & runs["failure"].notna()].groupby(["group", "workload"], sort=False)["failure"].last()
        for runs in (base_runs, new_runs)
    ]
    return failed[1].drop(failed[0].index, errors="ignore")


def check(base_path, new_path):
    """Prints what got worse; the exit status is 1 if anything did."""
    (base, base_runs), (new, new_runs) = _read(base_path), _read(new_path)
    if base.get("quick") != new.get("quick"):
        raise Stop("a quick result and a whole one are of different work and cannot be compared")
    compared = {metric: changes(base_runs, new_runs, metric) for metric in METRICS}
    failing = newly_failing(base_runs, new_runs)
    if not len(compared["seconds"]) and not len(failing):
        raise Stop(f"{base_path} and {new_path} have no workload on {OURS} in common")
    table = Table("", "before", "now", "change", "", box=None)
    for (group, workload), failure in failing.items():
        table.add_row(f"{group} {workload}", "", "", "", escape(f"fails: {failure}"))
    for metric, rows in compared.items():
        for (group, workload), row in rows[rows["worse"]].iterrows():
            figures = ["", ""] if workload == ALL else [f"{row['before']:.4g}", f"{row['now']:.4g}"]
            table.add_row(f"{group} {workload}", *figures, f"{row['change'] - 1:+.1%}", METRICS[metric][0])
    if table.row_count:
        console.print(table)
    for line in _closing(compared, failing):
        say(line)
    return 1 if table.row_count else 0


def _closing(compared, failing):
    single = {metric: rows[rows.index.get_level_values("workload") != ALL] for metric, rows in compared.items()}
    said = [f"{len(failing)} newly failing"] if len(failing) else []
    for metric, rows in single.items():
        counts = zip((rows["worse"].sum(), rows["better"].sum()), METRICS[metric])
        said += [f"{count} {word}" for count, word in counts if count]
    yield f"{len(single['seconds'])} workloads on {OURS}: {', '.join(said) or 'no change beyond noise'}"
    if single["seconds"][["before_low", "now_low"]].isna().any(axis=None):
        yield "Times of a single round have no interval: they were compared by groups only"
