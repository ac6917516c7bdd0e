"""`python -m pymalloc app.py`: the Python that runs already, begun anew on the library.

Owns: what of Python's command line is repeated. What must hold: it is the same process, with the same Python, its own options, the same arguments and
descriptors; it starts on pymalloc or not at all, unless it is asked for that pymalloc be off.
"""

import os
import sys

import commands
import environment as variables
import programs
import running
from basics import OWN_FAILURE, Refusal, Speaker

HELP = """\
Usage: python [option...] -m pymalloc [option...] FILE.py | -m MODULE | -c COMMAND [ARGUMENT...]
       python -m pymalloc run | doctor | watch | heapmap ...

Starts Python once more, in this process and with the same options, on pymalloc, and runs what follows as it would without `-m pymalloc`.
A first word that is the name of a command of `pymalloc` is that command: write ./run for a program of that name.
"""


def original():
    """The command line of this Python: its name and options come before what it runs."""
    if hasattr(sys, "orig_argv"):  # from Python 3.10 on
        return list(sys.orig_argv)
    with open("/proc/self/cmdline", "rb") as file:
        return [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]


def repeated(words, arguments):
    """Its command line without `-m pymalloc`: `words` is the whole of it, `arguments` what follows the name of the module."""
    before = words[: len(words) - len(arguments)]
    module = before.pop()
    # Both forms may have other options in front, as in `python -Bm pymalloc` and `python -Bmpymalloc`.
    option = before.pop() if module == "pymalloc" and len(before) > 1 else module[: -len("pymalloc")]
    if not module.endswith("pymalloc") or not (option.startswith("-") and option.endswith("m")):
        raise Refusal(OWN_FAILURE, f"it cannot be told from {' '.join(words)!r} what Python was called with")
    others = [option[:-1]] if option[:-1] != "-" else []
    return [*before, *others, *arguments]


def start(home, arguments):
    """Becomes Python on the library."""
    environment = variables.callers()
    command = repeated(original(), arguments)
    if variables.is_off(environment):
        variables.take_off(environment)
    else:
        library, elf = programs.find_library(None, home)
        programs.check(sys.executable, command[1:], library, elf)
        changed = variables.variables(environment, [library])
        variables.tell_of_python(changed["PYTHONMALLOC"], sys.executable, command[1:])
        environment.update(changed)
    running.execute(sys.executable, command, environment)


def main(home, arguments):
    """Gives the exit status of what is no start."""
    Speaker.name = "python -m pymalloc"
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(HELP, end="", flush=True)
        return 0
    if arguments[0] in commands.COMMANDS or arguments[0] in ("--version", "-V"):
        return commands.main(home, "pymalloc", arguments)
    return commands.told(lambda: start(home, arguments))
