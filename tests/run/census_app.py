"""A program with so many objects of each kind, for `test_census.py`: tells what it has as JSON, and waits for a line.

The figures are the collector's and sys.getsizeof's: of types that the collector knows all objects, of others those that this program made.
"""

import array
import collections
import gc
import json
import sys


class Plain:
    def __init__(self, number):
        self.number = number
        self.text = str(number)


class Slotted:
    __slots__ = ("number", "other")

    def __init__(self, number):
        self.number, self.other = number, None


class Referred:
    __slots__ = ("number", "__weakref__")


class Text(str):
    pass


made = {
    "float": [number * 1.5 for number in range(20000)],
    "bytes": [b"x" * (20 + number % 300) for number in range(10000)],
    "bytearray": [bytearray(100 + number % 50) for number in range(2000)],
}
tracked = [
    [Plain(number) for number in range(20000)],
    [Slotted(number) for number in range(30000)],
    [Referred() for _ in range(5000)],
    [Text(number) for number in range(3000)],
    [{f"key {digit}": [digit] for digit in range(6)} for _ in range(5000)],
    [list(range(10)) for _ in range(10000)],
    [([], number) for number in range(15000)],
    [set(range(20)) for _ in range(3000)],
    [collections.deque([1, 2, 3]) for _ in range(2000)],
    [lambda: None for _ in range(3000)],
    array.array("d", bytes(8 * 100000)),
    list(range(300000)),
]

gc.collect()
counts, sizes = collections.Counter(), collections.Counter()
for thing in gc.get_objects():
    kind = type(thing)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    counts[name] += 1
    sizes[name] += sys.getsizeof(thing)
for name, things in made.items():
    counts[name], sizes[name] = len(things), sum(map(sys.getsizeof, things))
print(json.dumps({name: [count, sizes[name]] for name, count in counts.items()}), flush=True)
sys.stdin.readline()
