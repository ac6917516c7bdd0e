"""Builds byte strings of 24 to 3,000 bytes, then drops all but a random hundredth: `strings.py COUNT IDLE`."""

import random
import time

import meter


def build(count, draw):
    return [b"x" * draw.randint(24, 3000) for _ in range(count)]


def main():
    count, idle = meter.arguments("COUNT IDLE", int, float)
    draw = random.Random(1)
    build(1000, draw)
    figures = meter.begin()
    start = time.perf_counter()
    strings = build(count, draw)
    figures["peak"] = meter.resident()
    survivors = [string for string in strings if draw.random() < 0.01]
    strings.clear()
    seconds = time.perf_counter() - start
    meter.end(figures, idle, survivors)
    meter.check_strings(survivors)
    meter.report(figures, seconds)


if __name__ == "__main__":
    main()
