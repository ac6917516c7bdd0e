"""Reads heap-map snapshots: lines of JSON, as `pymalloc_heapmap` writes them, to objects that hold them compactly.

Owns: what a snapshot must look like, and the columns that it is kept in. A process that was watched for hours leaves hundreds of snapshots
with a hundred thousand pools each, so that nothing of the JSON is kept: of a pool eight bytes, of its blocks a byte or two a run.
What must hold: a line that is no whole snapshot never becomes half of one. It is named by `warn` and left out; a file with
no snapshot at all raises `NoSnapshots`.
"""

import gzip
import json
import math
import re
from array import array

FORMAT = 1
# States of blocks, by their number in the packed runs.
STATES = "afu"
RUN = re.compile(r"(\d+)([afu])")
# Different run texts remembered at a time: most pools of a program are full, and so the same.
REMEMBERED = 1 << 16
# Packed bytes of snapshots held at a time. Beyond, every second snapshot is forgotten.
HELD = 1 << 29
# The largest mappings that are told one by one.
MAPPINGS = 200


def compress(data):
    # Without the time in it, so that the same snapshots make the same page. Level 9 takes three times as long for some percent.
    return gzip.compress(data, 6, mtime=0)


class NoSnapshots(Exception):
    """A file that cannot be drawn; the text is the line for the user."""


class Snapshot:
    """One heap at one moment.

    `arenas` holds addresses in units of the arena size, in `usable_arenas` order. The pools and the large blocks of all arenas follow each
    other in the same order; `pools_in` and `large_in` say how many belong to each. `resident` has one bit a page, `page_bytes` bytes
    an arena. `runs` has the states of all blocks, compressed, None where the snapshot came without.
    """

    def __init__(self, line):
        self.pid, self.command, self.time = int(line["pid"]), str(line["command"]), float(line["time"])
        self.version = str(line["pymalloc"])
        self.page, self.slot, self.arena = (int(line[name]) for name in ("page", "slot", "arena"))
        self.first_slot = int(line["first_slot"])
        self.classes = [tuple(map(int, entry)) for entry in line["classes"]]
        self.totals = totals_of(line["totals"])
        if not math.isfinite(self.time) or min(self.page, self.slot, self.arena) < 1 or self.arena % self.slot or self.arena % self.page:
            raise ValueError("a time or sizes that cannot be")
        self.slots, self.pages = self.arena // self.slot, self.arena // self.page
        self.page_bytes = (self.pages + 7) // 8
        self.mappings = sorted(([str(at), int(size), int(there)] for at, size, there in line["mappings"]), key=lambda mapping: -mapping[1])
        self.mappings_resident = sum(there for _, _, there in self.mappings)
        del self.mappings[MAPPINGS:]
        self._read_arenas(line["arenas"])

    def _read_arenas(self, arenas):
        self.arenas, self.pools_in, self.large_in = array("I"), array("B"), array("B")
        self.pool_slot, self.pool_class = array("B"), array("B")
        self.in_use, self.free, self.untouched = array("H"), array("H"), array("H")
        self.large_slot, self.large_slots, self.large_bytes = array("B"), array("B"), array("I")
        resident, runs, with_runs = bytearray(), bytearray(), True
        known, live_pages, resident_pages = {}, 0, 0
        pages_per_slot = self.slot / self.page
        for arena in arenas:
            self.arenas.append(int(arena["at"], 16) // self.arena)
            bits = bytes.fromhex(arena["resident"])
            if len(bits) != self.page_bytes:
                raise ValueError("an arena whose pages are not all told")
            resident += bits
            there, live = int.from_bytes(bits, "little"), 0
            for slot, number, in_use, free, untouched, text in arena["pools"]:
                if slot + self.classes[number][2] > self.slots or number < 1:
                    raise ValueError("a pool that does not lie in its arena")
                self.pool_slot.append(slot)
                self.pool_class.append(number)
                self.in_use.append(in_use)
                self.free.append(free)
                self.untouched.append(untouched)
                with_runs = with_runs and text != ""
                key = number, text
                if key not in known:
                    if len(known) >= REMEMBERED:
                        known.clear()
                    known[key] = self._read_runs(*key)
                packed, pages = known[key]
                runs += packed
                live |= pages << int(slot * pages_per_slot)
            for slot, slots, size in arena["large"]:
                if slot + slots > self.slots or slots < 1:
                    raise ValueError("a large block that does not lie in its arena")
                self.large_slot.append(slot)
                self.large_slots.append(slots)
                self.large_bytes.append(size)
                live |= self._pages(slot * self.slot, size)
            self.pools_in.append(len(arena["pools"]))
            self.large_in.append(len(arena["large"]))
            resident_pages += bin(there).count("1")
            live_pages += bin(there & live).count("1")
        self.resident = bytes(resident)
        self.runs = compress(runs) if with_runs else None
        self.heap_resident = resident_pages * self.page + self.mappings_resident
        # Resident pages that hold a live block: the least that an allocator can do with that does not move blocks.
        self.floor = live_pages * self.page + self.mappings_resident if with_runs else None

    def _pages(self, offset, size):
        """The pages, a bit each, under so many bytes at an offset."""
        first, last = offset // self.page, (offset + size - 1) // self.page
        return ((1 << last - first + 1) - 1) << first if size else 0

    def _read_runs(self, number, text):
        """The packed runs of a pool's blocks, and the pages that allocated ones lie on, from its first page on.

        A run is a number of seven bits a byte, lowest first: its length times three plus its state. No run is 0, which ends the pool."""
        size, blocks, _ = self.classes[number]
        packed, pages, block = bytearray(), 0, 0
        for length, state in RUN.findall(text):
            length = int(length)
            if state == "a":
                pages |= self._pages(block * size, length * size)
            block += length
            value = length * len(STATES) + STATES.index(state)
            while length and value > 0x7F:
                packed.append(value & 0x7F | 0x80)
                value >>= 7
            if length:
                packed.append(value)
        if block > blocks or (block == 0 and text):
            raise ValueError("more blocks than the pool has")
        packed.append(0)
        return bytes(packed), pages

    def by_arena(self):
        """For each arena its number, the numbers of its pools, and those of its large blocks."""
        pool = run = 0
        for number, (pools, large) in enumerate(zip(self.pools_in, self.large_in)):
            yield number, range(pool, pool + pools), range(run, run + large)
            pool, run = pool + pools, run + large

    def resident_bits(self, number):
        """The resident pages of an arena, a bit each."""
        return int.from_bytes(self.resident[number * self.page_bytes : (number + 1) * self.page_bytes], "little")

    def held(self):
        """Bytes of memory that this takes, roughly."""
        return 8 * len(self.pool_slot) + len(self.resident) + len(self.runs or b"")


def totals_of(line):
    """The figures that are drawn, all of them numbers."""
    totals = {name: int(line[name]) for name in ("resident", "bytes_in_use", "bytes_free", "retained_bytes", "remote_frees")}
    for group, names in (
        ("arenas", ("live", "most", "mapped", "unmapped")),
        ("slots", ("free", "purged", "dirty_bytes")),
        ("pages", ("unscanned_bytes", "purged_bytes")),
        ("large", ("count", "bytes")),
        ("mappings", ("count", "bytes", "kept_bytes")),
        ("heaps", ("live", "spare")),
    ):
        totals[group] = {name: int(line[group][name]) for name in names}
    columns = ("class", "size", "pools", "in_use", "free", "untouched")
    totals["classes"] = [[int(entry[name]) for name in columns] for entry in line["classes"]]
    return totals


def refuse_constant(name):
    """NaN and the infinities, which Python would read: they are no JSON."""
    raise ValueError(name)


def parse(line, number, path, warn):
    """The snapshot on a line, or None."""
    try:
        fields = json.loads(line, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        whole = line.endswith(b"\n")
        warn(f"{path}: line {number} is {'no snapshot' if whole else 'cut short'}; it is left out")
        return None
    try:
        if fields["format"] != FORMAT:
            warn(f"{path}: line {number} is of another format than {FORMAT}, the one that is known; it is left out")
            return None
        return Snapshot(fields)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        warn(f"{path}: line {number} is no snapshot; it is left out")
        return None


def read(paths, warn):
    """The snapshots of all files by process, each in the order of time: {(pid, command): [snapshots]}."""
    processes, held = {}, 0
    for path in paths:
        found = False
        try:
            for snapshot in read_file(path, warn):
                found = True
                processes.setdefault((snapshot.pid, snapshot.command), []).append(snapshot)
                held += snapshot.held()
                if held > HELD:
                    held = forget_some(processes)
                    warn("too many snapshots to hold; every second one so far is left out")
        except OSError as error:
            raise NoSnapshots(f"{path}: {error.strerror}") from None
        if not found:
            raise NoSnapshots(f"{path}: no snapshot in it")
    for snapshots in processes.values():
        snapshots.sort(key=lambda snapshot: snapshot.time)
    return processes


def read_file(path, warn):
    """The snapshots of a file, one after the other."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            snapshot = parse(line, number, path, warn) if line.strip() else None
            if snapshot is not None:
                yield snapshot


def thin(snapshots, step):
    """Every so-manieth snapshot, and the first, the one with most resident and the last."""
    fullest = highest(snapshots)
    last = len(snapshots) - 1
    return [one for index, one in enumerate(snapshots) if index % step == 0 or index == last or one is fullest]


def highest(snapshots):
    """The first of those with most resident."""
    return max(snapshots, key=lambda snapshot: snapshot.totals["resident"])


def forget_some(processes):
    """Leaves out every second snapshot. Returns the bytes that are still held."""
    for key, snapshots in processes.items():
        processes[key] = thin(snapshots, 2)
    return sum(one.held() for snapshots in processes.values() for one in snapshots)
