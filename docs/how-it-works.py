"""The program whose heap docs/how-it-works.md shows: it builds rows, drops most of them, and builds fewer. `how-it-works.py FILE`.

Owns: the moments at which a snapshot is appended to FILE: when it has started, built, dropped and built again. It runs with pymalloc preloaded.
"""

import ctypes
import os
import random
import sys

LIBRARY = ctypes.CDLL(None)


def snapshot():
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if LIBRARY.pymalloc_heapmap(file, 0) != 0:
        sys.exit(f"{sys.argv[1]}: the snapshot cannot be written")
    os.close(file)


def build(count):
    chance = random.Random(1)
    return [{"id": number, "name": f"row {number}", "text": "x" * chance.randint(10, 700)} for number in range(count)]


if len(sys.argv) != 2:
    sys.exit("usage: how-it-works.py FILE")
if not hasattr(LIBRARY, "pymalloc_heapmap"):
    sys.exit("pymalloc is not preloaded")
snapshot()
rows = build(36_000)
snapshot()
rows = rows[::50]
snapshot()
more = build(10_000)
snapshot()
