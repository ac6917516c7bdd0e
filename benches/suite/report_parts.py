"""What a report is made of: metrics, allocators, workloads, groups, ratios, cells of tables, losses and failures.

What must hold: plain data; what is computed of them is in report_content.py.
"""

import math
from typing import NamedTuple

from .report_words import ratio


class Metric(NamedTuple):
    """A column of the runs that is compared: less is better."""

    key: str
    title: str
    absolute: object  # a function that writes a value with its unit
    better: str  # what one that has less of it is


class Allocator(NamedTuple):
    key: str
    name: str

    @property
    def label(self):
        """The name where there is little room."""
        return "CPython's own" if self.key == "own" else self.key


class Workload(NamedTuple):
    key: str
    title: str
    after: str


class Ratio(NamedTuple):
    """A ratio to the baseline with its interval, which is not a number when there is none."""

    ratio: float
    low: float
    high: float

    @property
    def interval(self):
        return "" if math.isnan(self.low) else f"{ratio(self.low)}–{ratio(self.high)}"

    def beats(self, other):
        """By more than noise."""
        return self.high < other.low


class Cell(NamedTuple):
    text: str = "–"
    under: str = ""
    hover: str = ""
    marks: tuple = ()  # of best, beats, wide, failed, kept


class Loss(NamedTuple):
    group: object
    metric: Metric
    workload: Workload
    ours: Ratio
    peers: list  # of (allocator, Ratio), the best first

    @property
    def factor(self):
        return self.ours.ratio / self.peers[0][1].ratio


class Failure(NamedTuple):
    group: object
    workload: str
    allocator: Allocator
    reason: str
    runs: int

    @property
    def word(self):
        """What the reason comes to."""
        if self.reason.startswith("killed by"):
            return "crashed"
        return "hung" if self.reason.startswith("no result within") else "failed"


class Group(NamedTuple):
    key: str
    title: str
    workloads: list
    allocators: list
    baseline: object  # an allocator, or None where it did not run
