"""The command as a child, with its heap drawn or shown: its signals, its stops and its end are still its own."""

import glob
import importlib.machinery
import importlib.util
import os
import pty
import re
import shutil
import signal
import sys
import time
import unittest

import installed

# Says that it is ready, then counts what it gets, in a pipe so that none is missed that comes while it looks at the count.
COUNTING = """
import os, select, signal, sys
reading, writing = os.pipe()
os.set_blocking(writing, False)
signal.set_wakeup_fd(writing)
for number in (signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, lambda *arguments: None)
print("ready", flush=True)
got = b""
while len(got) < int(sys.argv[1]) or select.select([reading], [], [], 0.2)[0]:  # 0.2 seconds for one too many
    got += os.read(reading, 1)
print(*sorted((signal.Signals(number).name, got.count(number)) for number in set(got)), flush=True)
"""
GROWING = """
import os, sys, time
for number in range(3):
    if os.fork() == 0:
        break
kept = [bytes(500) for number in range(1000)]
time.sleep(float(sys.argv[1]))
"""


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


class Supervising(installed.Test):
    """With a heap map, whose tool is the real one."""

    def setUp(self):
        super().setUp()
        os.symlink(os.path.join(installed.ROOT, "scripts/heapmap"), self.path("bin/pymalloc-heapmap"))
        os.mkdir(self.path("tmp"))
        os.environ["TMPDIR"] = self.path("tmp")
        self.addCleanup(os.environ.pop, "TMPDIR")
        self.page = self.path("the page.html")

    def drawing(self, every="0.02"):
        return "--every", every, "--heapmap", self.page

    def tool(self):
        """The program as a module."""
        loader = importlib.machinery.SourceFileLoader("pymalloc_run", self.program)
        tool = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(tool)
        return tool

    def processes_drawn(self, said):
        """The page must be there and be told of, and nothing else be left; how many processes it was made of."""
        self.assertEqual(said, f"pymalloc-run: the heap map is in {self.page}\n")
        self.assertEqual(os.listdir(self.path("tmp")), [])
        several = re.search(r"<title>.*?(\d+) processes.*</title>", self.read("the page.html"))
        return int(several[1]) if several else 1

    def test_a_program_that_forks(self):
        # CPython 3.12 and newer warns of a fork beside a thread, which the one that writes the snapshots is.
        done = self.run_it(*self.drawing(), sys.executable, "-W", "ignore", "-c", GROWING, "0.3")
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.processes_drawn(done.stderr), 4)

    def test_what_the_command_starts_is_drawn_too(self):
        command = "import subprocess, sys; subprocess.run([sys.executable, '-c', '']); sys.exit(3)"
        done = self.run_it(*self.drawing("100"), sys.executable, "-c", command)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(self.processes_drawn(done.stderr), 2)

    def test_a_command_that_is_killed(self):
        process = self.start(*self.drawing(), sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)")
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.wait_for(lambda: any(map(os.path.getsize, glob.glob(self.path("tmp/*/*.jsonl")))))
        os.kill(children_of(process.pid)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=installed.LIMIT)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertEqual(self.processes_drawn(said), 1)

    def test_no_snapshot_is_told(self):
        done = self.run_it(*self.drawing("100"), "sh", "-c", "kill -9 $$")
        self.assertEqual(done.returncode, -signal.SIGKILL)
        self.assertEqual(done.stderr, "pymalloc-run: there is no heap map: the command ended before its first snapshot\n")
        self.assertEqual(os.listdir(self.path("tmp")), [])

    def test_many_snapshots_are_thinned(self):
        tool = self.tool()
        heap_map = tool.HeapMap(self.page, 1)
        self.addCleanup(shutil.rmtree, heap_map.folder)
        lines = [f"{number}{'x' * number}\n" for number in range(100)]
        for name in ("1.jsonl", "2.jsonl"):
            self.write(os.path.join(heap_map.folder, name), "".join(lines))
        heap_map.keep_room()
        self.assertEqual(self.read(os.path.join(heap_map.folder, "1.jsonl")), "".join(lines))
        tool.ROOM = 10000
        heap_map.keep_room()
        for name in ("1.jsonl", "2.jsonl"):
            self.assertEqual(self.read(os.path.join(heap_map.folder, name)), "".join(lines[::2]))

    def test_a_child_that_ends_at_once_is_not_waited_for(self):
        tool = self.tool()
        fork = os.fork

        def fork_and_let_it_end():
            pid = fork()
            if pid:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return pid

        os.fork = fork_and_let_it_end
        self.addCleanup(setattr, os, "fork", fork)
        mask, of_children = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGCHLD)
        self.addCleanup(signal.signal, signal.SIGCHLD, of_children)
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        supervisor = tool.Supervisor()
        end = time.monotonic() + installed.LIMIT

        def fail_in_time():
            self.assertLess(time.monotonic(), end, "the end of the child was not noticed")

        supervisor.meanwhile = fail_in_time
        pid = supervisor.start("/bin/sh", ["sh", "-c", "exit 3"], os.environ)
        self.assertEqual(os.WEXITSTATUS(supervisor.wait(pid)), 3)

    def test_snapshots_are_kept_when_the_page_cannot_be_written(self):
        os.remove(self.path("bin/pymalloc-heapmap"))
        self.write("bin/pymalloc-heapmap", "#!/bin/sh\necho 'heapmap: no room' >&2\nexit 1\n")
        for own, status in ((0, 125), (3, 3)):
            done = self.run_it(*self.drawing("100"), sys.executable, "-c", f"import sys; sys.exit({own})")
            self.assertEqual(done.returncode, status)
            folder = re.search("its snapshots are kept in (.*)\n", done.stderr)[1]
            self.assertEqual(len(glob.glob(f"{folder}/*.jsonl")), 1)

    def test_a_page_that_cannot_be_written_is_told_first(self):
        for page in (self.folder, "/no/page.html"):
            done = self.run_it("--heapmap", page, "touch", self.path("started"))
            self.assertEqual((done.returncode, done.stderr), (125, f"pymalloc-run: {page}: cannot be written\n"))
        self.assertFalse(os.path.exists(self.path("started")))

    def test_signals_are_passed_on(self):
        process = self.start(*self.drawing("100"), sys.executable, "-c", COUNTING, "2")
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.communicate(timeout=installed.LIMIT)[0], "('SIGINT', 1) ('SIGUSR1', 1)\n")
        self.assertEqual(process.returncode, 0)

    def test_it_ends_by_the_signal_that_ended_the_command(self):
        process = self.start(*self.drawing(), "sh", "-c", "echo ready; exec sleep 60")
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.terminate()
        process.communicate(timeout=installed.LIMIT)
        self.assertEqual(process.returncode, -signal.SIGTERM)

    def test_it_stops_with_the_command(self):
        process = self.start(*self.drawing("100"), "sh", "-c", "kill -STOP $$; exit 7", start_new_session=True)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        os.killpg(process.pid, signal.SIGCONT)
        process.communicate(timeout=installed.LIMIT)
        self.assertEqual(process.returncode, 7)

    def test_the_terminal_interrupts_once(self):
        command = *self.drawing("100"), sys.executable, "-c", COUNTING, "1"
        shown, status = self.in_terminal(*command, seen=b"ready", then=lambda terminal: os.write(terminal, b"\3"))
        self.assertIn("('SIGINT', 1)", shown)
        self.assertEqual(status, 0)

    def test_watching(self):
        tool = '#!/bin/sh\nkill -0 $1 || exit 1\necho "watching $1"\nexit 0\n'
        self.write("bin/pymalloc-watch", tool)
        os.mkfifo(self.path("pipe"))
        command = f"import os, sys; print(os.getpid(), len(sys.stdin.read())); open({self.path('pipe')!r}).read()"

        def let_end(terminal):
            with open(self.path("pipe"), "wb"):
                pass

        shown, status = self.in_terminal("--watch", sys.executable, "-c", command, seen=b"goes on", then=let_end)
        pid = re.search(r"watching (\d+)", shown)[1]
        self.assertIn(f"process {pid} goes on", shown)
        with open(re.search(r"the output of the command is in (\S+)", shown)[1], encoding="utf-8") as log:
            self.assertEqual(log.read(), f"{pid} 0\n")
        self.assertEqual(status, 0)

    def test_watching_needs_a_terminal(self):
        self.write("bin/pymalloc-watch", "#!/bin/sh\n")
        done = self.run_it("--watch", "true")
        self.assertEqual(done.returncode, 125)
        self.assertRegex(done.stderr, r"\Apymalloc-run: --watch needs a terminal.*\n\Z")

    def wait_for(self, condition):
        end = time.monotonic() + installed.LIMIT
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not come to that")
            time.sleep(0.01)

    def in_terminal(self, *arguments, seen, then):
        """Runs it in a terminal of its own, and calls `then` with that once `seen` was shown. All that was shown, and the exit status."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(self.program, [self.program, *arguments])
        shown, called = b"", False
        try:
            while True:
                shown += os.read(terminal, 4096)
                if seen in shown and not called:
                    then(terminal)
                    called = True
        except OSError:  # all that had it open have ended
            pass
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
        return shown.decode(), os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


if __name__ == "__main__":
    unittest.main()
