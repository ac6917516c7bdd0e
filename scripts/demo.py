"""Runs scripts/demo_work.py in fresh processes on two allocators in turns, and prints a table.

Owns: how a run on each allocator is started, what is measured of it from outside, and how many rounds are run. The runs differ in the allocator
and in nothing else, and the work's result must be the same in all of them. What must hold: a person sees at least every five seconds that it goes on;
on a machine on which a run takes long there are fewer rounds, and the table tells how many.
"""

import argparse
import ast
import json
import os
import platform
import re
import subprocess
import sys
import time

import allocators
import demo_picture
import demo_result
from demo_result import GLIBC, OURS, OWN

# Rounds are run as long as the next one will end within so many seconds, but no fewer and no more than these. With this a machine on which a
# run takes three times as long as on two cores of 2026 (3.3 s) runs two rounds, and is done in a minute with the build.
BUDGET, FEWEST, MOST = 40, 2, 9
# Seconds from one sign of life to the next, without a terminal and on one.
SIGN, REDRAW = 4, 0.5
WORK = os.path.join(allocators.ROOT, "scripts", "demo_work.py")
RESULT = os.path.join(allocators.ROOT, "docs", "demo.json")


class Progress:
    """What runs now, on stderr: one line that changes on a terminal, a short line every few seconds elsewhere."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.start = self.last = time.monotonic()
        self.what = ""

    def now(self, what):
        self.what = what
        self.tell()

    def tell(self):
        now = time.monotonic()
        if now - self.last < (REDRAW if self.terminal else SIGN):
            return
        self.last = now
        line = f"{self.what}, {now - self.start:.0f} s"
        print(f"\r\x1b[K{line}" if self.terminal else line, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def clear(self):
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def environment(name, **more):
    """An environment in which CPython runs on the allocator of this name: its own, pymalloc, or the C library's."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "LD_", "PYMALLOC_", "MALLOC_", "GLIBC_TUNABLES"))
    }
    # Equal hashes, so that all runs build the same dictionaries and sets.
    clean.update(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1", **more)
    if name != OWN:
        clean["PYTHONMALLOC"] = "malloc"
    if name == OURS:
        clean["LD_PRELOAD"] = allocators.PYMALLOC
    return clean


def run(name, progress, **more):
    """One fresh process: what it reports of itself, its time from start to end, and what it wrote to stderr."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, WORK], env=environment(name, **more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while True:
        try:
            out, err = process.communicate(timeout=REDRAW)
            break
        except subprocess.TimeoutExpired:
            progress.tell()
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        last_line = (err.strip() or "no message").splitlines()[-1]
        sys.exit(f"demo: the work on {name} ended with {process.returncode}: {last_line}")
    result = json.loads(out)
    result.update(seconds=seconds, stderr=err)
    return result


def machine():
    processor = platform.processor() or platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    libc = " ".join(platform.libc_ver()).strip()
    return f"{processor}, {os.cpu_count()} processors, Linux {platform.release().split('-')[0]}, {libc}"


def another_round(lengths):
    """Whether there is one more after rounds of so many seconds: one that takes as long as the longest must end in time."""
    return len(lengths) < FEWEST or len(lengths) < MOST and sum(lengths) + max(lengths) <= BUDGET


def measure(wanted, progress):
    """A result: as many rounds as wanted, or as fit; and what pymalloc said at the end of the last."""
    rounds, lengths = [], []
    while len(rounds) < wanted if wanted else another_round(lengths):
        results, start = {}, time.monotonic()
        for name in (OWN, OURS):
            progress.now(f"round {len(rounds) + 1}{f' of {wanted}' if wanted else ''}, on {name}")
            results[name] = run(name, progress, **({"PYMALLOC_CONF": "stats_at_exit=1"} if name == OURS else {}))
        rounds.append(results)
        lengths.append(time.monotonic() - start)
        if len({results["digest"] for both in rounds for results in both.values()}) != 1:
            sys.exit("demo: the two allocators do not lead to the same result")
    work = {key: rounds[0][OWN][key] for key in ("modules", "bytes", "passes")}
    figures = [{name: {key: results[name][key] for key in ("seconds", "peak", "left")} for name in results} for results in rounds]
    return {"work": work, "rounds": figures}, rounds[-1][OURS]["stderr"]


def waves(progress):
    """The points of the picture, by allocator."""
    points = {}
    for name in (GLIBC, OWN, OURS):
        progress.now(f"the picture, on {name}")
        points[name] = demo_picture.sample(name, environment(name), progress.tell)
    return points


def refuse_what_cannot_be():
    if not hasattr(ast, "unparse") or platform.python_implementation() != "CPython":
        sys.exit("demo: CPython 3.9 or newer is needed (PYTHON=... chooses one)")
    if "free-threading" in sys.version:
        sys.exit("demo: a free-threaded CPython never uses malloc for its objects (PYTHON=... chooses another)")
    if not os.path.exists("/proc/self/smaps_rollup"):
        sys.exit("demo: this kernel does not tell what a process has resident (/proc/self/smaps_rollup)")
    if not os.path.exists(allocators.PYMALLOC):
        sys.exit("demo: the library is not built: run make")


def main():
    parser = argparse.ArgumentParser(prog="demo", description="CPython on its own allocator and on pymalloc.")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"so many (default: what fits into {BUDGET} s, {FEWEST} to {MOST})")
    parser.add_argument("--docs", action="store_true", help="write docs/demo.json too, with the points of the picture")
    options = parser.parse_args()
    refuse_what_cannot_be()
    progress = Progress()
    here = {"python": platform.python_version(), "machine": machine()}
    print(demo_result.place(here), flush=True)
    result, said = measure(options.rounds or (MOST if options.docs else None), progress)
    result = {**here, **result}
    if options.docs:
        result["waves"] = waves(progress)
        with open(RESULT, "w", encoding="utf-8") as file:
            json.dump(result, file, separators=(",", ":"))
            file.write("\n")
    progress.clear()
    print(demo_result.work(result), "", *demo_result.table(result), sep="\n")
    print("\npymalloc at the end of its last run (PYMALLOC_CONF=stats_at_exit=1; the rows of the size classes left out):\n")
    # A row of a size class is numbers alone.
    print("\n".join(re.findall(r"^ *\d+  [a-z].*", said, re.MULTILINE)))


if __name__ == "__main__":
    main()
