"""`pymalloc-run --stats` tells of every process of the command, however it ends, and is in nobody's way."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import unittest

import installed

PYTHON = shlex.quote(sys.executable)
VENV = os.path.join(installed.ROOT, "target/venv")
SERVERS = os.path.join(VENV, "bin/python")
ASGI = """
kept = []
async def app(scope, receive, send):
    kept.append([bytes(500) for _ in range(2000)])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""
WSGI = """
kept = []
def app(environ, start):
    kept.append([bytes(500) for _ in range(2000)])
    start("200 OK", [])
    return [b"ok"]
"""
POOL = """
import multiprocessing, sys, time
def work(count):
    kept = [bytes(500) for _ in range(count)]
    time.sleep(0.3)
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    child = multiprocessing.Process(target=work, args=(50000,))
    child.start()
    child.join()
"""


class Process:
    """A line of what is told."""

    def __init__(self, line):
        parts = re.fullmatch(r" *(\d+) +(\d+) +([\d.]+) s((?: +[\d.,]+ MiB){3}| +)  (\S.*?)  +(\S.*)", line)
        self.pid, self.parent, self.up = int(parts[1]), int(parts[2]), float(parts[3])
        self.figures = [float(number) for number in re.findall(r"[\d.]+", parts[4].replace(",", ""))]
        self.how, self.command = parts[5], parts[6]


def runs_as_nobody(python):
    try:
        return subprocess.run([python, "-c", ""], user=65534, stderr=subprocess.DEVNULL, cwd="/").returncode == 0
    except OSError:
        return False


class Telling(installed.Test):
    def told(self, said):
        """The processes that are told of, in their order; a summary with a total and a table must be there besides."""
        lines = said.splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("pymalloc-run: ") and " process" in line)
        self.assertEqual(lines[start + 1].split(), ["pid", "parent", "up", "peak", "resident", "in", "use", "ended", "command"])
        found = []
        for line in lines[start + 2 :]:
            if not re.match(r" *\d+ +\d+ +[\d.]+ s", line):
                break
            found.append(Process(line))
        self.assertEqual(len({process.pid for process in found}), int(re.search(r"(\d+) process", lines[start])[1]))
        return found

    def tell(self, *command, **more):
        done = self.run_it("--stats", *command, **more)
        return self.told(done.stderr), done

    def test_an_orderly_end(self):
        process = self.start("--stats", sys.executable, "-c", "import os, sys; print(os.getpid()); kept = [bytes(500)] * 9; sys.exit(3)")
        out, said = process.communicate(timeout=installed.LIMIT)
        (one,) = self.told(said)
        self.assertEqual((out, process.returncode), (f"{process.pid}\n", 3))
        self.assertEqual((one.pid, one.parent, one.how), (process.pid, os.getpid(), "exit 3"))
        self.assertTrue(one.command.startswith("python"), one.command)
        peak, resident, in_use = one.figures
        self.assertTrue(peak >= resident > in_use, one.figures)
        self.assertRegex(said, r"\n *together +[\d.]+ MiB")
        self.assertIn(f"pymalloc: statistics of process {one.pid} (", said)
        self.assertIn("bytes in use in pools", said)

    def test_what_is_told_is_there_when_the_command_ends(self):
        with open(self.path("said"), "w", encoding="utf-8") as file:
            self.run_it("--stats", sys.executable, "-c", "", stderr=file)
        self.assertEqual([process.how for process in self.told(self.read("said"))], ["exit 0"])

    def test_growth_to_the_end_is_told(self):
        program = "import time\nkept = []\nfor turn in range({turns}):\n    kept.append(bytes(20000 if turn < {until} else 1))\n    time.sleep(0.01)"
        told = self.run_it("--stats", sys.executable, "-c", program.format(turns=1200, until=1200)).stderr.splitlines()
        self.assertRegex(told[1], r"\AWhat process \d+ had in use grew to the end, by 1?\d\d\.\d MiB a minute: a leak, or work that was not done yet\.\Z")
        # It has what it needs after a quarter of its time.
        told = self.run_it("--stats", sys.executable, "-c", program.format(turns=1200, until=300)).stderr.splitlines()
        self.assertRegex(told[1], r"\A +pid  parent ")

    def test_a_command_that_is_killed(self):
        program = "import time; kept = [bytes(500) for _ in range(100000)]; time.sleep(2); print('ready', flush=True); time.sleep(60)"
        process = self.start("--stats", sys.executable, "-c", program)
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.kill()
        (one,) = self.told(process.communicate(timeout=installed.LIMIT)[1])
        self.assertEqual(process.returncode, -signal.SIGKILL)
        age = re.fullmatch(r"SIGKILL, figures ([\d.]+) s old", one.how)
        self.assertLess(float(age[1]), 5)
        self.assertGreater(one.figures[2], 45)

    def test_ends_of_all_kinds(self):
        for program, how in (
            ("kill -9 $$", "SIGKILL, "),
            ("kill -TERM $$", "SIGTERM, "),
            (f"exec {PYTHON} -c 'import os; os._exit(7)'", "_exit 7, "),
            (f"exec {PYTHON} -c 'import os; os.abort()'", "SIGABRT, "),
            (f"exec {PYTHON} -c 'raise SystemExit(5)'", "exit 5"),
        ):
            told, done = self.tell("sh", "-c", program)
            self.assertEqual(len(told), 1, done.stderr)
            self.assertTrue(told[0].how.startswith(how), told[0].how)

    def test_children_that_are_killed_or_leave(self):
        for way in ("fork", "spawn"):
            script = self.write("pool.py", POOL)
            told, done = self.tell(sys.executable, "-W", "ignore", script, way)
            self.assertEqual(done.returncode, 0)
            child = max(told, key=lambda process: process.figures or [0])
            self.assertIn("pool.py" if way == "fork" else "spawn_main", child.command)
            self.assertEqual(child.parent, told[0].pid)
            self.assertRegex(child.how, r"_exit 0, figures" if way == "fork" else "exit 0")

    def test_a_pipeline(self):
        told, done = self.tell("sh", "-c", "printf x | cat | grep -c x; exit 4")
        self.assertEqual((done.returncode, done.stdout), (4, "1\n"))
        self.assertEqual({process.command for process in told[1:]} & {"cat", "grep -c x"}, {"cat", "grep -c x"})
        self.assertTrue(all(process.parent == told[0].pid for process in told[1:]))

    def test_a_program_that_becomes_another(self):
        told, _ = self.tell("sh", "-c", f"sleep 0.5; exec {PYTHON} -c ''")
        first, sleep, second = told
        self.assertEqual((first.pid, sleep.command, second.how), (second.pid, "sleep 0.5", "exit 0"))
        self.assertTrue(first.how.startswith(f"exec of {os.path.basename(sys.executable)}, "), first.how)

    def test_what_goes_on_is_told_as_that(self):
        began = time.monotonic()
        told, _ = self.tell("sh", "-c", "sleep 30 >/dev/null 2>&1 & echo $!; sleep 0.2")
        # Nothing is waited for, and the pipe is let go.
        self.assertLess(time.monotonic() - began, 20)
        going_on = next(process for process in told if process.command == "sleep 30")
        os.kill(going_on.pid, signal.SIGKILL)
        self.assertEqual(going_on.how, "still running")

    def test_a_daemon_without_stderr(self):
        daemon = "import os, time; [os.close(number) for number in range(3)]; kept = [bytes(500) for _ in range(50000)]; time.sleep(0.5)"
        told, _ = self.tell("sh", "-c", f"{PYTHON} -c '{daemon}'; true")
        self.assertTrue(any(process.how == "exit 0" and process.figures[0] > 25 for process in told))

    def test_many_at_once(self):
        told, done = self.tell("sh", "-c", "for i in $(seq 150); do env true & done; wait; env true")
        self.assertIn("153 processes", done.stderr.splitlines()[0])

    def test_the_command_has_no_child_and_no_descriptor_of_the_collector(self):
        for options in ([], ["--stats"]):
            shown = self.output_of(*options, "sh", "-c", "ls /proc/$$/fd; wc -w < /proc/$$/task/$$/children; true")
            alone = shown if not options else alone
            self.assertEqual(shown, alone)

    def output_of(self, *arguments):
        return self.run_it(*arguments).stdout

    def test_it_does_not_matter_to_the_command_that_the_collector_is_killed(self):
        process = self.start("--stats", sys.executable, "-c", "print('ready', flush=True); input(); raise SystemExit(6)", stdin=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "ready\n")
        os.kill(installed.collector_of(process.pid), signal.SIGKILL)
        began = time.monotonic()
        _, said = process.communicate("\n", timeout=installed.LIMIT)
        self.assertEqual((process.returncode, said), (6, ""))
        self.assertLess(time.monotonic() - began, 5)

    def test_nothing_is_believed_that_is_no_message(self):
        process = self.start("--stats", sys.executable, "-c", "print('ready', flush=True); input()", stdin=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), "ready\n")
        with open("/proc/net/unix", encoding="utf-8") as file:
            name = re.search(rf"@(pymalloc-run-{process.pid}-\w+)", file.read())[1]
        event = {"event": "end", "parent": 1, "command": "\x1b[2J", "line": "\x1b[2J\nx", "time": 1.5, "status": 0}
        for message in (b"", b"\0\xff", b"{}", b"[]", b"x" * 3000000, json.dumps(event).encode(), json.dumps({**event, "event": "start"}).encode()):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect("\0" + name)
                try:
                    connection.sendall(message)
                except OSError:
                    pass
        # A Python in root's own folder is not for everyone.
        for_all = [python for python in (sys.executable, "/usr/bin/python3") if os.getuid() == 0 and runs_as_nobody(python)]
        if for_all:
            subprocess.run(
                [for_all[0], "-c", f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0{name}'); s.send(b'''{json.dumps({**event, 'event': 'start'})}''')"],
                check=True,
                user=65534,
            )
        told = self.told(process.communicate("\n", timeout=installed.LIMIT)[1])
        # This process did send what looks like one.
        self.assertEqual({one.pid for one in told}, {process.pid, os.getpid()})
        self.assertFalse(any("\x1b" in one.command for one in told))

    def test_the_first_process_of_a_container(self):
        apart = ["unshare", "--pid", "--fork", "--mount-proc"]
        if subprocess.run([*apart, "true"], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no namespace for processes can be made here")
        program = "import os; os.fork() or os._exit(0); raise SystemExit(9)"
        arguments = [*apart, self.program, "--stats", sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(arguments, stderr=subprocess.PIPE, text=True, timeout=installed.LIMIT)
        self.assertEqual(done.returncode, 9)
        self.assertEqual([process.how.split(",")[0] for process in self.told(done.stderr)], ["exit 9", "_exit 0"])


@unittest.skipUnless(os.path.exists(os.path.join(VENV, "with-servers")), "not installed: uvicorn and gunicorn in target/venv")
class Servers(Telling):
    def served(self, *command, end):
        """Starts a server, asks it for something, ends it; what is told of it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = self.start("--stats", SERVERS, *(word.format(port=port) for word in command), cwd=self.folder)
        self.wait_for(lambda: all([self.answers(port) for _ in range(20)]))
        # Figures come once a second: the last are those of a server that has answered, however fast it was there.
        time.sleep(1.2)
        process.send_signal(end)
        return self.told(process.communicate(timeout=installed.LIMIT)[1]), process.returncode

    def answers(self, port):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                return connection.recv(4096).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def test_uvicorn(self):
        self.write("service.py", ASGI)
        for end in (signal.SIGTERM, signal.SIGKILL):
            (one,), status = self.served("-m", "uvicorn", "service:app", "--port", "{port}", "--log-level", "error", end=end)
            self.assertEqual(status, -end)
            self.assertRegex(one.how, rf"{end.name}, figures [\d.]+ s old")
            self.assertGreater(one.figures[0], 15)

    def test_gunicorn(self):
        self.write("service.py", WSGI)
        for options in ([], ["--preload"]):
            command = ["-W", "ignore", "-m", "gunicorn", *options, "-w", "2", "-b", "127.0.0.1:{port}", "--log-level", "error", "service:app"]
            told, status = self.served(*command, end=signal.SIGTERM)
            self.assertEqual(status, 0)
            self.assertEqual([process.how for process in told], ["exit 0"] * 3)
            self.assertEqual([process.parent for process in told[1:]], [told[0].pid] * 2)


# The tests of the class that it builds on run once.
for name in [name for name in vars(Telling) if name.startswith("test_")]:
    setattr(Servers, name, None)


if __name__ == "__main__":
    unittest.main()
