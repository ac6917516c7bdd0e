"""Snapshots that a process leaves in a file by itself: what they must never do to the process, and to the file."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import unittest

LIBRARY = os.environ["PYMALLOC_LIBRARY"]

# Prints under which number its own process has the file open.
LOOK = """
import os, time
heap = [bytes(100) for _ in range(200000)]
time.sleep(0.3)
for number in os.listdir("/proc/self/fd"):
    try:
        if os.readlink(f"/proc/self/fd/{number}") == os.environ["FILE"]:
            print(number)
    except FileNotFoundError:
        pass
"""


class Snapshots(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = os.path.join(folder.name, "heap.jsonl")
        self.environment = {**os.environ, "FILE": self.file}

    def run_on_it(self, *command, settings="", **options):
        environment = {**self.environment, "LD_PRELOAD": LIBRARY, "PYTHONMALLOC": "malloc"}
        environment["PYMALLOC_CONF"] = f"heapmap={self.file}{settings}"
        return subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=60, **options)

    def test_a_file_that_may_not_grow_changes_no_exit_status(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        # A program that leaves the signal as it is, as Python does not.
        done = self.run_on_it("grep", "nothing", os.devnull, preexec_fn=limit)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(os.path.getsize(self.file), 0)

    def test_a_line_that_was_cut_off_spoils_no_other(self):
        with open(self.file, "w", encoding="utf-8") as file:
            file.write('{"pymalloc":"0.')
        self.assertEqual(self.run_on_it("true").returncode, 0)
        with open(self.file, encoding="utf-8") as file:
            cut, snapshot = file.read().splitlines()
        self.assertEqual(cut, '{"pymalloc":"0.')
        self.assertEqual(json.loads(snapshot)["format"], 1)

    def test_what_cannot_be_written_is_told_first(self):
        folder = os.path.dirname(self.file)
        for path, reason in (
            (f"{folder}/none/heap.jsonl", "no such folder"),
            (folder, "a folder"),
            (f"{folder}/{'x' * 300}", ""),
        ):
            self.file = path
            # A program that never comes to its end.
            done = self.run_on_it("sh", "-c", "kill -9 $$")
            self.assertRegex(done.stderr, f"^pymalloc: heapmap: .*{reason}.*\n$")

    def test_nothing_is_made_before_there_is_a_snapshot(self):
        done = self.run_on_it("sh", "-c", '[ -e "$FILE" ] && echo made; kill -9 $$', stdout=subprocess.PIPE)
        self.assertEqual((done.stdout, done.stderr), ("", ""))
        link = self.file + ".link"
        os.symlink(self.file, link)
        self.file = link
        self.assertIn("a symbolic link", self.run_on_it("sh", "-c", "kill -9 $$").stderr)

    def test_a_reader_that_sleeps_holds_nobody_up(self):
        os.mkfifo(self.file)
        reader = os.open(self.file, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        done = self.run_on_it(sys.executable, "-c", LOOK, settings=",heapmap_every=1", stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        # Far from what a daemon closes, and then has for a file of its own.
        self.assertGreaterEqual(int(done.stdout), 900)


if __name__ == "__main__":
    unittest.main()
