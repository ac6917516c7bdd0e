"""The command with its heap drawn or shown: it is the process that was started, or, where the view is above it, its signals, its stops and its end
are still its own."""

import glob
import os
import pty
import re
import signal
import sys
import time
import unittest

import installed

sys.path.insert(0, installed.PARTS)
import drawing
import supervising

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


class Supervising(installed.Test):
    """With a heap map."""

    def setUp(self):
        super().setUp()
        self.page = self.path("the page.html")
        self.partial = self.page + ".partial"

    def drawing(self, every="0.02"):
        return "--every", every, "--heapmap", self.page

    def processes_drawn(self, said):
        """The page must be there and be told of, and nothing else be left; how many processes it was made of."""
        self.assertEqual(said, f"pymalloc-run: the heap map is in {self.page}\n")
        # A process that went on for a moment is drawn once more.
        self.wait_for(lambda: not os.path.exists(self.partial))
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
        self.wait_for(lambda: any(map(os.path.getsize, self.snapshots())))
        process.kill()
        _, said = process.communicate(timeout=installed.LIMIT)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertEqual(self.processes_drawn(said), 1)

    def test_no_snapshot_is_told(self):
        done = self.run_it(*self.drawing("100"), "sh", "-c", "kill -9 $$")
        self.assertEqual(done.returncode, -signal.SIGKILL)
        self.assertEqual(done.stderr, "pymalloc-run: there is no heap map: the command ended before its first snapshot\n")
        self.assertFalse(os.path.exists(self.partial))

    def nothing_comes(self):
        """Whether no snapshot comes within many times the interval."""
        sizes = list(map(os.path.getsize, self.snapshots()))
        time.sleep(0.5)
        return list(map(os.path.getsize, self.snapshots())) == sizes

    def snapshots(self):
        return glob.glob(glob.escape(self.partial) + "/*.jsonl")

    def test_many_snapshots_are_thinned(self):
        self.addCleanup(setattr, drawing, "ROOM", drawing.ROOM)
        os.mkdir(self.partial)
        lines = [f"{number}{'x' * number}\n" for number in range(100)]
        for name in ("1.jsonl", "2.jsonl"):
            self.write(os.path.join(self.partial, name), "".join(lines))
        drawing.keep_room(self.partial)
        self.assertEqual(self.read(os.path.join(self.partial, "1.jsonl")), "".join(lines))
        drawing.ROOM = 10000
        drawing.keep_room(self.partial)
        for name in ("1.jsonl", "2.jsonl"):
            self.assertEqual(self.read(os.path.join(self.partial, name)), "".join(lines[::2]))

    def test_a_child_that_ends_at_once_is_not_waited_for(self):
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
        supervisor = supervising.Supervisor()
        began = time.monotonic()
        pid = supervisor.start(lambda: os.execv("/bin/sh", ["sh", "-c", "exit 3"]))
        self.assertEqual(os.WEXITSTATUS(supervisor.wait(pid)), 3)
        self.assertLess(time.monotonic() - began, supervising.NOW_AND_THEN, "the end of the child was not noticed")

    def test_the_command_is_the_process_that_was_started(self):
        process = self.start(*self.drawing("100"), "sh", "-c", "echo $$; cat /proc/$$/task/$$/children; echo; kill -STOP $$; kill -HUP $$")
        self.assertEqual(process.stdout.readline(), f"{process.pid}\n")
        # No child but the one that reads this.
        self.assertEqual(len(process.stdout.readline().split()), 1)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=installed.LIMIT)
        self.assertEqual(process.returncode, -signal.SIGHUP)

    def test_the_page_is_there_when_the_command_ends(self):
        # Without a pipe to wait for.
        with open(self.path("said"), "w", encoding="utf-8") as said:
            self.run_it(*self.drawing("100"), sys.executable, "-c", "", stderr=said)
        self.assertEqual(self.processes_drawn(self.read("said")), 1)

    def test_what_goes_on_is_drawn_once_more(self):
        going_on = "import os, sys, time; os.fork() and sys.exit(); [os.close(fd) for fd in range(3)]; time.sleep(1)"
        done = self.run_it(*self.drawing(), sys.executable, "-W", "ignore", "-c", going_on)
        self.assertEqual(done.returncode, 0)
        self.assertIn("the heap map is in", done.stderr)
        first = os.stat(self.page)
        self.wait_for(lambda: not os.path.exists(self.partial))
        self.assertNotEqual(os.stat(self.page).st_ino, first.st_ino)
        self.assertIn("2 processes", self.read("the page.html"))

    def test_snapshots_of_an_earlier_run_give_way(self):
        os.mkdir(self.partial)
        self.write(self.partial + "/1.jsonl", "{}\n")
        done = self.run_it(*self.drawing("100"), sys.executable, "-c", "")
        said, drawn = done.stderr.splitlines(keepends=True)
        self.assertEqual(said, f"pymalloc-run: the snapshots that an earlier run has left in {self.partial} are replaced\n")
        self.assertEqual(self.processes_drawn(drawn), 1)

    def test_the_folder_of_another_run_is_not_taken(self):
        process = self.start(*self.drawing(), "sleep", "60")
        self.wait_for(self.snapshots)
        done = self.run_it(*self.drawing(), "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("still leave snapshots there", done.stderr)
        process.kill()
        process.communicate(timeout=installed.LIMIT)

    def test_without_the_collector_no_more_snapshots_come(self):
        process = self.start(*self.drawing(), sys.executable, "-c", "input()", stdin=-1)
        self.wait_for(self.snapshots)
        os.kill(installed.collector_of(process.pid), signal.SIGKILL)
        self.wait_for(self.nothing_comes)
        began = time.monotonic()
        process.communicate("\n", timeout=installed.LIMIT)
        self.assertEqual(process.returncode, 0)
        self.assertLess(time.monotonic() - began, 5, "the end was held up by a collector that is no more")

    def test_snapshots_are_kept_when_the_page_cannot_be_written(self):
        os.remove(self.path("share/pymalloc/heapmap"))
        self.write("share/pymalloc/heapmap", "import sys\nsys.exit('heapmap: no room')\n")
        for own in (0, 3):
            done = self.run_it(*self.drawing("100"), sys.executable, "-c", f"import sys; sys.exit({own})")
            self.assertEqual(done.returncode, own)
            self.assertIn(f"its snapshots are kept in {self.partial}\n", done.stderr)
            self.assertEqual(len(self.snapshots()), 1)

    def test_a_page_that_cannot_be_written_is_told_first(self):
        os.mkdir(self.path("taken.html.partial"))
        self.write("taken.html.partial/notes", "mine")
        for page, reason in (
            (self.folder, "cannot be written: a folder"),
            ("/no/page.html", "cannot be written: No such file or directory"),
            ("/dev/null", "cannot be written: not a file"),
            ("/proc/page.html", "cannot be written: "),
            (self.path("a,b.html"), "cannot name a path with a comma"),
            (self.path("taken.html"), "in the way, with notes in it"),
        ):
            done = self.run_it("--heapmap", page, "touch", self.path("started"))
            self.assertEqual(done.returncode, 125)
            self.assertRegex(done.stderr, rf"\Apymalloc-run: {re.escape(page)}.*{reason}.*\n\Z")
        self.assertFalse(os.path.exists(self.path("started")))
        self.assertEqual(glob.glob(self.path("*.partial/*")), [self.path("taken.html.partial/notes")])

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

    def test_a_watch_that_is_killed_leaves_no_orphan(self):
        self.write("bin/pymalloc-watch", '#!/bin/sh\necho "watching $1"\nexec sleep 60\n')
        seen = []

        def kill(terminal):
            seen.append(int(re.search(rb"watching (\d+)\r", self.shown)[1]))
            os.kill(self.terminal_process, signal.SIGKILL)

        _, status = self.in_terminal("--watch", "sleep", "60", seen=b"\r\n", then=kill)
        self.assertEqual(status, -signal.SIGKILL)
        self.wait_for(lambda: not os.path.exists(f"/proc/{seen[0]}") or "Z" in self.state_of(seen[0]))

    def state_of(self, pid):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0]

    def test_the_status_of_what_is_watched(self):
        self.write("bin/pymalloc-watch", "#!/bin/sh\nexit 0\n")
        for command, status in (("exit 5", 5), ("kill -TERM $$", -signal.SIGTERM)):
            _, ended = self.in_terminal("--watch", "sh", "-c", command, seen=b"never", then=None)
            self.assertEqual(ended, status)

    def in_terminal(self, *arguments, seen, then):
        """Runs it in a terminal of its own, and calls `then` with that once `seen` was shown. All that was shown, and the exit status."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(self.program, [self.program, *arguments])
        self.terminal_process, self.shown, called = pid, b"", False
        try:
            while True:
                self.shown += os.read(terminal, 4096)
                if seen in self.shown and not called:
                    then(terminal)
                    called = True
        except OSError:  # all that had it open have ended
            pass
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
        return self.shown.decode(), os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


if __name__ == "__main__":
    unittest.main()
