"""What all parts of `pymalloc-run` share: how it refuses, how it speaks, and where its other parts are.

Owns: the exit statuses, and the one line in which something is said. What must hold: what is said never ends the program.
"""

import os
import sys

# The folder that `pymalloc-run` itself is in.
HERE = os.path.dirname(os.path.realpath(sys.argv[0]))

# As env, nohup and timeout have them.
OWN_FAILURE = 125
CANNOT_RUN = 126
NOT_FOUND = 127


class Refusal(Exception):
    """Why nothing is started, and the exit status that says so."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


def write_all(text):
    """Writes to stderr, if there is one."""
    if not sys.stderr:  # it is closed, and its number may be that of another file
        return
    data = os.fsencode(text)
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        pass  # the exit status still tells


def say(text):
    write_all(f"pymalloc-run: {text}\n")


def in_checkout():
    return os.path.exists(os.path.join(HERE, "../Cargo.toml"))


def part(name, built=None, target=""):
    """The path of another part of pymalloc: from here where all is installed; in a checkout that of `built` in the folder of what is
    built, if it is given. `target` is what makes it."""
    path = os.path.join(HERE, name)
    if built and in_checkout():
        path = os.path.join(HERE, "..", os.environ.get("CARGO_TARGET_DIR", "target"), "release", built)
    path = os.path.normpath(path)
    if not os.path.exists(path):
        way = f"run make{target}" if in_checkout() else f"run make{target} and make install"
        raise Refusal(OWN_FAILURE, f"{path} is not there: {way}")
    return path
