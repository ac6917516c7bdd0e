"""What all parts of `pymalloc` share: how it refuses, how it speaks, and where the library and the tools are.

Owns: the exit statuses, the name by which it speaks, and the one line in which something is said. What must hold: what is said never ends the program.
"""

import os
import signal
import sys
from typing import NamedTuple, Optional

# As env, nohup and timeout have them.
OWN_FAILURE = 125
CANNOT_RUN = 126
NOT_FOUND = 127

# The folder of the parts, and the tool that draws heap maps, beside it wherever they are.
PARTS = os.path.dirname(os.path.abspath(__file__))
HEAPMAP = os.path.join(os.path.dirname(PARTS), "heapmap")


class Home(NamedTuple):
    """Where the library and pymalloc-watch are, and what brings them: a text with room for the name of what is lacking."""

    library: str
    watch: str
    way: str
    # The Python that it was installed for; None where that is the one of PATH.
    python: Optional[str] = None


class Refusal(Exception):
    """Why nothing is started, and the exit status that says so."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Speaker:
    """The name by which the program was called: it begins each line."""

    name = "pymalloc"


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
    write_all(f"{Speaker.name}: {text}\n")


def present(path, way, target=""):
    """The path of something that must be there."""
    path = os.path.normpath(path)
    if not os.path.exists(path):
        raise Refusal(OWN_FAILURE, f"{path} is not there: {way.format(target)}")
    return path


def restore_signals():
    """What a command inherits: ignored is what was ignored before Python began, as far as that is known."""
    ignored = int(os.environ.pop("PYMALLOC_RUN_IGNORED", "") or "0", 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        if not ignored >> (number - 1) & 1:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
