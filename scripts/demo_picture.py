"""Draws resident memory over time, on three allocators, while scripts/demo_waves.py runs: `demo_picture.py FILE`.

Owns: the sampling, from outside and every 20 ms, and how the picture looks. Runs under the interpreter of the virtual environment
that has matplotlib; the program that it watches runs there too, without importing it.
What must hold: the picture is readable on a light and on a dark page (no background of its own, and colours that stand out on both) and
without telling colours apart (each line has its own dashes and its name beside it).
"""

import os
import platform
import subprocess
import sys
import time

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

import allocators
import demo

WAVES = os.path.join(allocators.ROOT, "scripts", "demo_waves.py")
INTERVAL = 0.020
TEXT = "#7d838b"
# Name, colour of Okabe and Ito's palette, dashes.
LINES = [
    ("glibc malloc", "#d55e00", (0, (1, 1))),
    (demo.OWN, "#cc79a7", (0, (5, 1.5))),
    (demo.OURS, "#0a84d0", "solid"),
]


def resident(pid):
    """MiB resident, or None once the process has gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            for line in rollup:
                if line.startswith("Rss:"):
                    return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def watch(name):
    """The times and the resident MiB of one run."""
    process = subprocess.Popen([sys.executable, WAVES], env=demo.environment(name), stdout=subprocess.DEVNULL)
    start = time.monotonic()
    times, sizes = [], []
    while process.poll() is None:
        size = resident(process.pid)
        if size is not None:
            times.append(time.monotonic() - start)
            sizes.append(size)
        time.sleep(INTERVAL)
    if process.returncode != 0:
        sys.exit(f"demo: the work on {name} ended with {process.returncode}")
    return times, sizes


def draw(runs, path):
    plt.rcParams.update(
        {
            "font.size": 11,
            "svg.hashsalt": "pymalloc",
            "text.color": TEXT,
            "axes.labelcolor": TEXT,
            "axes.edgecolor": TEXT,
            "xtick.color": TEXT,
            "ytick.color": TEXT,
        }
    )
    figure, axes = plt.subplots(figsize=(9, 4.2))
    for name, colour, dashes in LINES:
        times, sizes = runs[name]
        axes.plot(times, sizes, color=colour, linestyle=dashes, linewidth=2.4, label=name)
    axes.set_xlabel("seconds since the start of the process")
    axes.set_ylabel("resident memory, MiB")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=TEXT, alpha=0.25, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"Syntax trees built and dropped three times, a few facts kept of each (CPython {platform.python_version()})",
        fontsize=11,
        loc="left",
    )
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=len(LINES), frameon=False, handlelength=4)
    for name, colour, _ in LINES:
        times, sizes = runs[name]
        axes.annotate(
            f"{sizes[-1]:.0f} MiB", (times[-1], sizes[-1]), xytext=(6, 0), textcoords="offset points", va="center", color=colour
        )
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})


def main():
    path = sys.argv[1]
    runs = {name: watch(name) for name, _, _ in LINES}
    draw(runs, path)
    for name, (_, sizes) in runs.items():
        print(f"{name:<16} peak {max(sizes):6.1f} MiB, at the end {sizes[-1]:6.1f} MiB")
    print(path)


if __name__ == "__main__":
    main()
