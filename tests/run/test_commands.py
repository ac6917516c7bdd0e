"""The one command `pymalloc`: its list, the older names, and `off`, the way back."""

import os
import subprocess
import sys
import unittest

import installed

# Prints where its LD_PRELOAD leads, whether the library is in it, and PYTHONMALLOC.
SHOWN = "import ctypes, os; print(hasattr(ctypes.CDLL(None), 'pymalloc_version'), os.environ.get('LD_PRELOAD'), os.environ.get('PYTHONMALLOC'))"


class Commands(installed.Test):
    def command(self, *arguments, **more):
        """Runs `pymalloc` itself: what subprocess.run gives."""
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": installed.LIMIT, **more}
        return subprocess.run([self.path("bin/pymalloc"), *arguments], **more)

    def test_it_lists_its_commands(self):
        for arguments in ([], ["--help"], ["help"]):
            done = self.command(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for name in ("run", "doctor", "watch", "why", "types", "pins", "snapshot", "diff", "exporter", "heapmap"):
                self.assertRegex(done.stdout, rf"(?m)^  {name} ")

    def test_a_command_that_is_none_is_told(self):
        for name in ("rum", "--stats", ""):
            done = self.command(name)
            self.assertEqual((done.returncode, done.stdout), (125, ""))
            self.assertEqual(done.stderr, f"pymalloc: {name!r} is not a command: they are run, doctor, watch, why, types, pins, snapshot, diff, exporter, heapmap (pymalloc --help)\n")

    def test_run_speaks_under_its_name(self):
        self.assertEqual(self.command("run", "printf", "%s", "--off").stdout, "--off")
        self.assertIn("Usage: pymalloc run", self.command("run", "--help").stdout.replace("usage", "Usage"))
        self.assertEqual(self.command("run", "no-such").stderr, "pymalloc run: no-such: command not found\n")
        self.assertRegex(self.command("run", "--stats", "true").stderr, r"\Apymalloc run: 1 process in ")
        self.assertEqual(self.command("--version").stdout, self.command("run", "--version").stdout)

    def test_watch_becomes_the_tool(self):
        done = self.command("watch", "1")
        self.assertEqual((done.returncode, done.stderr.split(": ")[0]), (125, "pymalloc watch"))
        self.write("bin/pymalloc-watch", '#!/bin/sh\necho "$0 $@"\nexit 3\n')
        done = self.command("watch", "--once", "1")
        self.assertEqual((done.returncode, done.stdout), (3, self.path("bin/pymalloc-watch") + " --once 1\n"))
        for command in ("why", "types", "pins", "snapshot", "diff", "exporter"):
            done = self.command(command, "--json", "1")
            self.assertEqual((done.returncode, done.stdout), (3, self.path("bin/pymalloc-watch") + f" --{command} --json 1\n"))

    def test_heapmap_draws(self):
        snapshots, page = self.path("heap.jsonl"), self.path("heap.html")
        self.assertEqual(self.run_it("--conf", f"heapmap={snapshots}", "true").returncode, 0)
        self.assertEqual(self.command("heapmap", snapshots, "-o", page).returncode, 0)
        self.assertRegex(self.read("heap.html"), r"<title>.*\btrue \d+</title>")
        done = self.command("heapmap", "/no/file")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"\Apymalloc heapmap: .*/no/file")

    def test_the_older_names(self):
        os.symlink("pymalloc", self.path("bin/pymalloc-heapmap"))
        done = subprocess.run([self.path("bin/pymalloc-heapmap"), "/no/file"], stderr=subprocess.PIPE, text=True)
        self.assertRegex(done.stderr, r"\Apymalloc-heapmap: ")
        self.assertEqual(self.run_it("no-such").stderr, "pymalloc-run: no-such: command not found\n")


class Off(installed.Test):
    def shown(self, *options, **given):
        environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONMALLOC")}
        return self.output(*options, sys.executable, "-c", SHOWN, env={**environment, **given}).strip()

    def test_nothing_is_preloaded(self):
        self.assertEqual(self.shown(), f"True {self.library} malloc")
        self.assertEqual(self.shown("--off"), "False None None")
        for conf in ("off", "retain=0, off"):
            self.assertEqual(self.shown(PYMALLOC_CONF=conf), "False None None")

    def test_only_this_library_is_left_out(self):
        other = self.path("other.so")
        subprocess.run(["cc", "-shared", "-x", "c", "-", "-o", other], input=b"int other;", check=True)
        for ours in (self.library, f"{self.library}:{self.library}", os.path.realpath(self.library)):
            self.assertEqual(self.shown("--off", LD_PRELOAD=f"{ours}:{other}", PYTHONMALLOC="malloc"), f"False {other} malloc")

    def test_whatever_else_is_asked_for(self):
        self.assertEqual(self.shown("--off", "--stats", "--heapmap", self.path("page.html"), "--conf", "retain=0"), "False None None")
        self.assertFalse(os.path.exists(self.path("page.html")))
        self.assertEqual(self.output("--off", "--print"), "LD_PRELOAD=\n")

    def test_also_where_there_is_no_library(self):
        os.remove(self.library)
        self.assertEqual(self.shown("--off"), "False None None")

    def test_the_command_is_told_apart(self):
        self.assertEqual(self.run_it("--off", "no-such").returncode, 127)
        self.assertEqual(self.run_it("--off", "sh", "-c", "exit 5").returncode, 5)


if __name__ == "__main__":
    unittest.main()
