"""The virtual environment of one CPython, with the pinned packages that bodies need.

Owns target/bench/python-X.Y, each with a record of the bodies that have run in it, and target/bench/pyperformance-VERSION,
the one copy of pyperformance's bodies and their data that all interpreters share.

What must always hold: nothing is written outside target/, an environment that was left unfinished or was made for another
interpreter is made anew, and what goes wrong comes out as a Failure of one line.
"""

import json
import os
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"), "bench")

# One version for all interpreters, so that they run the same bodies. Only pyperformance's files are used, none of its
# code, which is why an interpreter that it does not support any more can have it too.
PYPERFORMANCE = "1.14.0"
# The newest that supports the oldest interpreter.
PYPERF = "pyperf==2.8.0"
PYPERFORMANCE_COPY = os.path.join(BENCH, f"pyperformance-{PYPERFORMANCE}")
BENCHMARKS = os.path.join(PYPERFORMANCE_COPY, "pyperformance", "data-files", "benchmarks")

# What would make an installation or a trial run differ from a plain one.
KEPT_OUT = ("LD_PRELOAD", "PYTHONMALLOC", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
# Output that tells more than the error that follows it, and what it means.
CAUSES = {
    "No space left on device": "the disk is full",
    "after connection broken by": "the package index cannot be reached",
    "ensurepip is not": "it has no ensurepip, which virtual environments need (Debian: the package python3-venv)",
}


class Failure(Exception):
    """One line that says why something cannot be had."""


def run(argv, limit=None):
    """Runs a command to its end; a Failure if it fails or takes longer than `limit` seconds."""
    plain = {key: value for key, value in os.environ.items() if key not in KEPT_OUT}
    try:
        done = subprocess.run(argv, env={**plain, "PYTHONHASHSEED": "0"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failure(f"no result within {limit} s") from None
    if done.returncode:
        for mark, cause in CAUSES.items():
            if mark in done.stdout:
                raise Failure(cause)
        lines = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
        # What pip prints after its error is advice.
        errors = [line[len("ERROR: "):] for line in lines if line.startswith("ERROR: ")]
        raise Failure((errors or lines)[-1])


class Environment:
    def __init__(self, interpreter):
        self.interpreter = interpreter
        self.folder = os.path.join(BENCH, f"python-{interpreter.version}")
        self.python = os.path.join(self.folder, "bin", "python")
        self._record = os.path.join(self.folder, "bodies.json")
        self._of = [interpreter.path, interpreter.release, PYPERF, PYPERFORMANCE]
        try:
            with open(self._record, encoding="utf-8") as file:
                known = json.load(file)
        except (OSError, ValueError):
            known = {}
        self._made = known.get("of") == self._of and os.path.isdir(BENCHMARKS)
        self._ran = known["ran"] if self._made else {}
        self.left_out = known["left_out"] if self._made else {}

    @staticmethod
    def _kind(body):
        """What decides whether a body that ran once still runs."""
        return [body["module"], body.get("arguments"), body.get("needs")]

    def has(self, body):
        return self._ran.get(body["key"]) == self._kind(body)

    def add(self, body):
        self._ran[body["key"]] = self._kind(body)

    def write(self, left_out):
        self.left_out = left_out
        part = self._record + ".part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump({"of": self._of, "ran": self._ran, "left_out": left_out}, file, indent=1)
        os.replace(part, self._record)

    def _pip(self, *arguments):
        # Without dependencies, since all that a body imports is pinned: pyperf alone would bring a package that costs each
        # process 17 ms.
        run([self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--retries=2",
             "--no-deps", *arguments])

    def make(self):
        """The environment, if it is not there yet, with pyperf and pyperformance's bodies."""
        if self._made:
            return
        os.makedirs(BENCH, exist_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        run([self.interpreter.path, "-m", "venv", self.folder])
        os.mkdir(os.path.join(self.folder, "tmp"))
        self._pip(PYPERF)
        if not os.path.isdir(PYPERFORMANCE_COPY):
            part = PYPERFORMANCE_COPY + ".part"
            shutil.rmtree(part, ignore_errors=True)
            self._pip("--no-compile", "--ignore-requires-python", "--target", part, f"pyperformance=={PYPERFORMANCE}")
            os.rename(part, PYPERFORMANCE_COPY)
        self.write({})

    def install(self, needs):
        """Installs packages: all of them at once or, if that fails, each by itself. The reasons of what failed, by need."""
        failed = {}
        if needs:
            try:
                self._pip(*needs)
            except Failure:
                for need in needs:
                    try:
                        self._pip(need)
                    except Failure as failure:
                        failed[need] = f"{need}: {failure}"
        return failed
