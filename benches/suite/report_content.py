"""What the report says of a result, as plain data: groups, cells, warnings, losses and failures.

Owns the words and the rounding; the statistics are statistics.py's. report.py lays this out and report_plots.py draws it.
What must hold: whatever a result lacks (a group, a baseline, all rounds of an allocator) is said, and never stops the report.
"""

import datetime
import math
import re

import pandas

from . import statistics
from .groups import ON_REQUEST, baseline_of
from .report_parts import Allocator, Cell, Failure, Group, Loss, Metric, Ratio, Workload
from .report_words import MIB, count, duration, ratio, seconds, size, together

FORMAT = 1
OURS = "pymalloc"
# What may be resident of what a program did, beyond what was before it: so much for each byte of the pages that hold a live
# block, and so much once. The promise of the library; the peers make none.
BOUND_SHARE = 1.125
BOUND_SLACK = 8 * MIB

GROUPS = {"c1": "C and C++, one thread", "cn": "C and C++, all cores", "latency": "Single calls", "memory": "Memory scenarios"}
# What is known of the calls of the group latency, in nanoseconds, in the order of its table.
CALLS = ("malloc", "free", "realloc", "thread birth", "thread end")
SHARES = ("median", "99.9 %", "99.99 %", "worst")


TIME = Metric("seconds", "time", seconds, "faster")
PEAK = Metric("peak", "peak memory", size, "smaller")
FAULTS = Metric("faults", "page faults", count, "fewer")
AT_ONCE = Metric("figures.at_once", "resident memory once dropped", size, "smaller")
IDLE = Metric("figures.idle", "resident memory when idle", size, "smaller")
COMPARED = (TIME, PEAK, FAULTS)
METRICS = (*COMPARED, AT_ONCE, IDLE)
# The figures of a memory scenario that all of them have, in the order of its table; the bound is computed.
FIGURES = {
    "before": "before", "live": "live", "floor": "page floor", "bound": "bound", "peak": "peak", "at_once": "at once",
    "idle": "idle", "after_work": "after work",
}


def _place(key):
    """C first, then CPython from the newest to the oldest, then memory, then whatever a later suite adds."""
    order = ["c1", "cn", *ON_REQUEST, "latency", "py", "memory"]
    kind = "py" if key.startswith("py") else key
    return order.index(kind) if kind in order else len(order), [-int(part) for part in re.findall(r"\d+", key)]


def _moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


class Content:
    def __init__(self, result):
        if not isinstance(result, dict) or result.get("format") != FORMAT:
            raise ValueError(f"this is not a result of format {FORMAT}")
        missing = [key for key in ("allocators", "workloads", "runs") if not isinstance(result.get(key), list)]
        if missing:
            raise ValueError(f"the result has no {missing[0]}")
        self.result = result
        self.machine = result.get("machine") or {}
        self.pythons = result.get("pythons") or {}
        self.missing = result.get("missing") or []
        self.started, self.finished = _moment(result.get("started")), _moment(result.get("finished"))
        first = [OURS, *dict.fromkeys(baseline_of(entry["group"]) for entry in result["workloads"])]
        self.allocators = sorted(
            (Allocator(entry["key"], entry["name"]) for entry in result["allocators"]),
            key=lambda allocator: first.index(allocator.key) if allocator.key in first else len(first),
        )
        self.ours = next((a for a in self.allocators if a.key == OURS), None)
        self.runs = statistics.frame(result)
        self.rounds = int(self.runs["round"].max()) if len(self.runs) else 0
        self._tables = {}  # summaries, by what of the runs they are of
        self._rows = {}  # the same by (group, workload, allocator)
        self._means = {metric.key: self._mean_rows(self._table(metric.key)) for metric in METRICS}
        worked = self.runs[self.runs["failure"].isna()]
        self._worked = set(zip(worked["group"], worked["allocator"]))
        every = self._groups()
        # Of single calls there are no ratios and no means: they have a table of their own.
        self.groups = [group for group in every if group.key != "latency"]
        self.latency = next((group for group in every if group.key == "latency" and group.allocators), None)
        self.failures = self._failures()

    def _groups(self):
        keys = sorted(dict.fromkeys(entry["group"] for entry in self.result["workloads"]), key=_place)
        groups = []
        for key in keys:
            workloads = [
                Workload(entry["key"], entry.get("title") or "", entry.get("after") or "")
                for entry in self.result["workloads"]
                if entry["group"] == key
            ]
            ran = set(self.runs.loc[self.runs["group"] == key, "allocator"])
            baseline = baseline_of(key)
            allocators = sorted((a for a in self.allocators if a.key in ran), key=lambda a: (a.key != OURS, a.key != baseline))
            groups.append(
                Group(key, self._title(key), workloads, allocators, next((a for a in allocators if a.key == baseline), None))
            )
        return groups

    def _title(self, key):
        if key.startswith("py"):
            version = key[2:]
            return f"CPython {self.pythons.get(version, version)}"
        cores = self.machine.get("cores")
        if key in ON_REQUEST:
            return f"C and C++, {ON_REQUEST[key]} threads" + (f" on {cores} cores" if cores else "")
        return f"C and C++, {cores} threads" if key == "cn" and cores else GROUPS.get(key, key)

    def _failures(self):
        failed = self.runs[self.runs["failure"].notna()]
        groups = {group.key: group for group in [*self.groups, self.latency] if group}
        allocators = {allocator.key: allocator for allocator in self.allocators}
        counted = failed.groupby([*statistics.KEYS, "failure"], sort=False).size()
        return [
            Failure(groups[group], workload, allocators[allocator], reason, runs)
            for (group, workload, allocator, reason), runs in counted.items()
        ]

    def _table(self, figure):
        """The summary of a column of the runs; empty if there are none."""
        if figure not in self._tables:
            table = statistics.summary(self.runs, figure) if len(self.runs) else pandas.DataFrame(columns=["median", "wide"])
            self._tables[figure], self._rows[figure] = table, table.to_dict("index")
        return self._tables[figure]

    def _mean_rows(self, table):
        return statistics.geometric(table).to_dict("index") if len(table) else {}

    def row(self, figure, group, workload, allocator):
        """A row of the summary of a column of the runs, or None where nothing ran."""
        self._table(figure)
        return self._rows[figure].get((group.key, workload.key, allocator.key))

    def ratio(self, metric, group, workload, allocator):
        row = self.row(metric.key, group, workload, allocator)
        return None if row is None or math.isnan(row["ratio"]) else Ratio(row["ratio"], row["low"], row["high"])

    def median(self, figure, group, workload, allocator):
        row = self.row(figure, group, workload, allocator)
        return None if row is None or math.isnan(row["median"]) else row["median"]

    def mean(self, metric, group, allocator):
        """The geometric mean over a group's workloads as a Ratio, and how many of them it is over; (None, 0) if there is none."""
        row = self._means[metric.key].get((group.key, allocator.key))
        return (Ratio(row["ratio"], row["low"], row["high"]), row["workloads"]) if row else (None, 0)

    def _best(self, values):
        """The keys of the least; of several that look equal once they are rounded, all."""
        if len(values) < 2:
            return set()
        least = ratio(min(values.values()))
        return {key for key, value in values.items() if ratio(value) == least}

    def cells(self, metric, group, workload):
        """The row of a group's table."""
        ratios = {a.key: self.ratio(metric, group, workload, a) for a in group.allocators}
        best = self._best({key: value.ratio for key, value in ratios.items() if value})
        cells = []
        for allocator in group.allocators:
            row, value = self.row(metric.key, group, workload, allocator), ratios[allocator.key]
            failed, said = self._failed(group, workload, allocator)
            if row is None or math.isnan(row["median"]):
                cells.append(self._nothing(group, workload, allocator))
                continue
            beats = value and ratios.get(OURS) and value.beats(ratios[OURS])
            tests = {"best": allocator.key in best, "beats": beats, "wide": row["wide"], "failed": failed}
            absolute = metric.absolute(row["median"])
            hover = f"median {absolute}, rounds {row['rounds']}, spread {row['spread']:.1%}" + (f"; {said}" if failed else "")
            under = failed or (absolute if allocator == group.baseline else value.interval if value else "")
            marks = tuple(mark for mark, true in tests.items() if true)
            cells.append(Cell(ratio(value.ratio) if value else absolute, under, hover, marks))
        return cells

    def _failed(self, group, workload, allocator):
        """How an allocator failed in a workload, in a few words and in full; two empty texts if it did not."""
        failures = [f for f in self.failures if (f.group.key, f.workload, f.allocator) == (group.key, workload.key, allocator)]
        words = ", ".join(f"{f.word} {f.runs} of {self.rounds}" for f in failures)
        return words, "; ".join(f"{f.reason} ({f.runs} of {self.rounds} rounds)" for f in failures)

    def _nothing(self, group, workload, allocator):
        """The cell of an allocator that has no figure."""
        failed, said = self._failed(group, workload, allocator)
        return Cell(failed.split(" ")[0], hover=said, marks=("failed",)) if failed else Cell(hover="not measured")

    def mean_cells(self, metric, group):
        """The row of the summary: the group's geometric means, for all allocators of the result."""
        means = {a.key: self.mean(metric, group, a) for a in self.allocators}
        whole = max((workloads for _, workloads in means.values()), default=0)
        # A mean over fewer workloads is another figure: it is shown with its number, and cannot be the best.
        best = self._best({key: value.ratio for key, (value, workloads) in means.items() if value and workloads == whole})
        cells = []
        for allocator in self.allocators:
            value, workloads = means[allocator.key]
            if not value:
                failed = allocator in group.allocators and (group.key, allocator.key) not in self._worked
                cells.append(Cell("failed", marks=("failed",)) if failed else Cell())
                continue
            under = "" if allocator == group.baseline else value.interval
            if workloads < len(group.workloads):
                under = f"{under}\n{workloads} of {len(group.workloads)}".strip()
            hover = f"geometric mean over {workloads} workloads"
            cells.append(Cell(ratio(value.ratio), under, hover, ("best",) if allocator.key in best else ()))
        return cells

    def summary(self, group):
        """The group's rows of the first table: (what, cells)."""
        metrics = (TIME, PEAK, AT_ONCE, IDLE) if group.key == "memory" else (TIME, PEAK)
        rows = [(metric.title, self.mean_cells(metric, group)) for metric in metrics]
        return [*rows, ("scenarios in which the bound is kept", self.bound_cells(group))] if group.key == "memory" else rows

    def figures(self, group, workload, allocator):
        """The figures of a memory scenario, medians in bytes, with the bound; None for what was not measured."""
        values = {key: self.median(f"figures.{key}", group, workload, allocator) for key in FIGURES if key != "bound"}
        before, floor = values["before"], values["floor"]
        values["bound"] = None if before is None or floor is None else before + BOUND_SHARE * floor + BOUND_SLACK
        return values

    def more_figures(self, group, workload, allocator):
        """What only this scenario reports, in words."""
        known = {f"figures.{key}" for key in FIGURES}
        names = [name for name in self.runs if name.startswith("figures.") and name not in known]
        values = {name: self.median(name, group, workload, allocator) for name in names}
        figures = {name.split(".")[1].replace("_", " "): value for name, value in values.items() if value is not None}
        return ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())

    def kept(self, figures):
        """Whether memory that is no longer in use is given back as promised, at once and later; None if that was not measured."""
        resident = [figures[key] for key in ("at_once", "idle", "after_work")]
        return None if None in (*resident, figures["bound"]) else max(resident) <= figures["bound"]

    def memory_cells(self, group, workload):
        """Resident at once after the drop, and whether the bound is kept, for the allocators of the group."""
        cells = []
        for allocator in group.allocators:
            figures = self.figures(group, workload, allocator)
            kept = self.kept(figures)
            if kept is None:
                cells.append(self._nothing(group, workload, allocator))
                continue
            hover = ", ".join(f"{title} {size(figures[key])}" for key, title in FIGURES.items() if figures[key] is not None)
            cells.append(Cell(size(figures["at_once"]), "✓ kept" if kept else "not kept", hover, ("kept",) if kept else ()))
        return cells

    def call_rows(self):
        """The rows of the table of single calls: (which call, which share of them, a cell for each allocator of the group)."""
        rows = []
        workload = self.latency.workloads[0]
        for call in CALLS:
            for share in SHARES:
                times = {a.key: self.median(f"figures.{call}.{share}", self.latency, workload, a) for a in self.latency.allocators}
                best = min((time for time in times.values() if time is not None), default=None)
                cells = [
                    self._nothing(self.latency, workload, a) if times[a.key] is None
                    else Cell(duration(times[a.key]), marks=("best",) if times[a.key] == best else ())
                    for a in self.latency.allocators
                ]
                rows.append((call, share, cells))
        return rows

    def bound_cells(self, group):
        """In how many scenarios each allocator of the result keeps the bound."""
        cells = []
        for allocator in self.allocators:
            kept = [self.kept(self.figures(group, workload, allocator)) for workload in group.workloads]
            known = [answer for answer in kept if answer is not None]
            cells.append(Cell(f"{sum(known)} of {len(known)}") if known else Cell())
        return cells

    def dropped_of(self):
        """The memory scenarios that `dropped` is over, and that in words: those in CPython if its own allocator ran any, so that it can be
        among the others. The summary has the means over all of them."""
        group = next((group for group in self.groups if group.key == "memory"), None)
        own = group and next((a for a in group.allocators if a.key == "own"), None)
        asked = own or group and group.baseline
        workloads = [workload.key for workload in group.workloads if self.ratio(AT_ONCE, group, workload, asked)] if asked else []
        return group, workloads, f"{len(workloads)} scenario{'s' * (len(workloads) != 1)}{' in CPython' if own else ''}"

    def dropped(self):
        """Geometric means of what is resident once the work is dropped, as (allocator, ratio, note). The note says when an allocator
        lacks some of the scenarios."""
        group, workloads, _ = self.dropped_of()
        if not workloads:
            return []
        table = self._table(AT_ONCE.key)
        means = self._mean_rows(table[table.index.isin(workloads, level="workload")])
        rows = [(a, means[(group.key, a.key)]) for a in group.allocators if (group.key, a.key) in means]
        return [
            (a, row["ratio"], "" if row["workloads"] == len(workloads) else f" ({row['workloads']} of {len(workloads)})")
            for a, row in rows
        ]

    def losses(self):
        """Where a peer beats pymalloc by more than noise, the worst first, in time, in peak memory, and in what stays resident."""
        found = []
        for group in self.groups:
            for metric in (TIME, PEAK, AT_ONCE):
                for workload in group.workloads:
                    own = self.ours and self.ratio(metric, group, workload, self.ours)
                    peers = [(a, self.ratio(metric, group, workload, a)) for a in group.allocators if a != self.ours]
                    better = [(a, value) for a, value in peers if own and value and value.beats(own)]
                    if better:
                        found.append(Loss(group, metric, workload, own, sorted(better, key=lambda peer: peer[1].ratio)))
        return sorted(found, key=lambda loss: -loss.factor)

    def failure_lines(self, named=None):
        """Which allocator failed where and why, in words; of several workloads that failed in the same way the first so many."""
        alike = {}
        for failure in self.failures:
            rounds = "" if failure.runs == self.rounds else f", {failure.runs} of {self.rounds} rounds"
            alike.setdefault((failure.allocator, failure.word, failure.reason), []).append(
                f"{failure.workload} ({failure.group.title}{rounds})"
            )
        lines = []
        for (allocator, word, reason), where in alike.items():
            shown = where[:named]
            if len(shown) < len(where):
                shown.append(f"{len(where) - len(shown)} more")
            lines.append(f"{allocator.name} {word} in {together(shown)}: {reason}")
        return lines

    def losses_line(self):
        """How many losses there are of how many comparisons, in words."""
        losses = self.losses()
        counts = [
            f"in {metric.title} on {sum(loss.metric == metric for loss in losses)} of {whole} workloads"
            for metric in (TIME, PEAK, AT_ONCE)
            if (whole := self.comparisons(metric))
        ]
        if not counts:
            return "There is nothing to compare."
        if self.rounds < 2:
            return "One round has no intervals: nothing can be said."
        return f"A peer beats pymalloc by more than noise (the intervals do not overlap) {together(counts)}."

    def comparisons(self, metric):
        """In how many workloads pymalloc was compared with at least one peer."""
        compared = [
            {a.key for a in group.allocators if self.ratio(metric, group, workload, a)}
            for group in self.groups
            for workload in group.workloads
        ]
        return sum(OURS in allocators and len(allocators) > 1 for allocators in compared)

    def warnings(self):
        said = []
        if self.result.get("quick"):
            said.append("A quick run: short workloads and few rounds, good for a look and for no claim.")
        if not self.finished:
            said.append("The run was interrupted: what is here is what it had measured by then.")
        if not len(self.runs):
            said.append("Nothing was measured.")
        elif self.rounds == 1:
            said.append("One round only: there are no intervals, and no difference can be told from noise.")
        for entry in self.missing:
            said.append(f"{entry['key']} is not compared: {entry['reason'].rstrip('.')}.")
        bare = [group.title for group in self.groups if group.allocators and not group.baseline]
        if bare:
            said.append(f"The baseline did not run, so that absolute figures stand in place of ratios: {together(bare)}.")
        failed = {(failure.allocator == self.ours, failure.group.key, failure.workload) for failure in self.failures}
        for ours, who in ((True, "pymalloc itself"), (False, "A peer")):
            workloads = sum(which[0] == ours for which in failed)
            if workloads:
                plural = "" if workloads == 1 else "s"
                said.append(f"{who} failed in {workloads} workload{plural}; what failed counts in no median and no mean.")
        times = self._table(TIME.key)
        if times["wide"].any():
            said.append(
                f"In {times['wide'].sum()} of {times['median'].count()} measured times the rounds differ much (interquartile range "
                f"over {statistics.WIDE_SPREAD:.0%} of the median)."
            )
        return said

    def compared_line(self):
        """What was run, as a list in words."""
        parts = []
        for group in self.groups:
            noun, where = ("memory scenario", "") if group.key == "memory" else ("program", f" ({group.title})")
            if group.allocators:
                parts.append(f"{len(group.workloads)} {noun}{'s' * (len(group.workloads) != 1)}{where}")
        if self.latency:
            parts.append("single calls")
        return together(parts) or "nothing"

    def picture_line(self):
        """What report_plots.picture shows, for those who do not see it."""
        said = "Geometric means of time and of peak memory, as in the summary below"
        bars = ", ".join(f"{a.label} {ratio(value)}{note}" for a, value, note in self.dropped())
        scenarios = self.dropped_of()[2]
        return f"{said}, and memory still resident once the work is dropped in the {scenarios}, against glibc: {bars}" if bars else said

    def machine_line(self):
        machine = self.machine
        memory, cores, pages = machine.get("memory"), machine.get("cores"), machine.get("huge_pages")
        return ", ".join(
            part
            for part in (
                machine.get("cpu"),
                cores and ("1 core" if cores == 1 else f"{cores} cores"),
                memory and f"{memory / 2**30:.0f} GiB of memory",
                machine.get("kernel") and f"Linux {machine['kernel']}",
                machine.get("libc"),
                machine.get("compiler"),
                pages and f"transparent huge pages: {pages}",
            )
            if part
        )

    def run_line(self):
        """Of what commit, when, and how long it took."""
        commit = self.result.get("commit")
        parts = [f"pymalloc at commit {commit}"] if commit else []
        if self.started:
            parts.append(f"{self.started:%d %B %Y, %H:%M}".lstrip("0"))
        if self.started and self.finished:
            lasted = (self.finished - self.started).total_seconds()
            parts.append(f"{lasted / 60:.0f} minutes" if lasted >= 120 else f"{lasted:.0f} seconds")
        return ", ".join(parts)
