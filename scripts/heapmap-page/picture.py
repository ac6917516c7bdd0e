"""Draws snapshots side by side as one SVG picture, for documents: what the page shows, without its figures on demand.

Owns: the picture's layout. What must hold: it is readable on a light and on a dark page (no background of its own, colours that stand out on
both), and stays small whatever is in it: cells of the same look are one path, and a heap of many arenas is merged as in the page.
"""

import gzip
from html import escape

import colours
import packing
from snapshots import STATES

# Width of a cell, its height and the distance of rows, for so many panels beside each other.
CELLS = {1: (16, 18, 22), 2: (8, 10, 13), 3: (5, 7, 9)}
BETWEEN, MARGIN, HEAD, FOOT = 34, 6, 42, 26
# Rows of a panel; a heap of more arenas is merged.
MOST_ROWS = 96
TEXT, EMPTY, LARGE, HEADER = "#7d838b", "#9aa1a9", "#7f8791", "#5b626b"
# How much lighter than on a light page the colours are.
LIFT = 0.04
# How strong the colour is for what is in use, in this many steps, and for blocks free and untouched.
STEPS = 5
WEAKEST = 0.25
STRENGTH = {"a": 1, "f": 0.4, "u": 0.15}
# Lines of the pool that is drawn large, their height and distance, and what is between the lines of two pages.
LINES, LINE, LINE_PITCH, PAGE_GAP = 16, 10, 12, 4


class Paths:
    """Rectangles, joined to one path for each look."""

    def __init__(self):
        self.looks = {}

    def add(self, fill, strength, x, y, width, height):
        self.looks.setdefault((fill, strength), []).append(f"M{x:g} {y:g}h{width:g}v{height:g}h{-width:g}z")

    def svg(self):
        return [f'<path fill="{fill}" fill-opacity="{strength:g}" d="{"".join(parts)}"/>' for (fill, strength), parts in self.looks.items()]


def make(snapshots, pool):
    """The picture of these snapshots, in this order."""
    slots = snapshots[0].slots
    across = min(len(snapshots), max(CELLS))
    sizes = CELLS[across]
    panel = slots * sizes[0]
    rows = max(len(one.arenas) for one in snapshots)
    together = 1
    while -(-rows // together) > MOST_ROWS:
        together *= 2
    lines = max(-(-rows // together), 1)
    parts, paths = [], Paths()
    tall = HEAD + lines * sizes[2] + FOOT
    for number, snapshot in enumerate(snapshots):
        x = MARGIN + number % across * (panel + BETWEEN)
        y = MARGIN + number // across * tall
        parts += heading(snapshot, snapshots[0], x, y)
        draw = draw_exact if together == 1 else draw_merged
        draw(paths, snapshot, sizes, together, x, y + HEAD)
    width = 2 * MARGIN + across * (panel + BETWEEN) - BETWEEN
    height = MARGIN + -(-len(snapshots) // across) * tall
    note = "A row is an arena, a cell a pool; stronger is fuller; where a cell is flat its pages are not resident."
    if together > 1:
        note = f"A cell is {together} neighbouring slots ({together * snapshots[0].slot >> 10} KiB); stronger is fuller."
    parts.append(text(MARGIN, height - 8, note))
    if pool:
        height = draw_pool(parts, paths, snapshots[-1], width, height)
    label = f"Heap maps of {snapshots[0].command}, {len(snapshots)} snapshots: " + "; ".join(figures(one) for one in snapshots)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label)}" font-family="system-ui, sans-serif" font-size="13">\n' + "\n".join(parts + paths.svg()) + "\n</svg>\n"
    )


def text(x, y, content, weight="normal"):
    return f'<text x="{x:g}" y="{y:g}" fill="{TEXT}" font-weight="{weight}">{escape(content)}</text>'


def mib(number):
    return f"{number / (1 << 20):.1f} MiB"


def figures(snapshot):
    return f"{len(snapshot.arenas):,} arenas, {mib(snapshot.heap_resident)} resident, {mib(snapshot.totals['bytes_in_use'])} in use"


def heading(snapshot, first, x, y):
    return [text(x, y + 13, f"after {snapshot.time - first.time:.2f} s", "bold"), text(x, y + 31, figures(snapshot))]


def strength(share):
    """One of a few, so that few paths are needed."""
    return round(WEAKEST + (1 - WEAKEST) * round(share * STEPS) / STEPS, 2)


def resident_runs(snapshot, number, first, pages):
    """Runs of so many pages of an arena, as (first, behind the last, whether they are resident)."""
    bits = snapshot.resident_bits(number) >> first
    start = 0
    while start < pages:
        there, end = bits >> start & 1, start + 1
        while end < pages and bits >> end & 1 == there:
            end += 1
        yield start, end, there
        start = end


def draw_exact(paths, snapshot, sizes, together, left, top):
    cell, height, pitch = sizes
    table = colours.of_classes(snapshot.classes, LIFT)
    per_slot = snapshot.slot / snapshot.page
    for number, pools, large in snapshot.by_arena():
        y = top + number * pitch
        taken = set(range(snapshot.first_slot))
        draw_cell(paths, snapshot, sizes, number, 0, snapshot.first_slot, HEADER, 1, left, y)
        for pool in pools:
            slot, name = snapshot.pool_slot[pool], snapshot.pool_class[pool]
            _, blocks, long = snapshot.classes[name]
            draw_cell(paths, snapshot, sizes, number, slot, long, table[name], strength(snapshot.in_use[pool] / blocks), left, y)
            taken.update(range(slot, slot + long))
        for run in large:
            slot, long = snapshot.large_slot[run], snapshot.large_slots[run]
            draw_cell(paths, snapshot, sizes, number, slot, long, LARGE, 1, left, y)
            taken.update(range(slot, slot + long))
        for slot in sorted(set(range(snapshot.slots)) - taken):
            for start, end, there in resident_runs(snapshot, number, int(slot * per_slot), max(int(per_slot), 1)):
                x, width = left + slot * cell + start * cell / per_slot, (end - start) * cell / per_slot
                paths.add(EMPTY, 0.35, x, y if there else y + height - 1, width, height if there else 1)


def draw_cell(paths, snapshot, sizes, number, slot, slots, fill, strong, left, y):
    """A cell as wide as its slots: full height where its pages are resident, flat where they are not."""
    cell, height, _ = sizes
    per_slot = snapshot.slot / snapshot.page
    wide = slots * cell - 0.7
    pages = max(int(slots * per_slot), 1)
    for start, end, there in resident_runs(snapshot, number, int(slot * per_slot), pages):
        x, width = left + slot * cell + start * wide / pages, (end - start) * wide / pages
        paths.add(fill, strong if there else 0.4, round(x, 2), y if there else y + height - 1.5, round(width, 2), height if there else 1.5)


def draw_merged(paths, snapshot, sizes, together, left, top):
    wide, height, pitch = sizes
    wide -= 0.7
    table = colours.of_classes(snapshot.classes, LIFT)
    for cell, (name, pools, large, used, _) in enumerate(zip(*packing.merge(snapshot, together))):
        x, y = left + cell % snapshot.slots * sizes[0], top + cell // snapshot.slots * pitch
        high, other = (round(part / 255 * height, 1) for part in (pools, large))
        paths.add(EMPTY, 0.35, x, y + height - 1, wide, 1)
        if other:
            paths.add(LARGE, 1, x, y + height - high - other, wide, other)
        if high:
            paths.add(table[name], strength(used / 255), x, y + height - high, wide, high)


def draw_pool(parts, paths, snapshot, width, top):
    """Draws the blocks of a pool, part of whose pages are not resident, below the maps. Returns the height of the whole picture."""
    if snapshot.runs is None:
        return top
    # Only the end of a pool is 0.
    runs = gzip.decompress(snapshot.runs).split(b"\0")
    number, pool = partly_purged(snapshot, runs)
    if pool is None:
        return top
    slot, name = snapshot.pool_slot[pool], snapshot.pool_class[pool]
    size, blocks, slots = snapshot.classes[name]
    fill = colours.of_classes(snapshot.classes, LIFT)[name]
    figures = f"{snapshot.in_use[pool]} of {blocks} blocks in use, {snapshot.free[pool]} free, {snapshot.untouched[pool]} untouched"
    parts.append(text(MARGIN, top + 22, f"One pool of {size}-byte blocks: {figures}. A line is a sixteenth of it.", "bold"))
    top += 34
    total = slots * snapshot.slot
    per_line = total // LINES
    scale = (width - 2 * MARGIN - 110) / per_line

    def line_top(line):
        gap = line * per_line // snapshot.page * PAGE_GAP if per_line < snapshot.page else 0
        return top + line * LINE_PITCH + gap

    def pieces(start, end):
        while start < end:
            line = start // per_line
            stop = min((line + 1) * per_line, end)
            yield MARGIN + (start - line * per_line) * scale, line_top(line), (stop - start) * scale
            start = stop

    for block, state in enumerate(states_of(runs[pool])):
        for x, y, wide in pieces(block * size, (block + 1) * size):
            paths.add(fill, STRENGTH[state], round(x, 1), y, max(round(wide - 0.8, 1), 0.5), LINE)
    lead = slot * snapshot.slot // snapshot.page
    for start, end, there in resident_runs(snapshot, number, lead, max(total // snapshot.page, 1)):
        for page in range(start, end):
            parts.append(text(width - MARGIN - 100, line_top(page * snapshot.page // per_line) + LINE, "resident" if there else "not resident"))
    return line_top(LINES - 1) + LINE_PITCH + 24


def partly_purged(snapshot, runs):
    """Of the pools of one slot with pages that are not resident, the one with most runs: its arena's number and its own."""
    most, found = 0, (None, None)
    pages = max(snapshot.slot // snapshot.page, 1)
    for number, pools, _ in snapshot.by_arena():
        for pool in pools:
            first = snapshot.pool_slot[pool] * snapshot.slot // snapshot.page
            gone = any(not there for _, _, there in resident_runs(snapshot, number, first, pages))
            if gone and len(runs[pool]) > most and snapshot.classes[snapshot.pool_class[pool]][2] == 1:
                most, found = len(runs[pool]), (number, pool)
    return found


def states_of(runs):
    """The states of a pool's blocks, a letter each."""
    states, value, shift = [], 0, 0
    for byte in runs:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            states += STATES[value % len(STATES)] * (value // len(STATES))
            value = shift = 0
    return states
