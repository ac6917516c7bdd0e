"""Which CPythons there are on this machine.

Owns the search: pyenv's versions, everything on PATH that is called python3 or python3.X, and what $PYTHON names.

What must always hold: one interpreter for each X.Y, a released CPython with the GIL and without debugging, never a virtual
environment's copy of one.
"""

import functools
import glob
import json
import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

OLDEST_SUPPORTED = (3, 8)
# Seconds, for a program that may turn out to be anything.
PROBE_LIMIT = 20

# Must also run on what turns out to be too old. Of a virtual environment the Python that it was made from counts.
PROBE = """
import json, sys, sysconfig
print(json.dumps({
    "usable": sys.implementation.name == "cpython" and sys.version_info[3] == "final"
        and not sysconfig.get_config_var("Py_GIL_DISABLED") and not sysconfig.get_config_var("Py_DEBUG"),
    "release": "%d.%d.%d" % sys.version_info[:3],
    "path": getattr(sys, "_base_executable", sys.executable)}))
"""


class Interpreter(NamedTuple):
    version: str  # "3.13"
    path: str
    release: str  # "3.13.0"


def numbers(version):
    return tuple(map(int, version.split(".")))


def _candidates():
    """Paths of everything that may be a CPython, without pyenv's shims: their Pythons come from its versions."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    if shutil.which("pyenv"):
        pyenv = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip() or pyenv
    yield from glob.glob(os.path.join(glob.escape(pyenv), "versions", "*", "bin", "python3"))
    for folder in [*os.get_exec_path(), "/usr/local/bin", "/usr/bin"]:
        if folder != os.path.join(pyenv, "shims"):
            for path in glob.glob(os.path.join(glob.escape(folder), "python3*")):
                if re.fullmatch(r"python3(\.\d+)?", os.path.basename(path)):
                    yield path


def _probe(path):
    """The interpreter at `path`, or None when it cannot be used."""
    try:
        found = subprocess.run([path, "-I", "-S", "-c", PROBE], capture_output=True, text=True, timeout=PROBE_LIMIT)
        facts = json.loads(found.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    if not facts["usable"] or numbers(facts["release"]) < OLDEST_SUPPORTED:
        return None
    version = ".".join(facts["release"].split(".")[:2])
    return Interpreter(version, os.path.realpath(facts["path"]), facts["release"])


@functools.lru_cache(maxsize=None)
def interpreters():
    """One CPython for each X.Y that is found, the newest of its releases or the one that $PYTHON names; oldest first."""
    found = {}
    for path in sorted({os.path.realpath(path) for path in _candidates()}):
        interpreter = _probe(path)
        if interpreter:
            known = found.get(interpreter.version)
            if not known or numbers(known.release) < numbers(interpreter.release):
                found[interpreter.version] = interpreter
    named = os.environ.get("PYTHON")
    if named:
        interpreter = _named(named, found)
        found[interpreter.version] = interpreter
    return sorted(found.values(), key=lambda interpreter: numbers(interpreter.version))


def _named(name, found):
    """The interpreter that a name or path stands for. That of a version which pyenv has but does not show at present (its shim
    fails then), or which is not on PATH, stands for the one found."""
    path = shutil.which(name)
    interpreter = (path and _probe(path)) or found.get(name.removeprefix("python"))
    if not interpreter and not path:
        sys.exit(f"PYTHON={name}: there is no such program")
    if not interpreter:
        sys.exit(f"PYTHON={name} is not a released CPython, {'.'.join(map(str, OLDEST_SUPPORTED))} or newer, with the GIL")
    return interpreter


def named(name):
    """The interpreter of `interpreters()` that $PYTHON, which is `name`, stands for."""
    found = {interpreter.version: interpreter for interpreter in interpreters()}
    return _named(name, found)
