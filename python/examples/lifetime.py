#!/usr/bin/env python3
"""The life of an object, seen in the heap: `pymalloc run python3 lifetime.py`.

Its references are counted up, and down to none: then its block is free. A pool goes from full to used to empty as its blocks are
freed, and an arena goes back to the system with its last pool. Each step is printed as it is seen; one that is not seen ends the
program with exit status 1.
"""

import ctypes
import os
import sys

# Where the module is when it is not installed: beside this folder.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import pymalloc

# Bytes of the objects: of a size class that Python itself hardly uses.
SIZE = 900

LIBC = ctypes.CDLL(None)
ANSWER = ctypes.create_string_buffer(1)


def see(step, seen):
    """Prints a step, or ends the program when it was not seen."""
    print(f"  {step}" if seen else f"  not seen: {step}")
    if not seen:
        sys.exit(1)


def references(thing):
    """Without those of this call: its own argument, what its caller hands over, and that of getrefcount."""
    return sys.getrefcount(thing) - CALL


CALL = 0  # which is what is counted first
CALL = references(object())


def passed(argument):
    return references(argument)


def block_lives():
    print("The block of an object")
    thing = bytes(SIZE)
    place = pymalloc.inspect(thing)
    where = f"block {place.index} of pool {place.pool:#x} in arena {place.arena:#x}"
    see(f"{where}, {place.block_size} bytes (class {place.size_class})", place.kind == "pool")
    assigned = references(thing)
    see(f"assigned to a name:     {assigned} reference,  {place.state}", assigned == 1 and place.state == "allocated")
    other = thing
    twice = references(thing)
    see(f"to a second name:       {twice} references", twice == assigned + 1)
    within = passed(thing)
    see(f"passed as an argument:  {within} references while the call lasts", within > twice and references(thing) == twice)
    items = [thing]
    listed = references(thing)
    see(f"put into a list:        {listed} references", listed == twice + 1)
    del other
    items.clear()
    left = references(thing)
    see(f"name and list let go:   {left} reference,  {pymalloc.inspect(place.block).state}", left == assigned)
    del thing
    state = pymalloc.inspect(place.block).state
    see(f"the last name deleted:  0 references, {state}", state == "free")


def states(pool, block_size):
    """How many blocks of a pool are allocated, and how many are not."""
    count = pymalloc.inspect(pool).pool_size // block_size
    found = [pymalloc.inspect(pool + index * block_size).state for index in range(count)]
    return found.count("allocated"), count - found.count("allocated")


def fill():
    """So many objects that at least three arenas hold nothing else, and the numbers of those in each pool of each arena."""
    place = pymalloc.inspect(bytes(SIZE))
    # The list first: then nothing else is allocated while the arenas fill.
    things = [None] * (5 * place.arena_size // place.block_size)
    for number in range(len(things)):
        things[number] = bytes(SIZE)
    arenas = {}
    for number, thing in enumerate(things):
        place = pymalloc.inspect(thing)
        arenas.setdefault(place.arena, {}).setdefault(place.pool, []).append(number)
    return things, arenas


def drop(things, numbers):
    for number in numbers:
        things[number] = None


def pool_lives(things, pool, numbers):
    size = pymalloc.inspect(things[numbers[0]]).block_size
    print(f"The pool at {pool:#x}")
    full = states(pool, size)
    see(f"full:     {full[0]} blocks allocated, {full[1]} not", full == (len(numbers), 0))
    drop(things, numbers[:1])
    used = states(pool, size)
    see(f"used:     {used[0]} blocks allocated, {used[1]} not", used == (full[0] - 1, 1))
    drop(things, numbers)
    empty = states(pool, size)
    see(f"empty:    {empty[0]} blocks allocated, {empty[1]} not", empty == (0, full[0]))


def is_mapped(address):
    """By the system's account, and asked in a way that needs no new pool: it could come from an arena mapped in the same place."""
    return LIBC.mincore(ctypes.c_void_p(address), ctypes.c_size_t(1), ANSWER) == 0


def arenas_live(first, second, things, arenas):
    print(f"The arenas at {first:#x} and {second:#x}")
    see(f"in use:   {len(arenas[first])} and {len(arenas[second])} pools", is_mapped(first) and is_mapped(second))
    for arena in (first, second):
        for numbers in arenas[arena].values():
            drop(things, numbers)
    gone = [arena for arena in (first, second) if pymalloc.inspect(arena) is None]
    rest = "the other is kept" if len(gone) == 1 else "none is kept"
    see(f"empty:    {' and '.join(map(hex, gone))} unmapped, {rest}", gone and not any(map(is_mapped, gone)))


def main():
    if not pymalloc.enabled():
        sys.exit("lifetime.py: Python's objects do not come from pymalloc: start it with `pymalloc run python3 lifetime.py`")
    block_lives()
    things, arenas = fill()
    most = max(map(len, arenas.values()))
    others, first, second = [arena for arena, pools in arenas.items() if len(pools) == most][:3]
    pool = next(iter(arenas[others]))
    pool_lives(things, pool, arenas[others][pool])
    arenas_live(first, second, things, arenas)
    # An empty pool and an empty arena are kept for what comes next, unless one asks for them.
    print("After trim()")
    see("what was kept went back", pymalloc.trim())
    see("the pool's slot is its arena's again", pymalloc.inspect(pool).kind == "arena")
    see("both arenas are unmapped", not is_mapped(first) and not is_mapped(second))


if __name__ == "__main__":
    main()
