"""The commands of `pymalloc`: which there are, and what becomes of a mistake in any of them.

Owns: the list, and the older names (`pymalloc-run` is `pymalloc run`). What must hold: a command is looked for by its whole name, and whatever goes
wrong is one line on stderr and an exit status.
"""

import os
import sys

from basics import HEAPMAP, OWN_FAILURE, Refusal, Speaker, present, restore_signals, say

HELP = """\
Usage: pymalloc COMMAND [ARGUMENT...]

  run [options] [--] COMMAND...   start a command, and all that it starts, on pymalloc
  doctor [options] [PID...]       is it loaded, do Python's objects come from it, and if not what mends it
  watch [options] PID             a live view of a running process's heap
  why [options] PID               is it a leak, fragmentation, or neither; what its memory consists of, and what grows
  types [options] PID             a running Python's objects by type: how many, their bytes, and what they pin
  pins [options] PID              what keeps pages that hold little: what would go back if it were freed
  snapshot PID -o FILE            write down what a process has, to be compared
  diff [options] FILE FILE        what lies between two such files: growth, fragmentation, by type and size class
  exporter [--all] [PID...]       serve figures of processes for Prometheus
  heapmap FILE.jsonl...           draw snapshots of a heap as a page for a browser

`pymalloc COMMAND --help` tells more; `python -m pymalloc app.py` starts a Python program on pymalloc. `pymalloc --version` tells the library.
"""


def run(home, arguments):
    import running

    return running.main(home, arguments)


def doctor(home, arguments):
    import doctor

    return doctor.main(home, arguments)


def watching(*options):
    """A command that becomes pymalloc-watch, which is a program of its own, with these options."""

    def become(home, arguments):
        tool = present(home.watch, home.way, " watch")
        restore_signals()
        os.execv(tool, [tool, *options, *arguments])

    return become


def heapmap(home, arguments):
    """Runs the tool in this process, under the name by which it was called."""
    sys.argv = [Speaker.name, *arguments]
    with open(HEAPMAP, "rb") as file:
        exec(compile(file.read(), HEAPMAP, "exec"), {"__name__": "__main__", "__file__": HEAPMAP})


COMMANDS = {
    "run": run,
    "doctor": doctor,
    "watch": watching(),
    "why": watching("--why"),
    "types": watching("--types"),
    "pins": watching("--pins"),
    "snapshot": watching("--snapshot"),
    "diff": watching("--diff"),
    "exporter": watching("--exporter"),
    "heapmap": heapmap,
}


def chosen(name, arguments):
    """The command that was asked for, and its arguments; None for the help."""
    _, _, command = name.partition("-")
    if command in COMMANDS:
        Speaker.name = name
        return command, arguments
    if arguments[:1] in (["--version"], ["-V"]):
        return "run", ["--version"]
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        return None
    if arguments[0] not in COMMANDS:
        raise Refusal(OWN_FAILURE, f"{arguments[0]!r} is not a command: they are {', '.join(COMMANDS)} (pymalloc --help)")
    Speaker.name = f"pymalloc {arguments[0]}"
    return arguments[0], arguments[1:]


def main(home, name=None, arguments=None):
    """Does what the command line says; gives the exit status."""
    name, arguments = name or os.path.basename(sys.argv[0]), sys.argv[1:] if arguments is None else arguments
    return told(lambda: obey(home, name, arguments))


def obey(home, name, arguments):
    found = chosen(name, arguments)
    if found is None:
        print(HELP, end="", flush=True)
        return 0
    command, rest = found
    return COMMANDS[command](home, rest)


def told(work):
    """The exit status of some work; what goes wrong in it is told."""
    try:
        return work()
    except Refusal as refusal:
        say(refusal)
        return refusal.status
    except OSError as error:
        say(": ".join(str(text) for text in (error.filename, error.strerror) if text))
        # Python would try once more to write what could not be written.
        os._exit(OWN_FAILURE)
