"""The generated part of docs/benchmarks.md: a summary, where pymalloc loses, and a table for each group, in GitHub's Markdown.

Owns what is left out there, since a person reads it in a repository: intervals, page faults, the peers on older CPythons, time and
peak memory of each memory scenario, most pictures. All of that is on the page that `make bench` writes.
"""

from . import report_content as content

# Of the losses, and of the workloads in which one allocator failed.
LOSSES_SHOWN = 15
FAILURES_NAMED = 5

MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: "\\" + mark for mark in "\\|*_`[]"}})


def text(of_result):
    """Text of a result where it must be neither markup nor the end of a cell."""
    return " ".join(of_result.split()).translate(MARKUP)


def table(head, rows, words=1):
    """A table whose first columns are words and the others figures."""
    ruler = ["---"] * words + ["---:"] * (len(head) - words)
    return ["", *(f"| {' | '.join(line)} |" for line in [head, ruler, *rows]), ""]


def names(allocators):
    return [text(allocator.name) for allocator in allocators]


def cell_text(cell, beats=""):
    shown = f"**{cell.text}**" if "best" in cell.marks else cell.text
    return beats + shown if "beats" in cell.marks else shown


def generated(report, picture):
    """The text between the marks; `picture` is the path of the picture seen from there, or None."""
    groups = [group for group in report.groups if group.allocators]
    pythons = [group for group in groups if group.key.startswith("py")]
    lines = _introduction(report, picture) + _summary(report, groups) + _losses(report)
    for group in groups:
        if group.key == "memory":
            lines += _memory(report, group)
        elif group not in pythons[1:]:
            lines += _group(report, group)
        if len(pythons) > 1 and group == pythons[-1]:
            lines += _older(report, pythons[1:])
    if report.latency:
        lines += _latency(report)
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def _introduction(report, picture):
    lines = ["", f"![{text(report.picture_line())}]({picture})", ""] if picture else [""]
    lines += [
        f"{text(content.together(allocator.name for allocator in report.allocators))}, compared on {text(report.compared_line())}.",
        f"Rounds: {report.rounds}. The machine: {text(report.machine_line() or 'unknown')}.",
        f"The run: {text(report.run_line() or 'undated')}.",
        "",
    ]
    lines += [f"- {text(said)}" for said in [*report.warnings(), *report.failure_lines(FAILURES_NAMED)]]
    return [*lines, ""]


def _summary(report, groups):
    rows = []
    for group in groups:
        against = f", against {text(group.baseline.name)}" if group.baseline else ""
        for place, (what, cells) in enumerate(report.summary(group)):
            rows.append([group.title + against if place == 0 else "", what, *map(cell_text, cells)])
    return [
        "### Summary", "",
        "Geometric means of the ratios to the baseline: 0.90 is a tenth less time or memory. Less is better; the least is bold.",
        *table(["group", "what", *names(report.allocators)], rows, words=2),
    ]


def _losses(report):
    losses = report.losses()
    rows = [
        [
            f"{text(loss.workload.key)} ({loss.group.title})", loss.metric.title,
            content.together([f"{peer.label} {content.ratio(value.ratio)}" for peer, value in loss.peers[:3]]),
            content.ratio(loss.ours.ratio), f"{loss.factor - 1:.0%}",
        ]
        for loss in losses[:LOSSES_SHOWN]
    ]
    lines = ["### Where pymalloc loses", "", report.losses_line()]
    if rows:
        lines += table(["workload", "what", "the best peers", "pymalloc", "behind by"], rows, words=3)
    if len(losses) > LOSSES_SHOWN:
        lines.append(f"And {len(losses) - LOSSES_SHOWN} more, by less than the last of these.")
    return [*lines, ""]


def _group(report, group):
    rows = []
    for workload in group.workloads:
        cells = zip(report.cells(content.TIME, group, workload), report.cells(content.PEAK, group, workload))
        rows.append([text(workload.key), *(_pair(time, peak) for time, peak in cells)])
    against = f", against {text(group.baseline.name)}" if group.baseline else ""
    return [
        f"### {group.title}", "",
        f"Time / peak memory{against}. Bold: the least of the row. ▸: beats pymalloc by more than noise.",
        *table(["workload", *names(group.allocators)], rows),
    ]


def _pair(time, peak):
    both = [cell_text(time, "▸ "), cell_text(peak, "▸ ")]
    return " / ".join(dict.fromkeys(both)) if "failed" in time.marks or time.text == "–" else " / ".join(both)


def _older(report, groups):
    keys = dict.fromkeys(workload for group in groups for workload in group.workloads)
    rows = []
    for workload in keys:
        both = [[report.ratio(metric, group, workload, report.ours) for metric in (content.TIME, content.PEAK)] for group in groups]
        shown = [" / ".join(content.ratio(value.ratio) if value else "–" for value in pair) for pair in both]
        rows.append([text(workload.key), *shown])
    return [
        "### pymalloc on older CPythons", "", "Time / peak memory of pymalloc, against CPython's own.",
        *table(["workload", *(group.title for group in groups)], rows),
    ]


def _latency(report):
    rows = [[call if place % len(content.SHARES) == 0 else "", share, *map(cell_text, cells)] for place, (call, share, cells) in enumerate(report.call_rows())]
    return [
        "### How long single calls take", "",
        "Medians of the rounds; the least of a row is bold. Calls in which the thread lost its processor do not count; reading the clock, some 30 ns, does.",
        *table(["call", "of all calls", *names(report.latency.allocators)], rows, words=2),
    ]


def _memory(report, group):
    rows = []
    for workload in group.workloads:
        cells = report.memory_cells(group, workload)
        rows.append([text(workload.key), *(f"{cell.text} ✓" if "kept" in cell.marks else cell.text for cell in cells)])
    return [
        "### Resident at once after the work is dropped", "",
        "✓: at once, when idle and after a little more work, no more is resident than what was before the work,",
        f"{content.BOUND_SHARE} times the pages that hold a live block, and {content.size(content.BOUND_SLACK)}.",
        "No allocator is told to give anything back.",
        *table(["scenario", *names(group.allocators)], rows),
    ]
