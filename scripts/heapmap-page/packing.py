"""Packs the snapshots of a process into the chunks that the page carries, and decides what is left out so that they fit.

Owns: the layout of a chunk (its other side is `data.js`) and the plan. A chunk is gzip of: four bytes, the length of the JSON that follows; the
JSON; columns of numbers, lowest byte first, each column whole before the next. A snapshot has a chunk for its cells and, if its blocks are told,
one for those, so that the page unpacks only what is looked at.
What must hold: the figures of every snapshot are exact whatever was left out, and what was left out is said in `notes`.
"""

import json
import sys
from array import array

from snapshots import compress, highest, thin

# Base64 makes four bytes of three, and the page itself takes some: with this the file stays below 5 MB.
BUDGET = 3_500_000
# So many snapshots are enough for the slider when not all of them fit.
ENOUGH = 48
# Points of the lines of resident bytes, bytes in use and the page floor: of one process at most, of all together, and of each at least.
POINTS, ALL_POINTS, FEWEST_POINTS = 1_500, 20_000, 20
# Arenas of all snapshots together, so that each keeps its row when they are ordered by address.
PLACES = 20_000


class Packed:
    """A process as the page has it: `about` goes into the page's index, `cells` and `blocks` are the chunks."""

    def __init__(self, about, cells, blocks):
        self.about, self.cells, self.blocks = about, cells, blocks

    def size(self):
        return sum(map(len, self.cells)) + sum(len(chunk) for chunk in self.blocks if chunk)


def chunk(head, columns):
    """Head and columns as one chunk. Columns are arrays or bytes."""
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    parts = [len(text).to_bytes(4, "little"), text]
    for column in columns:
        if isinstance(column, array) and sys.byteorder == "big":
            column = column[:]
            column.byteswap()
        parts.append(bytes(column))
    return compress(b"".join(parts))


def head(snapshot):
    """What is told of a snapshot besides its cells."""
    return {
        "time": snapshot.time,
        "totals": snapshot.totals,
        "heap": snapshot.heap_resident,
        "floor": snapshot.floor,
        "mappings": snapshot.mappings,
        "arenas": len(snapshot.arenas),
        "pools": len(snapshot.pool_slot),
        "large": len(snapshot.large_slot),
    }


def exact(snapshot):
    """The chunk with every pool."""
    return chunk(
        head(snapshot),
        [
            snapshot.arenas,
            snapshot.pools_in,
            snapshot.large_in,
            snapshot.resident,
            snapshot.pool_slot,
            snapshot.pool_class,
            snapshot.in_use,
            snapshot.free,
            snapshot.untouched,
            snapshot.large_slot,
            snapshot.large_slots,
            snapshot.large_bytes,
        ],
    )


def merged(snapshot, together):
    """The chunk in which a cell stands for so many neighbouring slots, as `merge` says."""
    every = max(together // snapshot.slots, 1)
    return chunk(head(snapshot), [snapshot.arenas[::every], *merge(snapshot, together)])


def merge(snapshot, together):
    """Columns of cells, each of so many neighbouring slots: the size class that most of them hold (0: none), and as parts of 255 the slots that
    are pools, and that are large blocks or headers, the bytes in use of those in pools, and the resident pages."""
    slots = snapshot.slots
    count = -(-len(snapshot.arenas) * slots // together)
    pools, large, used, resident = ([0] * count for _ in range(4))
    classes = [{} for _ in range(count)]
    pages = snapshot.pages
    for number, its_pools, its_large in snapshot.by_arena():
        first = number * slots
        for pool in its_pools:
            name = snapshot.pool_class[pool]
            size, _, long = snapshot.classes[name]
            share = snapshot.in_use[pool] * size / long
            for slot in range(first + snapshot.pool_slot[pool], first + snapshot.pool_slot[pool] + long):
                cell = slot // together
                pools[cell] += 1
                used[cell] += share
                classes[cell][name] = classes[cell].get(name, 0) + 1
        for run in its_large:
            for slot in range(first + snapshot.large_slot[run], first + snapshot.large_slot[run] + snapshot.large_slots[run]):
                large[slot // together] += 1
        for slot in range(first, first + snapshot.first_slot):
            large[slot // together] += 1
        bits = snapshot.resident_bits(number)
        step = max(min(together, slots) * pages // slots, 1)
        for offset in range(0, pages, step):
            resident[(first + offset * slots // pages) // together] += bin(bits >> offset & (1 << step) - 1).count("1")
    part = lambda value, whole: min(round(255 * value / whole), 255) if whole else 0
    cells = range(count)
    return [
        array("B", [max(classes[cell], key=classes[cell].get, default=0) for cell in cells]),
        array("B", [part(pools[cell], together) for cell in cells]),
        array("B", [part(large[cell], together) for cell in cells]),
        array("B", [part(used[cell], pools[cell] * snapshot.slot) for cell in cells]),
        array("B", [part(resident[cell], together * pages / slots) for cell in cells]),
    ]


def pack_all(processes):
    """All processes, in the order given. Each has an equal part of what the ones before it left; the small ones come first."""
    packed, left = [None] * len(processes), BUDGET
    order = sorted(range(len(processes)), key=lambda index: sum(one.held() for one in processes[index]))
    points = max(min(POINTS, ALL_POINTS // len(processes)), FEWEST_POINTS)
    for done, index in enumerate(order):
        packed[index] = pack(processes[index], left // (len(order) - done), points)
        left -= packed[index].size()
    return packed


def pack(snapshots, budget, points):
    """The process that fits into so many bytes: all of it if that does; else fewer snapshots, then cells of several slots, then fewer still."""
    kept, together, notes = snapshots, 1, []
    while True:
        cells = pack_cells(kept, together, budget)
        if cells is not None:
            break
        if len(kept) > ENOUGH:
            kept = evenly(kept, ENOUGH)
        elif together < 64 * kept[0].slots:
            together *= 2
        elif len(kept) > 1:
            kept = evenly(kept, len(kept) // 2)
    blocks = pack_blocks(kept, together, budget - sum(map(len, cells)))
    first, fullest = kept[0], highest(kept)
    if len(kept) < len(snapshots):
        notes.append(f"{len(snapshots):,} snapshots are too many for one page: {len(kept)} are shown, evenly spaced. The line has more of them.")
    if together > 1:
        slots = f"{together} neighbouring slots ({together * first.slot >> 10:,} KiB)"
        notes.append(f"The heap is too large to show each pool: a cell stands for {slots}, and has the colour of their most frequent size class.")
    told = sum(chunk is not None for chunk in blocks)
    with_runs = sum(one.runs is not None for one in kept)
    if with_runs == 0:
        notes.append("The states of single blocks are not in the snapshots.")
    elif together == 1 and told < with_runs:
        notes.append(f"The states of single blocks would make the page too large: {told} of {with_runs} snapshots have them.")
    about = {
        "pid": first.pid,
        "command": first.command,
        "version": first.version,
        "page": first.page,
        "slot": first.slot,
        "arena": first.arena,
        "firstSlot": first.first_slot,
        "classes": first.classes,
        "together": together,
        "notes": notes,
        "times": [one.time for one in kept],
        "fullest": kept.index(fullest),
        "highest": highest(snapshots).totals["resident"],
        "most": max(-(-len(one.arenas) // together) for one in kept),
        "line": [[one.time, one.totals["resident"], one.totals["bytes_in_use"], one.floor] for one in evenly(snapshots, points)],
        "places": places(kept) if together == 1 else None,
    }
    return Packed(about, cells, blocks)


def evenly(snapshots, wanted):
    """About so many of them."""
    return thin(snapshots, -(-len(snapshots) // wanted)) if wanted > 2 else [snapshots[0], snapshots[-1]][-wanted:]


def pack_cells(snapshots, together, budget):
    """The chunks of all snapshots, or None when they take more than the budget."""
    chunks = []
    for snapshot in snapshots:
        chunks.append(exact(snapshot) if together == 1 else merged(snapshot, together))
        budget -= len(chunks[-1])
        if budget < 0 and (len(snapshots) > 1 or together < 64 * snapshot.slots):
            return None
    return chunks


def pack_blocks(snapshots, together, budget):
    """The chunks with the states of blocks for as many snapshots as fit: the last and the highest before the others."""
    chunks = [None] * len(snapshots)
    if together > 1:
        return chunks
    order = sorted(range(len(snapshots) - 1), key=lambda index: -snapshots[index].totals["resident"])
    for index in [len(snapshots) - 1, *order]:
        runs = snapshots[index].runs
        if runs is not None and len(runs) <= budget:
            chunks[index] = runs
            budget -= len(runs)
    return chunks


def places(snapshots):
    """The addresses of all arenas that any of the snapshots has, in order, each as the difference to the one before."""
    every = sorted({arena for snapshot in snapshots for arena in snapshot.arenas})
    if len(every) > PLACES:
        return None
    return [here - before for before, here in zip([0, *every], every)]
