"""The figures that README.md and docs/ quote: all of one source, and none written by hand."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUOTING = ("README.md", "docs/benchmarks.md", "docs/demo.svg", "docs/demo.json")
GENERATED = re.compile(r"<!-- (figures \w+|generated|matrix): begin -->.*?<!-- \1: end -->", re.DOTALL)
# A ratio as the tables write it. Versions of CPython and three digits are others.
RATIO = re.compile(r"(?<![\d.])[0-2]\.\d\d(?![\d.]*\d)")


class Figures(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        shutil.copytree(os.path.join(ROOT, "scripts"), self.path("scripts"), ignore=shutil.ignore_patterns("__pycache__"))
        os.mkdir(self.path("docs"))
        for name in QUOTING:
            shutil.copy(os.path.join(ROOT, name), self.path(name))

    def path(self, name):
        return os.path.join(self.root, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def figures(self, *arguments):
        """Its exit status, and what it said."""
        command = [sys.executable, "-B", self.path("scripts/figures"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_what_is_quoted_is_what_was_measured(self):
        self.assertEqual(self.figures("--check"), (0, ""))

    def test_another_measurement_changes_all_that_quotes_it(self):
        result = json.loads(self.read("docs/demo.json"))
        for both in result["rounds"]:
            both["pymalloc"].update(seconds=2 * both["CPython's own"]["seconds"], left=both["CPython's own"]["left"])
        result["waves"]["pymalloc"][-1][1] = 77 * 1024
        self.write("docs/demo.json", json.dumps(result))
        page = self.read("docs/benchmarks.md")
        self.write("docs/benchmarks.md", re.sub(r"(\| CPython 3\.\d+\.\d+, against CPython's own \| time \|) [^|]+", r"\1 0.12 ", page, count=1))
        status, said = self.figures("--check")
        self.assertEqual(status, 1)
        self.assertRegex(said, r"^figures: README.md, docs/benchmarks.md, docs/demo.svg: not what .*run make figures\n$")
        self.assertEqual(self.figures()[0], 0)
        self.assertEqual(self.figures("--check"), (0, ""))
        readme = self.read("README.md")
        self.assertRegex(readme, r"time, median .* 2\.00   2\.00 to 2\.00\n")
        self.assertRegex(readme, r"resident once .* 1\.00   1\.00 to 1\.00\n")
        self.assertRegex(readme, r"comes down, at last from \d+ to 77 MiB")
        self.assertRegex(readme, r"\| time \| 0\.12 \|")
        self.assertIn("77 MiB, pymalloc", self.read("docs/demo.svg"))
        self.assertRegex(self.read("docs/benchmarks.md"), r"against its own allocator: time 0\.12 ")

    def test_no_ratio_is_written_by_hand(self):
        for name in ("README.md", "docs/benchmarks.md"):
            by_hand = GENERATED.sub("", self.read(name))
            lines = [line for line in by_hand.splitlines() if RATIO.search(line) and not line.startswith("    ")]
            # What `make bench-start` tells stands in no table.
            self.assertEqual([line for line in lines if "make bench-start" not in line], [], name)

    def test_the_machine_is_named(self):
        result = json.loads(self.read("docs/demo.json"))
        readme = self.read("README.md")
        self.assertIn(f"CPython {result['python']} on {result['machine']}", readme)
        machine = re.search(r"The machine: (.*?), cc ", self.read("docs/benchmarks.md"))[1]
        self.assertIn(machine, readme)

    def test_pages_without_a_place_are_told(self):
        self.write("README.md", self.read("README.md").replace("<!-- figures demo: end -->", ""))
        status, said = self.figures()
        self.assertEqual((status, said.count("\n")), (1, 1))
        self.assertIn("README.md needs the lines <!-- figures demo: begin -->", said)
        self.write("docs/benchmarks.md", self.read("docs/benchmarks.md").replace("### Summary", "### Sum"))
        self.assertEqual(self.figures(), (1, "figures: docs/benchmarks.md has no table of a summary\n"))

    def test_a_part_of_the_benchmarks_is_not_enough(self):
        self.write("docs/benchmarks.md", re.sub(r"\| CPython 3.*\n\|  \| peak memory.*\n", "", self.read("docs/benchmarks.md")))
        self.assertEqual(self.figures(), (1, "figures: docs/benchmarks.md is of a part of make bench: README needs all of it\n"))


if __name__ == "__main__":
    unittest.main()
