"""Runs scripts/demo_work.py in fresh processes on two allocators in turns, and prints a table.

Owns: how a run on each allocator is started and what is measured of it from outside. The runs differ in the allocator and in
nothing else, and the work's result must be the same in all of them.
"""

import argparse
import ast
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

import allocators

ROUNDS = 5
WORK = os.path.join(allocators.ROOT, "scripts", "demo_work.py")
PICTURE = os.path.join(allocators.ROOT, "scripts", "demo_picture.py")
PICTURE_VENV = os.path.join(allocators.TARGET, "venv-picture-{}.{}".format(*sys.version_info))
OWN, OURS = "CPython's own", "pymalloc"


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


def run(name, **more):
    """One fresh process: what it reports of itself, its time from start to end, and what it wrote to stderr."""
    start = time.perf_counter()
    process = subprocess.run([sys.executable, WORK], env=environment(name, **more), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        last_line = (process.stderr.strip() or "no message").splitlines()[-1]
        sys.exit(f"demo: the work on {name} ended with {process.returncode}: {last_line}")
    result = json.loads(process.stdout)
    result.update(seconds=seconds, stderr=process.stderr)
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


def print_table(rounds):
    def median(name, key):
        return statistics.median(results[name][key] for results in rounds)

    print(f"{'':<34}{OWN:>16}{OURS:>13}{'ratio':>8}   of each round")
    for title, key, unit, scale in [
        ("time, median", "seconds", "s", 1),
        ("peak resident memory", "peak", "MiB", 1 << 20),
        ("resident once the work is dropped", "left", "MiB", 1 << 20),
    ]:
        own, ours = median(OWN, key) / scale, median(OURS, key) / scale
        digits = 2 if unit == "s" else 1
        each = sorted(results[OURS][key] / results[OWN][key] for results in rounds)
        print(
            f"{title:<34}{own:>12.{digits}f} {unit:<3}{ours:>9.{digits}f} {unit:<3}{ours / own:>8.2f}"
            f"   {each[0]:.2f} to {each[-1]:.2f}"
        )


def measure():
    print(f"CPython {platform.python_version()} on {machine()}")
    rounds = []
    for number in range(1, ROUNDS + 1):
        # The last run on pymalloc says at its end what it holds.
        more = {"PYMALLOC_CONF": "stats_at_exit=1"} if number == ROUNDS else {}
        rounds.append({OWN: run(OWN), OURS: run(OURS, **more)})
        if number == 1:
            first = rounds[0][OWN]
            print(
                f"A run parses, transforms, unparses and compiles {first['modules']} modules of the standard library "
                f"({first['bytes'] / 1e6:.1f} MB), {first['passes']} times; {ROUNDS} runs on each allocator, in turns.\n",
                flush=True,
            )
        if len({result["digest"] for results in rounds for result in results.values()}) != 1:
            sys.exit("demo: the two allocators do not lead to the same result")
    print_table(rounds)
    print("\npymalloc at the end of its last run (PYMALLOC_CONF=stats_at_exit=1; the rows of the size classes left out):\n")
    # A row of a size class is numbers alone.
    print("\n".join(re.findall(r"^ *\d+  [a-z].*", rounds[-1][OURS]["stderr"], re.MULTILINE)))


def draw(path):
    """The picture needs matplotlib, which gets a virtual environment of its own."""
    python = os.path.join(PICTURE_VENV, "bin", "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", PICTURE_VENV], check=True)
    quiet_pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "matplotlib"]
    subprocess.run(quiet_pip, check=True)
    subprocess.run([python, PICTURE, path], check=True)


def main():
    parser = argparse.ArgumentParser(prog="demo", description="CPython on its own allocator and on pymalloc.")
    parser.add_argument("--picture", metavar="FILE", help="draw resident memory over time, as SVG, instead")
    options = parser.parse_args()
    if not hasattr(ast, "unparse") or platform.python_implementation() != "CPython":
        sys.exit("demo: CPython 3.9 or newer is needed (PYTHON=... chooses one)")
    if "free-threading" in sys.version:
        sys.exit("demo: a free-threaded CPython never uses malloc for its objects (PYTHON=... chooses another)")
    if not os.path.exists("/proc/self/smaps_rollup"):
        sys.exit("demo: this kernel does not tell what a process has resident (/proc/self/smaps_rollup)")
    if not os.path.exists(allocators.PYMALLOC):
        sys.exit("demo: the library is not built: run make")
    if options.picture:
        draw(options.picture)
    else:
        measure()


if __name__ == "__main__":
    main()
