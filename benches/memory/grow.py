"""Grows a list by append, then drops it: `grow.py COUNT IDLE`. Its items are one object, so that the list is all that grows.

What it asks: whether growing a large block costs a copy of it in memory (the peak), and whether it goes back.
"""

import time

import meter


def main():
    count, idle = meter.arguments("COUNT IDLE", int, float)
    figures = meter.begin()
    start = time.perf_counter()
    things = []
    for _ in range(count):
        things.append(None)
    figures["peak"] = meter.resident()
    del things
    seconds = time.perf_counter() - start
    meter.end(figures, idle)
    meter.report(figures, seconds)


if __name__ == "__main__":
    main()
