"""Makes heap-map snapshots that no program has to run for: `python synthetic.py FILE [ARENAS [SNAPSHOTS [PID]]]`.

Owns: a heap that looks like one of CPython: pools of small classes, most full in the first arenas and few blocks left in the last, large blocks,
free slots, purged pages. What must hold: every figure follows from the blocks, so that a test can compare what is drawn with what was made; the
same arguments make the same bytes.
"""

import json
import random
import sys

PAGE, SLOT, ARENA, FIRST_SLOT = 4096, 16384, 1 << 20, 1
SLOTS, PAGES = ARENA // SLOT, ARENA // PAGE
TOP = 0x7F12_0000_0000


def make_classes():
    """The size classes of the default geometry: [block size, blocks of a pool, slots of a pool]."""
    sizes = list(range(16, 1025, 16))
    while sizes[-1] < 2 * SLOT:
        base = 1 << sizes[-1].bit_length() - 1
        sizes += [base + base // 8 * step for step in range(1, 9)]
    classes = [[0, 0, 0]]
    for size in sizes:
        slots = 1
        while slots < 8 and (slots * SLOT // size < 8 or slots * SLOT % size > slots * SLOT // 16):
            slots += 1
        classes.append([size, slots * SLOT // size, slots])
    return classes


CLASSES = make_classes()
# What CPython's objects have mostly; a number that occurs twice is twice as frequent.
FREQUENT = [2, 3, 3, 3, 4, 4, 4, 5, 6, 7, 8, 10, 12, 14, 18, 24, 32, 40, 70, 80]


def make_pool(chance, slot, number, kept):
    """A pool of which about this part of the blocks is allocated, and the bits of its resident pages."""
    size, blocks, slots = CLASSES[number]
    if kept > 0.97:
        states = "a" * blocks
    else:
        cut = chance.randint(1, blocks) if chance.random() < 0.1 else blocks
        states = "".join("a" if chance.random() < kept else "f" for _ in range(cut)) + "u" * (blocks - cut)
    states = list(states)
    resident = 0
    for page in range(slots * SLOT // PAGE):
        inside = range(page * PAGE // size, min(-(-(page + 1) * PAGE // size), blocks))
        if any(states[block] == "a" for block in inside):
            resident |= 1 << page
        elif all(states[block] == "u" for block in inside) or chance.random() < 0.8:
            for block in inside:
                states[block] = "u"
        else:
            resident |= 1 << page
    runs = []
    for state in states:
        if runs and runs[-1][1] == state:
            runs[-1][0] += 1
        else:
            runs.append([1, state])
    text = "".join(f"{length}{state}" for length, state in runs)
    return [slot, number, *(states.count(state) for state in "afu"), text], resident << slot * SLOT // PAGE


def make_arena(chance, number, kept):
    """An arena in which about this part of everything is in use."""
    pools, large, free, resident, slot = [], [], 0, 1, FIRST_SLOT
    while slot < SLOTS:
        draw = chance.random()
        kind = chance.choice(FREQUENT)
        if draw > min(kept * 1.6, 1):
            free += 1
            if chance.random() < 0.2:
                resident |= 0xF << slot * SLOT // PAGE
            slot += 1
        elif draw < 0.01 and slot + 6 < SLOTS:
            slots = chance.randint(3, 6)
            large.append([slot, slots, slots * SLOT - 1000])
            resident |= ((1 << slots * 4) - 1) << slot * 4
            slot += slots
        elif slot + CLASSES[kind][2] <= SLOTS:
            pool, bits = make_pool(chance, slot, kind, kept)
            pools.append(pool)
            resident |= bits
            slot += CLASSES[kind][2]
    at = TOP - number * ARENA
    return {"at": f"{at:x}", "free": free, "resident": resident.to_bytes(PAGES // 8, "little").hex(), "pools": pools, "large": large}


def make_snapshot(arenas, kept=1.0, pid=4242, command="python3 app.py", time=1_700_000_000.0, seed=1, blocks=True):
    """A snapshot; of the arenas only those remain that hold something at this part of what is kept."""
    chance = random.Random(f"{seed} {kept}")
    made = []
    for number in range(arenas):
        here = kept * (1 - 0.9 * number / arenas * (1 - kept))
        if kept < 0.3 and number % 3 == 0:
            continue
        made.append(make_arena(chance, number, here))
    made.sort(key=lambda arena: arena["free"])
    mappings = [[f"{TOP + ARENA:x}", 3 << 20, 3 << 20]]
    totals = make_totals(made, mappings)
    if not blocks:
        for arena in made:
            for pool in arena["pools"]:
                pool[5] = ""
    return {
        "pymalloc": "0.1.0", "format": 1, "pid": pid, "command": command, "time": time, "page": PAGE, "slot": SLOT, "arena": ARENA,
        "first_slot": FIRST_SLOT, "classes": CLASSES, "totals": totals, "arenas": made, "mappings": mappings,
    }


def make_totals(arenas, mappings):
    classes = {}
    for arena in arenas:
        for _, number, in_use, free, untouched, _ in arena["pools"]:
            entry = classes.setdefault(number, {"class": number, "size": CLASSES[number][0], "pools": 0, "in_use": 0, "free": 0, "untouched": 0})
            for name, value in (("pools", 1), ("in_use", in_use), ("free", free), ("untouched", untouched)):
                entry[name] += value
    large = [size for arena in arenas for _, _, size in arena["large"]]
    mapped = sum(size for _, size, _ in mappings)
    pages = sum(bin(int(arena["resident"], 16)).count("1") for arena in arenas)
    return {
        "pymalloc": "0.1.0", "pid": 4242, "time": 0.0, "resident": pages * PAGE + mapped + (9 << 20),
        "bytes_in_use": sum(entry["in_use"] * entry["size"] for entry in classes.values()) + sum(large) + mapped,
        "bytes_free": sum(entry["free"] * entry["size"] for entry in classes.values()),
        "arenas": {"live": len(arenas), "most": len(arenas) + 5, "mapped": len(arenas) + 9, "unmapped": 9, "bytes": ARENA},
        "slots": {"free": sum(arena["free"] for arena in arenas), "purged": 700, "dirty_bytes": 0},
        "pages": {"unscanned_bytes": 0, "purged_bytes": 123 * PAGE}, "retained_bytes": 2 << 20,
        "large": {"count": len(large), "bytes": sum(large)}, "mappings": {"count": len(mappings), "bytes": mapped, "kept_bytes": 0},
        "heaps": {"live": 3, "spare": 1}, "remote_frees": 1234, "classes": [classes[number] for number in sorted(classes)],
    }


def make_lines(arenas=24, snapshots=1, pid=4242, **more):
    """A heap that grows full and drains, as lines of JSON."""
    lines = []
    for number in range(snapshots):
        kept = 1.0 if snapshots == 1 else max(1 - 1.15 * number / snapshots, 0.02)
        snapshot = make_snapshot(arenas, kept, pid, time=1_700_000_000 + number / 4, **more)
        lines.append(json.dumps(snapshot, separators=(",", ":")) + "\n")
    return lines


def main(path, arenas=24, snapshots=1, pid=4242):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(make_lines(int(arenas), int(snapshots), int(pid)))


if __name__ == "__main__":
    main(*sys.argv[1:])
