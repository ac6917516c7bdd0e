"""Resident memory over time, on three allocators, while scripts/demo_waves.py runs: samples it, and draws it as SVG.

Owns: the sampling, from outside and every 20 ms, and how the picture looks.
What must hold: the picture is readable on a light and on a dark page (no background of its own, and colours that stand out on both) and
without telling colours apart (each line has its own dashes and its name beside it). The same points make the same file.
"""

import html
import os
import subprocess
import sys
import time

import allocators
import demo_result
from demo_result import GLIBC, OURS, OWN

WAVES = os.path.join(allocators.ROOT, "scripts", "demo_waves.py")
INTERVAL = 0.020
WIDTH, HEIGHT = 900, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 190, 60, 46
TEXT = "#7d838b"
# Name, colour of Okabe and Ito's palette, dashes.
LINES = [(GLIBC, "#d55e00", "2 3"), (OWN, "#cc79a7", "9 4"), (OURS, "#0a84d0", None)]
# Between the names of two lines that end side by side.
APART = 18


def resident(pid):
    """KiB resident, or None once the process has gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            for line in rollup:
                if line.startswith("Rss:"):
                    return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def sample(name, environment, tell):
    """The points of one run: [milliseconds, KiB], where the size is another than before, and the last."""
    process = subprocess.Popen([sys.executable, WAVES], env=environment, stdout=subprocess.DEVNULL)
    start = time.monotonic()
    points, last = [], None
    while process.poll() is None:
        size = resident(process.pid)
        if size is not None:
            now = round((time.monotonic() - start) * 1000)
            # The end of a level stretch is a point too, or the line would slope over it.
            if points and size != points[-1][1] and last is not None and last[0] != points[-1][0]:
                points.append(last)
            if not points or size != points[-1][1]:
                points.append([now, size])
            last = [now, size]
        tell()
        time.sleep(INTERVAL)
    if process.returncode != 0:
        sys.exit(f"demo: the work on {name} ended with {process.returncode}")
    return points if points[-1] == last else [*points, last]


def draw(result):
    """The picture of a result, as SVG."""
    waves = result["waves"]
    # In seconds and MiB, to the next round number.
    long = max(points[-1][0] for points in waves.values()) / 1000
    high = -(-max(size for points in waves.values() for _, size in points) // (1024 * 25)) * 25
    x = lambda seconds: LEFT + seconds / long * (WIDTH - LEFT - RIGHT)
    y = lambda mib: HEIGHT - BOTTOM - mib / high * (HEIGHT - TOP - BOTTOM)
    parts = [
        text(LEFT - 44, 20, f"Syntax trees built and dropped three times, a few facts kept of each (CPython {result['python']})", size=15),
        text(LEFT - 44, TOP - 14, "resident memory, MiB"),
    ]
    for level in range(0, high + 1, 25):
        parts.append(f'<path d="M{LEFT} {y(level):.1f}H{WIDTH - RIGHT}" stroke="{TEXT}" stroke-opacity="{0.6 if level == 0 else 0.25}"/>')
        parts.append(text(LEFT - 8, y(level) + 4, str(level), anchor="end"))
    for second in range(int(long) + 1):
        parts.append(text(x(second), HEIGHT - BOTTOM + 18, str(second), anchor="middle"))
    parts.append(text(x(long / 2), HEIGHT - 8, "seconds since the start of the process", anchor="middle"))
    for name, colour, dashes in LINES:
        path = "L".join(f"{x(at / 1000):.1f} {y(size / 1024):.1f}" for at, size in waves[name])
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<path d="M{path}" stroke="{colour}" stroke-width="2.4" stroke-linejoin="round"{dashed}/>')
    for (name, colour, _), height in names_apart(waves, y):
        parts.append(text(WIDTH - RIGHT + 8, height + 5, f"{demo_result.at_the_end(result, name):.0f} MiB, {name}", colour=colour, size=14))
    label = html.escape(demo_result.picture_line(result))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}"'
    return "\n".join([f'{head} font-family="system-ui, sans-serif" font-size="13" fill="none">', *parts, "</svg>", ""])


def text(x, y, content, colour=TEXT, anchor="start", size=13):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-size="{size}">{html.escape(content)}</text>'


def names_apart(waves, y):
    """The lines with the heights of their names: where they end, moved up where two would meet."""
    placed, lowest = [], float("inf")
    for line in sorted(LINES, key=lambda line: waves[line[0]][-1][1]):
        lowest = min(y(waves[line[0]][-1][1] / 1024), lowest - APART)
        placed.append((line, lowest))
    return placed
