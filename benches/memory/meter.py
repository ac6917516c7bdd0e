"""What a memory scenario in CPython is measured with.

Owns: what the figures mean (they are those of meter.h), what a CPython object has as blocks, the idle time after the drop and the
little work after that, what shows that strings kept their bytes, and the line of JSON.
What must hold: survivors are counted when all figures have been taken, so that counting disturbs none. Blocks that CPython does
not tell of (what holds the attributes of an instance, from 3.11 on) and the keys of dicts are not counted: live bytes and page
floor may be a little too low, and are never too high.
"""

import ctypes
import gc
import json
import os
import sys
import time

PAGE = os.sysconf("SC_PAGESIZE")
WORD = ctypes.sizeof(ctypes.c_void_p)
# Where CPython keeps the address of a list's items, and of a dict's table (3.8 to 3.14).
LIST_ITEMS = 3 * WORD
DICT_TABLE = 4 * WORD
# What stands before an object in its block: for the garbage collector, and for attributes and weak references of an instance.
COLLECTED, BEFORE_COLLECTED = 1 << 14, 2 * WORD
MANAGED, BEFORE_MANAGED = 1 << 3 | 1 << 4, 2 * WORD
# CPython makes one of each of these, once; a scenario makes none of its own of them.
SHARED_INTS = range(-5, 1025)

# The little work after the idle time: rounds of strings that are dropped again, about 1 MiB each.
ROUNDS = 10
ROUND = 4000


def arguments(usage, *kinds):
    """The command line, each argument as its kind; one line on how it is meant if it is not so."""
    try:
        if len(sys.argv) - 1 != len(kinds):
            raise ValueError
        return [kind(text) for kind, text in zip(kinds, sys.argv[1:])]
    except ValueError:
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} {usage}")


def resident():
    """What the kernel counts now, but for what it may take at any moment (MADV_FREE). /proc/self/statm is up to a few pages per thread
    and processor behind."""
    with open("/proc/self/smaps_rollup", "rb") as rollup:
        kilobytes = {fields[0]: int(fields[1]) for fields in map(bytes.split, rollup) if fields[1:] and fields[1].isdigit()}
    return (kilobytes[b"Rss:"] - kilobytes.get(b"LazyFree:", 0)) * 1024


def little_work():
    for _ in range(ROUNDS):
        strings = [b"x" * (16 + i * 7919 % 497) for i in range(ROUND)]
        strings.clear()


def begin():
    """What is resident before the scenario: its code has been read by then, and the allocator has begun."""
    little_work()
    gc.collect()
    return {"before": resident()}


def end(figures, idle, survivors=()):
    """Measures what is left after a drop, and what of that the survivors explain."""
    figures["at_once"] = resident()
    time.sleep(idle)
    figures["idle"] = resident()
    little_work()
    figures["after_work"] = resident()
    figures["live"], figures["floor"] = count(survivors)


def count(survivors):
    """Live bytes and the page floor of these objects and of all that they hold."""
    live, pages = 0, set()
    for start, size in blocks(survivors):
        live += size
        pages.update(range(start // PAGE, (start + size - 1) // PAGE + 1))
    return live, len(pages) * PAGE


def blocks(survivors):
    """The address and size of every block."""
    rest = list(survivors)
    while rest:
        thing = rest.pop()
        kind = type(thing)
        if thing is None or isinstance(thing, (bool, type)) or kind is int and thing in SHARED_INTS:
            continue
        flags = kind.__flags__
        # Older versions manage neither attributes nor weak references, and those flags may mean something else there.
        before = bool(flags & COLLECTED) * BEFORE_COLLECTED
        before += bool(flags & MANAGED and sys.version_info >= (3, 11)) * BEFORE_MANAGED
        size = sys.getsizeof(thing)
        if kind in (list, dict):
            own = kind.__basicsize__ + before
            yield id(thing) - before, own
            if size > own:
                yield ctypes.c_void_p.from_address(id(thing) + (LIST_ITEMS if kind is list else DICT_TABLE)).value, size - own
        else:
            yield id(thing) - before, size
        # The keys of dicts are names in the program, or shared by many.
        rest.extend(thing.values() if kind is dict else gc.get_referents(thing))


def check_strings(strings):
    """Ends the program if one of these byte strings is not all `x`, as it was made."""
    if any(string.strip(b"x") for string in strings):
        sys.exit(f"{os.path.basename(sys.argv[0])}: a string was changed by someone else")


def report(figures, seconds):
    """The end of the process too: what it still holds is of no interest to anyone."""
    print(json.dumps({"seconds": seconds, "figures": figures}), flush=True)
    os._exit(0)
