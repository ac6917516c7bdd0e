"""What machine this is: all that a reader needs to judge whether figures of two results may be compared.

Owns the questions to the system. What it does not tell is None, never a guess.
"""

import os
import platform
import subprocess

HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
# A load above this at the start means that something else wants the processors too.
BUSY = 0.5


def _first_line(path, start=""):
    """The first line of a file that starts so, or None."""
    try:
        with open(path, encoding="utf-8") as file:
            return next((line.strip() for line in file if line.startswith(start)), None)
    except OSError:
        return None


def _processor():
    line = _first_line("/proc/cpuinfo", "model name")
    return line.partition(":")[2].strip() if line else platform.machine()


def _huge_pages():
    """The chosen one of "always [madvise] never"."""
    line = _first_line(HUGE_PAGES)
    return line.partition("[")[2].partition("]")[0] if line else None


def _compiler(command):
    try:
        answer = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.partition("\n")[0] or None


def _load():
    """The load average before anything was built, which scripts/bench tells: what it builds is over when measuring begins."""
    return float(os.environ.get("BENCH_LOAD") or os.getloadavg()[0])


def cores():
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def describe(compiler):
    return {
        "cpu": _processor(),
        "cores": cores(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "compiler": _compiler(compiler),
        "huge_pages": _huge_pages(),
        "load": _load(),
    }
