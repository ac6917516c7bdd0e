#!/usr/bin/env python3
"""Predicts how many more calls a second so many cores do than one, from what scripts/count-locks counted on few.

Owns the model, a closed queueing network, and nothing of the counting. A thread of each core is a customer. It goes round without end: it works outside of all locks and
shared words, which makes nobody wait, and it visits each lock and each shared word, where one customer is served at a time. `make count-locks`
writes target/scaling.json; this prints a table of it.

What is assumed, and so what the figures are worth:
- Each core has a thread that always runs, and each thread does what each of the two did that were counted.
- Services and pauses are random and independent (exponential), so that mean value analysis is exact. Bursts, such as threads that all end at once, wait more.
- A lock is held as long as it was here, and TRANSFER longer: the holder must first get the line of the cache from the core that had it last. A shared word
  is served for TRANSFER.
- A heap's lock is its own thread's, and no queue. That is too kind to programs whose threads free each other's blocks under it: the counts do not tell whose visit one was.
- Where there are several locks of a kind, one for each size class, all that were taken are taken alike.
- What the kernel does is outside: its locks of the address space bend the curve of whatever faults and unmaps much, and are not in here.
"""

import json
import os
import sys

# Nanoseconds that a line of the cache takes from one core to another: 40 to 70 within a chip of some tens of cores, 100 to 140 between two.
TRANSFER = 60e-9
CORES = (2, 8, 32, 128)
# Whoever reaches less than this part of so many cores' work has a bend before it.
BENT = 0.8

HEAPS = "a heap's lists"
# Written under the lock of the arenas, whose line travels anyway; they cost readers, not writers.
UNDER_A_LOCK = ("taken slots", "slots that may hold pages")


def throughput(think, demands, customers):
    """Exact mean value analysis (Reiser and Lavenberg, 1980): rounds a second of a closed network with one queue for each of `demands`, the seconds that
    a round asks of it, and `think` seconds elsewhere."""
    queues = [0.0] * len(demands)
    rate = 0.0
    for present in range(1, customers + 1):
        times = [demand * (1 + queue) for demand, queue in zip(demands, queues)]
        rate = present / (think + sum(times))
        queues = [rate * time for time in times]
    return rate


def stations(row):
    """What one call asks: seconds outside, and of each queue by its name."""
    calls, found = row["calls"], {}
    inside = 0.0
    for name, lock in row["locks"].items():
        if name == HEAPS:
            continue
        visits = lock["taken"] / calls
        held = lock["held"] / 1e9 / max(lock["taken"] - lock["interrupted"], 1)
        inside += visits * held
        instances = lock["instances"]
        for each in range(instances):
            found[name if instances == 1 else f"{name} {each}"] = visits / instances * (held + TRANSFER)
    for name, written in row["words"].items():
        if name not in UNDER_A_LOCK:
            found[name] = written / calls * TRANSFER
    return max(row["processor"] / calls - inside, 0.0), found


def predict(row, cores):
    """How many times the work of one core, and the queue that is busiest then, with its load."""
    think, demands = stations(row)
    alone = throughput(*flattened(row), 1)
    rate = throughput(think, list(demands.values()), cores)
    busiest = max(demands, key=demands.get, default=None)
    return rate / alone, busiest, rate * demands[busiest] if busiest else 0.0


def flattened(row):
    """As `stations`, for one core: nothing travels."""
    think, demands = stations(row)
    return think + sum(demands.values()) - TRANSFER * visits(row), []


def visits(row):
    words = sum(written for name, written in row["words"].items() if name not in UNDER_A_LOCK)
    return (sum(lock["taken"] for name, lock in row["locks"].items() if name != HEAPS) + words) / row["calls"]


def bend(row):
    """The least number of cores that do less than BENT of their work; None up to the most."""
    return next((cores for cores in range(2, CORES[-1] + 1) if predict(row, cores)[0] < BENT * cores), None)


def table(rows):
    lines = ["| program | " + " | ".join(f"{cores} cores" for cores in CORES) + " | bends at | busiest then |"]
    lines.append("| --- |" + " ---: |" * (len(CORES) + 1) + " --- |")
    for row in rows:
        if row["threads"] != 2:
            continue
        gains = [predict(row, cores) for cores in CORES]
        bent = bend(row)
        _, busiest, load = gains[-1] if bent is None else predict(row, bent)
        shown = " | ".join(f"{gain:.1f}" if gain < 10 else f"{gain:.0f}" for gain, _, _ in gains)
        where = f"{bent}" if bent else f"beyond {CORES[-1]}"
        busiest = busiest.rstrip(" 0123456789")
        lines.append(f"| {row['workload']} | {shown} | {where} | {busiest}, {load:.0%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(target, "scaling.json")
    with open(path, encoding="utf-8") as file:
        print(table(json.load(file)))
