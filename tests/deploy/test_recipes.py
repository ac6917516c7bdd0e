"""The recipes of docs/deploy.md, each run as it stands there, but for the port, the folder and the virtual environment.

Owns: how the page is read. A block of it has a word behind its language: `file=NAME` is written, `start` is started, `verify` must come to
show the lines of the block `shows`, and `back` starts the same off pymalloc. What must hold: no process is left behind, and a section that
says that it is tested has a test here.

PYMALLOC_DEPLOY_VENV names the virtual environment (`scripts/test-deploy` makes one with all that the page starts). Without it the wheel and
the servers of the other tests serve, and what takes long to install is left out.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/wheel"))
import making

PAGE = os.path.join(ROOT, "docs/deploy.md")
# Seconds in which a service must have come up, and whatever else must have ended.
LIMIT = 60
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections():
    """The blocks of each section by its title, as (language, word, text), the text in front of the first section among all of them."""
    with open(PAGE, encoding="utf-8") as file:
        parts = re.split(r"^## (.*)$", file.read(), flags=re.MULTILINE)
    return {title: BLOCK.findall(text) for title, text in zip([""] + parts[1::2], parts[::2])}


def free_port():
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return any_socket.getsockname()[1]


def pattern_of(line):
    """A line that is shown, with what is another one each time left open."""
    pattern = re.escape(line).replace(r"\.\.\.", ".*")
    pattern = re.sub(r"process\\ \d+", r"process \\d+", pattern)
    return re.sub(r"\d+\\ MiB", r"\\d+ MiB", pattern)


class Recipe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.venv = os.environ.get("PYMALLOC_DEPLOY_VENV") or making.beside_servers()

    @classmethod
    def tearDownClass(cls):
        making.clear()

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pymalloc-recipe-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.port = str(free_port())
        self.session = None
        os.mkdir(os.path.join(self.folder, "bin"))
        self.environment = {**os.environ, "PATH": self.path(), "HOME": self.folder}
        for name in ("LD_PRELOAD", "PYTHONMALLOC", "PYMALLOC_CONF", "PYTHONPATH"):
            self.environment.pop(name, None)

    def path(self):
        """Where commands are: those of the environment with the wheel, then those beside it."""
        return ":".join([f"{self.folder}/bin", f"{self.venv}/bin", f"{making.VENV}/bin", os.environ["PATH"]])

    def needs(self, program):
        if not shutil.which(program, path=f"{self.venv}/bin"):
            self.skipTest(f"make test-deploy installs {program}, and runs this")

    def here(self, text):
        """A block with the names of this place in it."""
        return text.replace("8000", self.port).replace("/opt/venv", self.venv).replace("/srv", self.folder)

    def prepare(self, title):
        """Writes the files of a section; gives its other blocks by their words."""
        every = sections()
        blocks = {}
        for _, word, text in every[""] + every[title]:
            if word.startswith("file="):
                path = os.path.join(self.folder, word[5:])
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(self.here(text))
            else:
                blocks[word] = self.here(text)
        return blocks

    # --- Processes

    def start(self, lines):
        """Starts a service, to be ended with the test, and makes `pgrep` see that one alone. The last line is the service: no shell stays above it, in whose
        command line `pgrep` would find that of the service."""
        *before, last = lines.strip().splitlines()
        line = "\n".join([*before, f"exec env {last}"])
        log = open(os.path.join(self.folder, "log"), "w", encoding="utf-8")
        self.addCleanup(log.close)
        process = subprocess.Popen(["sh", "-c", line], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.addCleanup(self.end, process)
        with open(os.path.join(self.folder, "bin/pgrep"), "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec {shutil.which("pgrep")} --session {process.pid} "$@"\n')
        os.chmod(file.name, 0o755)
        return process

    def end(self, process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        members = subprocess.run(["pgrep", "--session", str(process.pid)], stdout=subprocess.PIPE, text=True).stdout.split()
        for pid in map(int, members):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def shell(self, line, **more):
        more = {"cwd": self.folder, "env": self.environment, "stdin": subprocess.DEVNULL, "timeout": LIMIT, **more}
        return subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8") as file:
            return file.read()

    # --- What is shown

    def shows(self, line, expected, status=0):
        """A line must come to show what is expected, in that order, as a service is not there at once; gives all that it shows."""
        pattern = re.compile(".*".join(rf"^{pattern_of(one)}$" for one in expected.splitlines() if one != "..."), re.MULTILINE | re.DOTALL)
        end = time.monotonic() + LIMIT
        while True:
            done = self.shell(line)
            if done.returncode == status and pattern.search(done.stdout):
                return done.stdout
            if time.monotonic() > end:
                self.fail(f"{line}\nshows, with status {done.returncode}:\n{done.stdout}\nand not:\n{expected}\nThe service says:\n{self.log()}")
            time.sleep(0.2)

    def answer(self):
        """What the service answers, once it does."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
                    return answer.read().decode()
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end:
                    self.fail(f"no answer; the service says:\n{self.log()}")
                time.sleep(0.1)

    def works(self, title, answers=True):
        """The whole recipe: it must verify, and be off when it is put back."""
        blocks = self.prepare(title)
        process = self.start(blocks["start"])
        self.shows(blocks["verify"], blocks["shows"])
        if answers:
            self.assertEqual(self.answer(), "on pymalloc")
        self.end(process)
        if "back" in blocks:
            self.start(blocks["back"])
            if answers:
                self.assertEqual(self.answer(), "not on pymalloc")
            check = blocks["verify"].splitlines()[-1].rpartition("&& ")[2]
            self.shows(check, "  problem  it is off: PYMALLOC_CONF says so", status=1)

    # --- The recipes

    def test_gunicorn(self):
        self.works("gunicorn")

    def test_gunicorn_with_preload(self):
        self.works("gunicorn with --preload")

    def test_uvicorn(self):
        self.works("uvicorn")

    def test_celery(self):
        self.works("Celery, prefork", answers=False)

    def test_uwsgi(self):
        self.needs("uwsgi")
        self.works("uWSGI")

    def test_jupyter(self):
        self.needs("jupyter")
        blocks = self.prepare("Jupyter")
        shown = self.shows(blocks["verify"], blocks["shows"])
        self.assertIn("Python's objects in 1 of 1; problems: 0", shown)

    def test_supervisord(self):
        self.works("supervisord")

    def test_systemd(self):
        self.prepare("systemd")
        unit = os.path.join(self.folder, "service.service")
        if shutil.which("systemd-analyze"):
            done = self.shell(f"systemd-analyze verify {unit}")
            self.assertEqual((done.returncode, done.stdout), (0, ""))
        with open(unit, encoding="utf-8") as file:
            self.start(re.search(r"(?m)^ExecStart=(.*)$", file.read())[1])
        self.assertEqual(self.answer(), "on pymalloc")

    def test_cron(self):
        blocks = self.prepare("cron")
        with open(os.path.join(self.folder, "crontab"), encoding="utf-8") as file:
            command = file.read().split(None, 5)[5]
        bare = {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "HOME": self.folder, "LOGNAME": "root"}
        self.assertEqual(self.shell(command, env=bare, cwd="/").stdout, blocks["shows"])
        self.assertEqual(self.shell(command, env={**bare, "PYMALLOC_CONF": "off"}, cwd="/").stdout, "not on pymalloc\n")

    def test_lambda(self):
        self.prepare("AWS Lambda")
        wrapper = os.path.join(self.folder, "pymalloc-wrapper")
        site = self.shell("python -c 'import pymalloc; print(pymalloc.__path__[0])'").stdout.strip()
        with open(wrapper, encoding="utf-8") as file:
            text = file.read()
        with open(wrapper, "w", encoding="utf-8") as file:
            file.write(text.replace("/opt/python/pymalloc", site))
        os.chmod(wrapper, 0o755)
        runtime = "python -c 'import pymalloc; print(pymalloc.enabled())'"
        self.assertEqual(self.shell(f"{wrapper} {runtime}").stdout, "True\n")
        self.assertEqual(self.shell(f"PYMALLOC_CONF=off {wrapper} {runtime}").stdout, "False\n")


class Page(unittest.TestCase):
    def test_each_section_that_is_tested_has_a_test(self):
        with open(PAGE, encoding="utf-8") as file:
            parts = re.split(r"^## (.*)$", file.read(), flags=re.MULTILINE)[1:]
        tested = {title for title, text in zip(parts[::2], parts[1::2]) if re.match(r"\s*\*Tested\b", text)}
        with open(__file__, encoding="utf-8") as file:
            named = set(re.findall(r'self\.(?:works|prepare)\("([^"]+)"', file.read()))
        self.assertEqual(tested - named, set())
        self.assertEqual(named - set(parts[::2]), set())

    def test_what_is_not_run_is_well_formed_at_least(self):
        for title, blocks in sections().items():
            for language, word, text in blocks:
                if language == "json" and not word:
                    self.assertTrue(json.loads(text), title)
                if language == "dockerfile":
                    (command,) = re.findall(r"(?m)^CMD (.*)$", text)
                    self.assertIn("-m", json.loads(command), title)
                if language == "sh":
                    done = subprocess.run(["sh", "-n", "-c", text], stderr=subprocess.PIPE, text=True)
                    self.assertEqual((done.returncode, done.stderr), (0, ""), title)


if __name__ == "__main__":
    unittest.main()
