"""Where the suite finds its sources and puts its results, and how it ends when it cannot go on.

Owns the names of those files. What must hold: nothing is written outside the target directory.
"""

import os
import signal
import sys
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))

# The exit status of a program that an interrupt ended, by the custom of shells.
INTERRUPTED = 128 + signal.SIGINT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Stop(Exception):
    """What ends a run with one line for a person."""


class Output(NamedTuple):
    """The files of one directory of results."""

    directory: str

    @property
    def runs(self):
        return os.path.join(self.directory, "runs.jsonl")

    @property
    def result(self):
        return os.path.join(self.directory, "RESULT.json")

    @property
    def report(self):
        return os.path.join(self.directory, "report.html")


def read_toml(path):
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Stop(f"{os.path.relpath(path)} cannot be read: {error}") from error


def reason(error):
    """What an exception says, for a person: an OSError's message without its number."""
    return getattr(error, "strerror", None) or str(error)
