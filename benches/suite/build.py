"""The C and C++ programs of the benchmarks, compiled.

Owns the compilers' command lines and what is up to date. What must hold: a program that does not compile is left out with the
reason, and what is there was made of the sources as they are now.
"""

import concurrent.futures
import glob
import os
import subprocess

from .places import Stop, reason

COMPILERS = {".c": [os.environ.get("CC") or "cc", "-std=gnu11"], ".cpp": [os.environ.get("CXX") or "c++", "-std=c++17"]}
OPTIONS = ["-O2", "-pthread"]


def compiler():
    return COMPILERS[".c"][0]


def programs(directory, keys, flags, built):
    """Compiles the programs KEY.c or KEY.cpp of a directory into the directory `built`; {key: why it is left out}."""
    os.makedirs(built, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = pool.map(lambda key: _compile(directory, key, flags, built), keys)
        return {key: said for key, said in zip(keys, reasons) if said}


def launcher(directory, flags, built):
    left_out = programs(directory, ["launch"], flags, built)
    if left_out:
        raise Stop(f"the launcher {left_out['launch']}")
    return os.path.join(built, "launch")


def _compile(directory, key, flags, built):
    paths = [(os.path.join(directory, key + suffix), command) for suffix, command in COMPILERS.items()]
    path, command = next(((path, command) for path, command in paths if os.path.exists(path)), (None, None))
    if path is None:
        return "has no source"
    program = os.path.join(built, key)
    # Headers are shared, and the flags are in a .toml.
    inputs = [path, *glob.glob(os.path.join(directory, "*.h")), *glob.glob(os.path.join(directory, "*.toml"))]
    if os.path.exists(program) and os.path.getmtime(program) > max(map(os.path.getmtime, inputs)):
        return None
    beside = program + ".new"
    try:
        compiled = [*command, *OPTIONS, *flags, path, "-o", beside]
        subprocess.run(compiled, capture_output=True, text=True, errors="replace", check=True)
        os.replace(beside, program)
    except OSError as error:
        return f"cannot be compiled: {error.filename}: {reason(error)}"
    except subprocess.CalledProcessError as error:
        return "does not compile: " + next((line for line in error.stderr.splitlines() if "error" in line), "no message")
    return None
