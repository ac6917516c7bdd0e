"""What the tests of the suite share: workloads and allocators that cost nothing, and the suite run on them as a process.

Owns the fake sources: C programs of a few lines under a temporary directory, with a real launcher. `python fake.py DIRECTORY ...`
is `make bench` on them (its options below); the report is not drawn unless asked for, since drawing takes longer than all runs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from types import SimpleNamespace

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "benches"), os.path.join(ROOT, "scripts")]

import allocators  # noqa: E402
from suite import bench, build, places, plan, workloads  # noqa: E402

# Each is one workload on one thread. `slow` gives a test time to interrupt a run.
PROGRAMS = {
    "fine": 'puts("a line of its own");puts("{\\"seconds\\": 0.5, \\"more\\": 1}");',
    "slow": 'usleep(50000);puts("{\\"seconds\\": 0.05}");',
    "crash": 'raise(SIGSEGV);',
    "hang": "pause();",
    "sulk": 'fputs("first\\nit will not\\n", stderr);exit(3);',
    "silent": "",
}
HEAD = "#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\nint main(void) {"


def make_sources(directory, keys):
    """The sources of `make bench` with these programs, in a directory that has them already or not."""
    benches = os.path.join(directory, "benches")
    if not os.path.exists(benches):
        for part in ("c", "python", "memory"):
            os.makedirs(os.path.join(benches, part))
        shutil.copy(os.path.join(ROOT, "benches/c/launch.c"), os.path.join(benches, "c"))
        for key in keys:
            write(os.path.join(benches, "c", f"{key}.c"), HEAD + PROGRAMS[key] + "}\n")
        entry = '[[workload]]\nkey = "{}"\ntitle = "a title"\ngroups = ["c1"]\narguments = []\nquick = []\n'
        write(os.path.join(benches, "c", "workloads.toml"), "flags = []\n" + "".join(entry.format(key) for key in keys))
        write(os.path.join(benches, "python", "bodies.toml"), "body = []\n")
        write(os.path.join(benches, "memory", "scenarios.toml"), "scenario = []\n")
        library = os.path.join(directory, "libpymalloc.so")
        subprocess.run([build.compiler(), "-shared", "-x", "c", os.devnull, "-o", library], check=True)
    return workloads.Sources(benches, os.path.join(directory, "built"), Allocators(directory), Bodies())


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class InDirectory(unittest.TestCase):
    """A test with a directory of its own."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name


class Allocators:
    """In place of scripts/allocators.py: its own class, but two allocators that do nothing, and one that is missing."""

    def __init__(self, directory):
        self.library = os.path.join(directory, "libpymalloc.so")

    def compared(self):
        found = [allocators.Allocator("pymalloc", "pymalloc 0", self.library), allocators.Allocator("glibc", "glibc 0", "")]
        return found, [allocators.Missing("rpmalloc", "not to be had")]

    @staticmethod
    def for_python(found, version):
        return [found[0], allocators.OWN, *found[1:]]


class Bodies:
    """In place of benches/python/bodies.py: one interpreter, no bodies."""

    @staticmethod
    def interpreters():
        return [SimpleNamespace(version="3.13", release="3.13.0", path=sys.executable)]


def run(directory, *arguments, **more):
    """`make bench` on fake sources as a process: what subprocess.Popen gives."""
    command = [sys.executable, os.path.abspath(__file__), directory, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def output(directory):
    return places.Output(os.path.join(directory, "out"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--programs", default="fine", type=lambda text: text.split(","))
    parser.add_argument("--only", default=(), type=lambda text: tuple(text.split(",")))
    parser.add_argument("--allocators", default=(), type=lambda text: tuple(text.split(",")))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--limit", type=float, default=20)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if not arguments.report:
        bench._show = lambda result, settings: None
    options = plan.Options(arguments.only, arguments.allocators, rounds=arguments.rounds)
    settings = bench.Settings(output(arguments.directory), arguments.fresh, limit=arguments.limit)
    try:
        return bench.bench(options, settings, make_sources(arguments.directory, arguments.programs))
    except places.Stop as stop:
        print(f"bench: {stop}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
