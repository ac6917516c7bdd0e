"""The report's pictures, as SVG: dots with intervals, time against memory, resident memory over time, that of docs/benchmarks.md.

Owns how an allocator looks in all of them. What must hold: every picture is readable on light and on dark (no background of its
own, colours that stand out on both), on a telephone (WIDTH units wide, so that a unit is a pixel there, and no text under 12), and
without telling colours apart (every allocator has its own marker and dashes, and its name beside it or in the legend).
"""

import html
import io
import math
import re

import matplotlib
import numpy
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from scipy.optimize import isotonic_regression

from . import report_content as content

WIDTH = 360
POINTS = 72  # units of an SVG to matplotlib's inch
FONT = 12
# Of two labels one above the other.
LINE = 14
# Workloads of one picture of dots; more go into the next one beside it.
DOT_ROWS = 12
# A ratio beyond this, or below its inverse, is drawn at the edge: it would press all others into a line.
FARTHEST = 4
# In a picture of many workloads so large a share of the values at either end is drawn at the edge for the same reason.
RARE = 0.01
# Marks of an axis of ratios, as far as FARTHEST goes, the roundest first.
ROUND_RATIOS = (
    1, 0.5, 2, 0.25, 4, 1.5, 0.75, 3, 0.9, 1.25, 0.8, 1.2, 1.1, 0.7, 1.3, 0.6, 1.4, 0.95, 1.05, 0.85, 1.15, 1.75, 0.4, 0.3,
)

# In an SVG inside a page these stand for what the page's style sheet says of the same thing.
TEXT, RULE, BAND = "#010203", "#040506", "#070809"
IN_PAGE = {TEXT: "currentColor", RULE: "var(--rule)", BAND: "var(--band)"}
# In a file of its own a picture knows nothing of the page around it: a grey that can be read on white and on black.
ON_ITS_OWN = {TEXT: "#747b84", RULE: "#747b8455"}

# Colour, marker, dashes. The colours are those of Okabe and Ito as far as they go, the light ones darkened until they have a
# contrast of three to one on white as well as on black.
LOOKS = {
    "pymalloc": ("#0a84d0", "o", "solid"),
    "own": ("#cc79a7", "D", (0, (5, 1.5))),
    "glibc": ("#d55e00", "s", (0, (1, 1))),
    "jemalloc": ("#009e73", "^", (0, (3, 1, 1, 1))),
    "tcmalloc": ("#b98a00", "v", (0, (6, 2, 1, 2))),
    "mimalloc2": ("#8a8f1c", "<", (0, (2, 2))),
    "mimalloc3": ("#8a6fd8", ">", (0, (8, 2))),
    "snmalloc": ("#7d838b", "X", (0, (3, 1, 1, 1, 1, 1))),
    "rpmalloc": ("#2f9bb3", "P", (0, (4, 4))),
    "own-mimalloc": ("#b0508a", "d", (0, (8, 2, 2, 2))),
}
OTHER = ("#7d838b", "*", "dotted")


def look(allocator):
    return LOOKS.get(allocator.key, OTHER)


def weight(allocator, ours, others):
    """How heavy something is drawn: pymalloc's own is always the heaviest."""
    return ours if allocator.key == content.OURS else others


def last_first(allocators):
    """In drawing order: pymalloc comes first everywhere, so it is drawn last, on top."""
    return reversed(allocators)


def settings(name, **more):
    return matplotlib.rc_context(
        {
            "font.size": FONT,
            "text.parse_math": False,
            "text.color": TEXT,
            "axes.labelcolor": TEXT,
            "axes.edgecolor": TEXT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": TEXT,
            "ytick.color": TEXT,
            "grid.color": RULE,
            "grid.linewidth": 0.8,
            # Text stays text; the names inside one SVG differ from those of the next on the page.
            "svg.fonttype": "none",
            "svg.hashsalt": name,
            # A tenth of a unit cannot be seen.
            "path.simplify_threshold": 0.3,
            **more,
        }
    )


def canvas(height, left, right, top, bottom):
    """A figure of the usual width and its axes, all in units; the last four are the margins."""
    figure = Figure(figsize=(WIDTH / POINTS, height / POINTS))
    return figure, placed(figure, left, WIDTH - right, top, bottom)


def placed(figure, left, right, top, bottom):
    """Axes from left to right, with margins above and below, in units."""
    width, height = figure.get_size_inches() * POINTS
    return figure.add_axes((left / width, bottom / height, (right - left) / width, (height - top - bottom) / height))


def drawn(figure, colours):
    """The figure as SVG text, with colours replaced and without what a browser has no use for."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"[1-9]\d*\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    for colour, replaced in colours.items():
        svg = svg.replace(colour, replaced)
    return svg


def inline(figure, description):
    """The figure for the inside of a page: its text in the page's own type, its size the page's."""
    svg = drawn(figure, IN_PAGE)
    view = re.search(r'viewBox="[^"]*"', svg)[0]
    svg = svg[svg.index(">") + 1:]
    # The names that matplotlib gives to groups would appear once per picture.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    # A style sheet inside a page would hold for all of it: the page's own has these rules.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    # One version of matplotlib says all of a font in one word, another in several.
    svg = re.sub(r"font: (?:(\d+) )?(\d+)px [^;\"]*", lambda font: f"font-weight: {font[1] or 400}; font-size: {font[2]}px", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    # A mark stands out in a contrast of three to one, text needs more: nearer to that of the page around it.
    svg = re.sub(r"(<text[^>]*?fill: )(#\w{6})", r"\1\2; fill: color-mix(in srgb, \2 60%, currentColor)", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    return f'<svg {view} role="img" aria-label="{html.escape(description)}">{svg}'


def apart(wanted, least, low, high):
    """Places on a line as near as can be to those wanted, in the same order, at least `least` apart, between low and high."""
    order = numpy.argsort(wanted, kind="stable")
    steps = numpy.arange(len(wanted)) * least
    room = high - steps[-1]
    places = numpy.empty(len(wanted))
    places[order] = numpy.clip(isotonic_regression(numpy.asarray(wanted)[order] - steps).x, min(low, room), room) + steps
    return places


def log_ticks(axis, low, high, room):
    """Round numbers on a logarithmic axis, the roundest first, each where it has that share of the axis for itself."""
    ticks = []
    for tick in ROUND_RATIOS:
        if low <= tick <= high and all(abs(math.log(tick / other)) >= room * math.log(high / low) for other in ticks):
            ticks.append(tick)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def limits(values, rare=0.0):
    """Of a logarithmic axis that shows 1 and the values as far as FARTHEST, less the rare ones at each end."""
    known = [value for value in values if not math.isnan(value)]
    low, high = numpy.clip(numpy.quantile(known, (rare, 1 - rare)), 1 / FARTHEST, FARTHEST)
    low, high = min(low, 1 / 1.05), max(high, 1.05)
    margin = (high / low) ** 0.04
    return low / margin, high * margin


def legend(allocators):
    """Marker, dashes and name of each allocator."""
    with settings("legend"):
        figure = Figure(figsize=(WIDTH / POINTS, (len(allocators) * 20 + 6) / POINTS))
        lines = [
            Line2D([], [], color=look(a)[0], marker=look(a)[1], linestyle=look(a)[2], linewidth=weight(a, 3, 1.6), markersize=7)
            for a in allocators
        ]
        figure.legend(
            lines, [a.name for a in allocators], loc="center left", frameon=False, handlelength=4, fontsize=FONT,
            labelspacing=0.6, borderpad=0,
        )
        return inline(figure, "Legend: " + ", ".join(a.name for a in allocators))


def dots(report, group, metric):
    """Pictures of a dot with its interval for each workload and allocator, the workloads sorted by pymalloc's ratio."""
    table = {
        workload: {a: value for a in group.allocators if (value := report.ratio(metric, group, workload, a))}
        for workload in group.workloads
    }
    table = {workload: values for workload, values in table.items() if values}
    if not table:
        return []
    order = sorted(table, key=lambda workload: table[workload][report.ours].ratio if report.ours in table[workload] else math.inf)
    span = limits(
        [number for values in table.values() for value in values.values() for number in (value.ratio, value.low, value.high)],
        rare=RARE,
    )
    return [
        _dots(group, metric, {workload: table[workload] for workload in order[start:start + size]}, span, start)
        for start, size in _shares(len(order), math.ceil(len(order) / DOT_ROWS))
    ]


def _shares(count, parts):
    """(start, size) of as equal parts as there can be."""
    ends = [round(count * part / parts) for part in range(parts + 1)]
    return [(start, end - start) for start, end in zip(ends, ends[1:])]


def _dots(group, metric, table, span, start):
    step, header, gap = 6, 19, 6
    row = header + step * len(group.allocators) + gap
    height = row * len(table)
    with settings(f"dots {group.key} {metric.key} {start}"):
        figure, axes = canvas(height + 60, left=16, right=16, top=22, bottom=38)
        axes.set_xscale("log")
        axes.set_xlim(*span)
        axes.set_ylim(height, 0)
        axes.yaxis.set_visible(False)
        axes.spines[["left"]].set_visible(False)
        log_ticks(axes.xaxis, *span, room=0.1)
        axes.tick_params(axis="x", top=True, labeltop=True, length=3)
        axes.grid(axis="x")
        axes.axvline(1, color=TEXT, linewidth=1.2)
        axes.set_axisbelow(True)
        axes.set_xlabel(f"{metric.title} / {group.baseline.label}: left is {metric.better}", fontsize=FONT)
        for index, (workload, values) in enumerate(table.items()):
            top = index * row
            if index % 2 == 0:
                axes.axhspan(top, top + row, color=BAND, linewidth=0, zorder=0)
            across = axes.get_yaxis_transform()
            axes.text(0.008, top + header / 2 + 1, workload.key, transform=across, va="center", fontweight="bold")
            for place, allocator in enumerate(group.allocators):
                if allocator in values:
                    _dot(axes, allocator, values[allocator], top + header + step * (place + 0.5), span)
        names = ", ".join(workload.key for workload in table)
        return inline(figure, f"{group.title}: {metric.title} against {group.baseline.name}, with intervals, of {names}")


def _dot(axes, allocator, value, y, span):
    colour, marker, _ = look(allocator)
    beyond = not span[0] <= value.ratio <= span[1]
    x = min(max(value.ratio, span[0]), span[1])
    if beyond:
        marker = 9 if value.ratio > 1 else 8  # matplotlib's carets, whose point is at the place
    elif not math.isnan(value.low):
        ends = [min(max(end, span[0]), span[1]) for end in (value.low, value.high)]
        axes.plot(ends, [y, y], color=colour, linewidth=weight(allocator, 2.4, 1.2), solid_capstyle="butt")
    axes.plot([x], [y], color=colour, marker=marker, markersize=weight(allocator, 7.5, 5.5), markeredgewidth=0, clip_on=False)


def label_column(axes, points, colours, texts, weights):
    """Names in a column to the right of the axes, each with a fine line to its point, which is in units of the axes."""
    figure = axes.figure
    to_units = axes.transData + figure.dpi_scale_trans.inverted()
    at = [to_units.transform(point) * POINTS for point in points]
    box = axes.get_position()
    width, height = figure.get_size_inches() * POINTS
    right, low, high = box.x1 * width, box.y0 * height + LINE / 2, box.y1 * height
    places = apart([y for _, y in at], LINE, low - LINE, high)
    column = right + 12
    for (x, y), place, colour, text, bold in zip(at, places, colours, texts, weights):
        unit = figure.dpi_scale_trans
        axes.plot(
            [(x + 3) / POINTS, (column - 2) / POINTS], [y / POINTS, place / POINTS], transform=unit, color=colour, linewidth=0.8,
            clip_on=False, alpha=0.7, zorder=1,
        )
        axes.text(column / POINTS, place / POINTS, text, transform=unit, color=colour, va="center_baseline", fontweight=bold)


def means(report, group):
    """Of time and of peak memory, for each allocator that has both; nothing without a baseline."""
    pairs = {a: (report.mean(content.TIME, group, a)[0], report.mean(content.PEAK, group, a)[0]) for a in group.allocators}
    return {a: pair for a, pair in pairs.items() if all(pair)} if group.baseline else {}


def scatter(report, group):
    """Geometric means of a group, which must have some: time across, peak memory up."""
    with settings(f"scatter {group.key}"):
        figure, axes = canvas(300, left=56, right=112, top=12, bottom=44)
        _scatter(axes, group, means(report, group), intervals=True, colour=lambda allocator: look(allocator)[0])
        return inline(figure, f"{group.title}: geometric mean of time against that of peak memory, for each allocator")


def _scatter(axes, group, pairs, intervals, colour):
    numbers = [[number for pair in pairs.values() for number in (pair[side] if intervals else pair[side][:1])] for side in (0, 1)]
    spans = [limits(numbers[side]) for side in (0, 1)]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*spans[0])
    axes.set_ylim(*spans[1])
    log_ticks(axes.xaxis, *spans[0], room=0.17)
    log_ticks(axes.yaxis, *spans[1], room=0.1)
    axes.grid()
    axes.axvline(1, color=TEXT, linewidth=1)
    axes.axhline(1, color=TEXT, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"time / {group.baseline.label}")
    axes.set_ylabel(f"peak memory / {group.baseline.label}")
    for allocator in last_first(list(pairs)):
        time, peak = pairs[allocator]
        look_of = {"color": colour(allocator), "marker": look(allocator)[1]}
        if intervals:
            axes.plot([time.low, time.high], [peak.ratio, peak.ratio], color=colour(allocator), linewidth=weight(allocator, 2, 1))
            axes.plot([time.ratio, time.ratio], [peak.low, peak.high], color=colour(allocator), linewidth=weight(allocator, 2, 1))
        axes.plot([time.ratio], [peak.ratio], markersize=weight(allocator, 11, 7), markeredgewidth=0, **look_of)
    label_column(
        axes,
        [(min(time.ratio, spans[0][1]), min(peak.ratio, spans[1][1])) for time, peak in pairs.values()],
        [colour(a) for a in pairs],
        [a.label for a in pairs],
        [weight(a, "bold", "normal") for a in pairs],
    )


def series(report, group, workload):
    """For each allocator the resident memory of one round: the one whose last figure is the median."""
    ran = {}
    for run in report.result["runs"]:
        if run.get("series") and not run["failure"] and (run["group"], run["workload"]) == (group.key, workload.key):
            ran.setdefault(run["allocator"], []).append(run["series"])
    for rounds in ran.values():
        rounds.sort(key=lambda points: points[-1][1])
    return {a: ran[a.key][(len(ran[a.key]) - 1) // 2] for a in group.allocators if a.key in ran}


def _floor(figures):
    """MiB that cannot go back while the survivors live."""
    before, floor = figures["before"], figures["floor"]
    return None if before is None or floor is None else (before + floor) / content.MIB


def memory(report, group, workload):
    """Resident memory over time in one scenario, which must have a series, with the page floor."""
    lines = series(report, group, workload)
    # Where blocks lie, and so how many pages hold one, differs between allocators: it is that of the first, pymalloc.
    floor = next((floor for a in lines if (floor := _floor(report.figures(group, workload, a))) is not None), None)
    with settings(f"memory {workload.key}"):
        figure, axes = canvas(290, left=54, right=134, top=12, bottom=44)
        for allocator in last_first(list(lines)):
            colour, marker, dashes = look(allocator)
            times, sizes = zip(*lines[allocator])
            every = max(1, len(times) // 5)
            axes.plot(
                times, [value / content.MIB for value in sizes], color=colour, linestyle=dashes,
                linewidth=weight(allocator, 3, 1.5), marker=marker, markersize=weight(allocator, 7, 5), markeredgewidth=0,
                markevery=(list(LOOKS).index(allocator.key) * every // len(LOOKS) if allocator.key in LOOKS else 0, every),
            )
        axes.set_xlim(0, max(points[-1][0] for points in lines.values()) or 1)
        axes.set_ylim(0, max(value for points in lines.values() for _, value in points) / content.MIB * 1.05 or 1)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel("seconds")
        axes.set_ylabel("resident, MiB")
        ends = [(points[-1][0], points[-1][1] / content.MIB) for points in lines.values()]
        colours, texts = [look(a)[0] for a in lines], [f"{end[1]:.0f} {a.label}" for end, a in zip(ends, lines)]
        weights = [weight(a, "bold", "normal") for a in lines]
        if floor is not None:
            axes.axhline(floor, color=TEXT, linestyle=(0, (6, 4)), linewidth=1.4)
            ends, colours = [*ends, (axes.get_xlim()[1], floor)], [*colours, TEXT]
            texts, weights = [*texts, f"{floor:.0f} page floor"], [*weights, "normal"]
        label_column(axes, ends, colours, texts, weights)
        return inline(figure, f"Resident memory over time in {workload.key}: at the end, in MiB, " + ", ".join(texts))


def picture(report):
    """The picture of docs/benchmarks.md: time and memory on the newest CPython (or on C where there is none), and what stays
    resident once the work is dropped; None where there is nothing to draw."""
    drawable = [group for group in report.groups if group.key != "memory" and means(report, group)]
    # The newest CPython is the first of them.
    group = next((group for group in drawable if group.key.startswith("py")), drawable[0] if drawable else None)
    bars = report.dropped()
    if not group and not bars:
        return None
    width = 450
    with settings("picture", **{"svg.fonttype": "path"}):
        figure = Figure(figsize=(width * (bool(group) + bool(bars)) / POINTS, 340 / POINTS))
        if group:
            axes = placed(figure, 56, width - 130, bottom=46, top=64)
            what = f"{len(group.workloads)} programs, {group.title}"
            _headings(axes, what, "towards the lower left: less time and less memory", left=56)
            _scatter(axes, group, means(report, group), intervals=False, colour=plain)
        if bars:
            left = width if group else 0
            axes = placed(figure, left + 104, left + width - 50, bottom=24, top=64)
            said = "Memory still resident once the work is dropped"
            _headings(axes, said, f"{report.dropped_of()[2]}, geometric means; shorter is better; glibc: 1", left=104)
            _bars(axes, bars)
        return drawn(figure, ON_ITS_OWN)


def plain(allocator):
    """The colour where names stand beside all there is, and only pymalloc need be found."""
    return look(allocator)[0] if allocator.key == content.OURS else TEXT


def _headings(axes, said, more, left):
    """Two lines above the axes, which begin `left` units to the left of them."""
    for text, above, font in ((said, 32, {"fontweight": "bold", "fontsize": FONT + 2}), (more, 14, {})):
        axes.annotate(text, (0, 1), (8 - left, above), xycoords="axes fraction", textcoords="offset points", **font)


def _bars(axes, bars):
    bars = sorted(bars, key=lambda bar: bar[1])
    axes.barh(range(len(bars)), [value for _, value, _ in bars], height=0.62, color=[plain(a) for a, _, _ in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks(range(len(bars)), [a.label for a, _, _ in bars])
    axes.tick_params(axis="y", length=0)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.xaxis.set_visible(False)
    for place, (allocator, value, note) in enumerate(bars):
        axes.annotate(
            content.ratio(value) + note, (value, place), xytext=(5, 0), textcoords="offset points", va="center_baseline",
            color=plain(allocator), fontweight=weight(allocator, "bold", "normal"),
        )
        axes.get_yticklabels()[place].set(color=plain(allocator), fontweight=weight(allocator, "bold", "normal"))
