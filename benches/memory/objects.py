"""Builds many small objects of all common kinds, then drops all but a few: `objects.py COUNT KEEP THREADS IDLE`.

KEEP: none, 100 or 1000 (every so many), last (the last twentieth). THREADS: 0 builds in the main thread, 4 in four threads that
have ended before the drop, 4-asleep in four that sleep from then on. Owns: what the objects are, about 250 bytes each with what
they hold.
"""

import random
import threading
import time

import meter


class Plain:
    def __init__(self, number):
        self.number = number
        self.name = "plain %d" % number


class Slotted:
    __slots__ = ("number", "name", "share")

    def __init__(self, number):
        self.number = number
        self.name = "slotted %d" % number
        self.share = number / 3


# Each makes one from a number above those that CPython keeps, and from a length of 0 to 255.
KINDS = [
    lambda number, length: (number, "tuple %d" % number, number / 3),
    lambda number, length: {"number": number, "name": "dict %d" % number, "place": "%d, Main Street" % length},
    lambda number, length: "s" * (2 * length) + str(number),
    lambda number, length: b"b" * (3 * length) + b"%d" % number,
    lambda number, length: number << length,
    lambda number, length: [number + i for i in range(length // 25)],
    lambda number, length: Plain(number),
    lambda number, length: Slotted(number),
]


def build(count, seed):
    draw = random.Random(seed).randbytes
    kinds, lengths = draw(count), draw(count)
    return [KINDS[kind % len(KINDS)](10000 + i, length) for i, (kind, length) in enumerate(zip(kinds, lengths))]


def build_in_threads(count, threads, asleep):
    """As one list, in the order of the threads. Those that stay asleep do so until the process ends."""
    parts, done = [None] * threads, threading.Semaphore(0)

    def work(number):
        parts[number] = build(count // threads, number)
        done.release()
        if asleep:
            time.sleep(3600)

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    for _ in workers:
        done.acquire()
    if not asleep:
        for worker in workers:
            worker.join()
    things = [thing for part in parts for thing in part]
    # The threads that sleep hold on to the list of parts.
    parts.clear()
    return things


def survivors_of(things, keep):
    if keep == "last":
        return things[-(len(things) // 20) :]
    return things[:: int(keep)] if keep != "none" else []


def keeping(text):
    if text not in ("none", "100", "1000", "last"):
        raise ValueError(text)
    return text


def in_threads(text):
    """How many threads, and whether they sleep in the end."""
    number, dash, asleep = text.partition("-")
    if dash and asleep != "asleep":
        raise ValueError(text)
    return int(number), bool(dash)


def main():
    count, keep, (threads, asleep), idle = meter.arguments("COUNT KEEP THREADS IDLE", int, keeping, in_threads, float)
    build(1000, 0)
    figures = meter.begin()
    start = time.perf_counter()
    things = build_in_threads(count, threads, asleep) if threads else build(count, 0)
    figures["peak"] = meter.resident()
    survivors = survivors_of(things, keep)
    del things
    seconds = time.perf_counter() - start
    meter.end(figures, idle, survivors)
    meter.report(figures, seconds)


if __name__ == "__main__":
    main()
