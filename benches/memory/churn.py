"""Replaces live byte strings, one by one and at random, while their sizes drift: `churn.py LIVE REPLACEMENTS IDLE`.

Owns: the eras. What it asks: how much more than what is live stays resident while nothing is ever dropped on the whole. That
ratio is taken at the same points of the same sequence on every allocator; the first era does not count, as nothing has drifted
yet.
"""

import array
import random
import sys
import time

import meter

# The sizes of each era. They drift up and down again by a tenth of their range, so that most of what is freed fits what is asked
# for next.
ERAS = [(24 + 80 * step, 824 + 80 * step) for step in (0, 1, 2, 3, 4, 3, 2, 1)]
# Replacements from one figure to the next.
STEP = 10000


def numbers(draw, count):
    """Evenly from 0 up to 2**32; in few calls, so that a replacement costs little else than its free and its malloc."""
    return array.array("I", draw.randbytes(4 * count))


def fill(strings, draw, low, high):
    for i, number in enumerate(numbers(draw, len(strings))):
        strings[i] = b"x" * (low + number % (high - low + 1))


def replace(strings, draw, low, high):
    """Replaces STEP of them, and returns by how much their sizes grew."""
    span, many, grown = high - low + 1, len(strings), 0
    for place, number in zip(numbers(draw, STEP), numbers(draw, STEP)):
        place %= many
        string = b"x" * (low + number % span)
        grown += len(string) - len(strings[place])
        strings[place] = string
    return grown


def main():
    live, replacements, idle = meter.arguments("LIVE REPLACEMENTS IDLE", int, int, float)
    draw = random.Random(1)
    strings = [b""] * live
    figures = meter.begin()
    peak, ratios = 0, []
    start = time.perf_counter()
    fill(strings, draw, *ERAS[0])
    size = sum(map(sys.getsizeof, strings))
    for era, (low, high) in enumerate(ERAS):
        for _ in range(max(1, replacements // STEP // len(ERAS))):
            size += replace(strings, draw, low, high)
            now = meter.resident()
            peak = max(peak, now)
            if era > 0:
                ratios.append((now - figures["before"]) / size)
    seconds = time.perf_counter() - start
    figures.update(peak=peak, ratio=max(ratios), mean_ratio=sum(ratios) / len(ratios))
    meter.end(figures, idle, strings)
    meter.check_strings(strings)
    meter.report(figures, seconds)


if __name__ == "__main__":
    main()
