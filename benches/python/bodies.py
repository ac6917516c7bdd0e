#!/usr/bin/env python3
"""The CPython workloads: which there are, and the command that runs one of them once.

What it is: pyperformance's own bodies, chosen in bodies.toml, each run in a fresh process by body.py in the virtual
environment of its interpreter (environments.py).

What must always hold: a body that cannot be installed or does not run is left out with its reason and takes nothing else
with it.
"""

import argparse
import os
import signal
import sys

try:
    import tomllib
except ImportError:
    try:
        import tomli as tomllib
    except ImportError:
        sys.exit("bodies.py: needs Python 3.11 or newer, or the package tomli")

from environments import BENCHMARKS, Environment, Failure, run
from pythons import interpreters, named, numbers

HERE = os.path.dirname(os.path.abspath(__file__))

# A quick run does this part of a body's loops.
QUICK_PART = 4
# Seconds, far more than the slowest body's one loop takes.
TRIAL_LIMIT = 60


def load():
    """The bodies, in the order of bodies.toml."""
    with open(os.path.join(HERE, "bodies.toml"), "rb") as file:
        return tomllib.load(file)["body"]


def plan():
    """Each interpreter with its bodies: all of them for the newest, the broad ones for the others."""
    found = interpreters()
    return [(interpreter, [body for body in load() if body.get("broad") or interpreter == found[-1]])
            for interpreter in found]


def _argv(environment, body, loops):
    script = os.path.join(HERE, body["module"] + ".py")
    if not os.path.exists(script):
        script = os.path.join(BENCHMARKS, body["module"], "run_benchmark.py")
    return [environment.python, os.path.join(HERE, "body.py"), BENCHMARKS, script, str(loops), *body.get("arguments", [])]


def command(interpreter, body, quick):
    """What runs `body` once: a process that prints {"seconds": S} as its last line and exits 0, or fails."""
    return _argv(Environment(interpreter), body, max(1, body["loops"] // QUICK_PART) if quick else body["loops"])


def _too_old(interpreter, body):
    oldest = body.get("python", ">=3.8").removeprefix(">=")
    return f"needs CPython {oldest}" if numbers(interpreter.version) < numbers(oldest) else None


def _try(environment, body, failed):
    """Why the body does not run here, or None. Running it also writes the bytecode that the measured processes then find."""
    for need in body.get("needs", []):
        if need in failed:
            return failed[need]
    try:
        run(_argv(environment, body, 1), TRIAL_LIMIT)
    except Failure as failure:
        return f"does not run: {failure}"
    return None


def prepare(interpreter, bodies):
    """Makes everything ready that `command` needs. The bodies that are left out, by key, each with the reason in a line."""
    environment = Environment(interpreter)
    left_out = {body["key"]: _too_old(interpreter, body) for body in bodies if _too_old(interpreter, body)}
    todo = [body for body in bodies if body["key"] not in left_out and not environment.has(body)]
    if not todo:
        return left_out
    print(f"CPython {interpreter.release}: making {len(todo)} of {len(bodies)} bodies ready in "
          f"{os.path.relpath(environment.folder)}", flush=True)
    try:
        environment.make()
        failed = environment.install(list(dict.fromkeys(need for body in todo for need in body.get("needs", []))))
        for body in todo:
            reason = _try(environment, body, failed)
            if reason:
                left_out[body["key"]] = reason
            else:
                environment.add(body)
        environment.write(left_out)
    except (Failure, OSError) as failure:
        left_out.update((body["key"], str(failure)) for body in todo)
    return left_out


def _show(prepared):
    """Prints the interpreters and the bodies; what is left out is as just prepared, or as it was when that was last done."""
    print("Interpreters; the newest runs every body, the others those marked *:")
    for interpreter, bodies in plan():
        environment = Environment(interpreter)
        ready = sum(environment.has(body) for body in bodies)
        print(f"  {interpreter.release:8} {interpreter.path}, {ready} of {len(bodies)} bodies ready")
        left_out = prepared.get(interpreter.version, environment.left_out)
        for reason in dict.fromkeys(left_out.values()):
            keys = [key for key in left_out if left_out[key] == reason]
            print(f"           left out: {', '.join(keys) if len(keys) < len(bodies) else 'all'}: {reason}")
    print("Bodies:")
    for body in load():
        print(f"  {'*' if body.get('broad') else ' '} {body['key']:20} {body['title']}")


def main():
    # What reads the list may have seen enough.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description="The CPython workloads of the benchmarks.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="the interpreters found, the bodies, and what is left out")
    action.add_argument("--prepare", action="store_true", help="make every body ready on every interpreter, then list")
    options = parser.parse_args()
    if not interpreters():
        sys.exit("bodies.py: found no CPython 3.8 or newer")
    _show({interpreter.version: prepare(interpreter, bodies) for interpreter, bodies in plan()} if options.prepare else {})


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
