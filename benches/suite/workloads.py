"""The workloads that there are, and what makes each ready to run.

Owns the reading of the definition files (benches/c/workloads.toml, benches/python/bodies.toml, benches/memory/scenarios.toml) and
the command line of every workload. What must hold: a workload that cannot be made ready is left out with its reason, and no other
with it.
"""

import os
from typing import NamedTuple, Optional

from . import build, groups, machine
from .places import read_toml


# What runs a memory scenario and measures it meanwhile: one of its programs.
SAMPLER = "sample"


class Sources(NamedTuple):
    """Where workloads and allocators come from. The modules are scripts/allocators.py and benches/python/bodies.py."""

    benches: str
    built: str
    allocators: object
    bodies: object


class Workload(NamedTuple):
    group: str
    key: str
    entry: dict  # of the definition file
    interpreter: Optional[object]  # that it runs on, one of bodies.interpreters()


def every(sources, newest, others):
    """All workloads in the order in which they run: all of them on the newest CPython, a broad choice on the others."""
    c, bodies, scenarios = (
        read_toml(os.path.join(sources.benches, *path))
        for path in [("c", "workloads.toml"), ("python", "bodies.toml"), ("memory", "scenarios.toml")]
    )
    found = [(group, entry, None) for group in ("c1", "cn") for entry in c["workload"] if group in entry["groups"]]
    found += [("latency", entry, None) for entry in c["workload"] if "latency" in entry["groups"]]
    found += [(group, entry, None) for group in groups.ON_REQUEST for entry in c["workload"] if "cn" in entry["groups"]]
    found += [(groups.of_python(newest), body, newest) for body in bodies["body"]]
    found += [("memory", entry, newest if entry["program"].endswith(".py") else None) for entry in scenarios["scenario"]]
    found += [(groups.of_python(other), body, other) for other in others for body in bodies["body"] if body.get("broad")]
    return [Workload(group, entry["key"], entry, interpreter) for group, entry, interpreter in found]


def launcher(sources):
    directory = os.path.join(sources.benches, "c")
    return build.launcher(directory, _flags(sources), sources.built)


def prepare(workloads, sources, quick):
    """Makes the workloads of one group ready: their command lines by key, and why the others are left out, by key."""
    group, interpreter = workloads[0].group, workloads[0].interpreter
    if group not in ("c1", "cn", "latency", "memory", *groups.ON_REQUEST):
        left_out = sources.bodies.prepare(interpreter, [workload.entry for workload in workloads])
        ready = [each for each in workloads if each.key not in left_out]
        return {each.key: sources.bodies.command(interpreter, each.entry, quick) for each in ready}, left_out
    part, sampled = ("memory", [SAMPLER]) if group == "memory" else ("c", [])
    # Each part has a place of its own, since programs of different parts may have the same name.
    directory, built = os.path.join(sources.benches, part), os.path.join(sources.built, part)
    needed = {each.key: sampled + ([] if each.interpreter else [_program(each)]) for each in workloads}
    reasons = build.programs(directory, sorted(set(sum(needed.values(), []))), _flags(sources), built)
    threads = groups.ON_REQUEST.get(group, machine.cores() if group == "cn" else 1)
    commands, left_out = {}, {}
    for workload in workloads:
        reason = next((f"{program} {reasons[program]}" for program in needed[workload.key] if program in reasons), None)
        if reason:
            left_out[workload.key] = reason
            continue
        command = [os.path.join(built, program) for program in needed[workload.key]]
        if workload.interpreter:
            command += [workload.interpreter.path, os.path.join(directory, workload.entry["program"])]
        arguments = workload.entry["quick" if quick else "arguments"]
        if group in groups.ON_REQUEST:
            arguments = _of_all(arguments, threads)
        commands[workload.key] = command + [argument.replace("{threads}", str(threads)) for argument in arguments]
    return commands, left_out


def _of_all(arguments, threads):
    """With more threads than cores each does less, so that all together do what the threads of cn do."""
    *others, rounds = arguments
    return [*others, str(max(1, int(rounds) * machine.cores() // threads))]


def _flags(sources):
    return read_toml(os.path.join(sources.benches, "c", "workloads.toml"))["flags"]


def _program(workload):
    """The name of a workload's source, without its suffix."""
    return os.path.splitext(workload.entry.get("program", workload.key))[0]
