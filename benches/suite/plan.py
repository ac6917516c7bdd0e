"""What is to be run: which workloads, on which allocators each, how many rounds, and in what order.

Owns the choice (ONLY, ALLOC, PYTHON, ROUNDS, QUICK). What must hold: the allocators of one workload and round stand next to each
other, and none has the same place among them in every round; a name that is not there is told with those that are.
"""

import glob
import hashlib
import os
from typing import NamedTuple, Optional

from . import workloads
from .groups import ON_REQUEST, baseline_of, of_python
from .places import Stop

OURS = "pymalloc"
# The rounds of a group unless ROUNDS is given. Times need as many for an interval; memory hardly varies, and only where it is
# asked for alone is there time to show so.
ROUNDS = 5
MEMORY_ROUNDS = 1
MEMORY_ALONE_ROUNDS = 3
QUICK_ROUNDS = 1
# What the CPythons other than the newest run on: they are there to show that little depends on the version.
ON_OTHERS = (OURS, "own", "mimalloc3")


class Options(NamedTuple):
    only: tuple = ()
    allocators: tuple = ()
    python: Optional[str] = None
    rounds: Optional[int] = None
    quick: bool = False


class Item(NamedTuple):
    """A workload with all that its runs need."""

    group: str
    key: str
    title: str
    after: str
    command: list
    on_python: bool
    allocators: list  # of keys


class Step(NamedTuple):
    """One run."""

    round: int
    item: Item
    allocator: str

    @property
    def row(self):
        """What it is one of the rounds of."""
        return self.item.group, self.item.key, self.allocator


class Plan(NamedTuple):
    items: list
    allocators: dict  # by key, in the order of the tables
    missing: list  # of {"key", "reason"}
    pythons: dict  # the releases of the CPythons by version
    rounds: dict  # by group
    optional: list  # groups to leave out for want of time, the last one first
    identity: dict  # what two runs must have in common to be one

    def steps(self):
        return [
            Step(number, item, allocator)
            for number in range(1, max(self.rounds.values()) + 1)
            for place, item in enumerate(self.items)
            if number <= self.rounds[item.group]
            for allocator in _rotated(item.allocators, number + place)
        ]

    def environment(self, step):
        allocator = self.allocators[step.allocator]
        preload = "BENCH_PRELOAD"
        return allocator.python_environment(preload) if step.item.on_python else allocator.environment(preload)


def _rotated(keys, by):
    by %= len(keys)
    return keys[by:] + keys[:by]


def make(options, sources, say):
    """Makes all that is chosen ready, and returns the plan of it."""
    interpreters = _interpreters(options, sources)
    newest = interpreters[-1]
    others = [] if options.quick else interpreters[-2::-1]
    every = workloads.every(sources, newest, others)
    groups, keys = (list(dict.fromkeys(names)) for names in ((each.group for each in every), (each.key for each in every)))
    _refuse_unknown("workload or group", options.only, [*groups, *keys])
    chosen = choose(every, options)
    groups = list(dict.fromkeys(each.group for each in chosen))

    compared, missing = sources.allocators.compared()
    # In the order of the tables, and with CPython's own.
    table = {each.key: each for each in sources.allocators.for_python(compared, _numbers(newest))}
    missing = [{"key": key, "reason": reason} for key, reason in missing]
    if OURS not in table:
        raise Stop(next(f"{OURS}: {entry['reason']}" for entry in missing if entry["key"] == OURS))
    wanted = [*table, *(entry["key"] for entry in missing)]
    if options.allocators:
        wanted = _wanted(options.allocators, groups, wanted, say)

    def runs_on(workload):
        keys = [each.key for each in compared]
        if workload.interpreter:
            keys = [each.key for each in sources.allocators.for_python(compared, _numbers(workload.interpreter))]
        return [key for key in keys if key in wanted and (workload.interpreter not in others or key in ON_OTHERS)]

    items, left_out = [], []
    for group in groups:
        of_group = [each for each in chosen if each.group == group and runs_on(each)]
        commands, reasons = workloads.prepare(of_group, sources, options.quick) if of_group else ({}, {})
        left_out += [{"key": f"{key} ({group})", "reason": reason} for key, reason in reasons.items()]
        items += [
            Item(
                group, each.key, each.entry["title"], each.entry.get("after", ""), commands[each.key], bool(each.interpreter),
                runs_on(each),
            )
            for each in of_group
            if each.key in commands
        ]
    missing = [entry for entry in missing if entry["key"] in wanted] + left_out
    if not items:
        raise Stop("nothing can be run: " + "; ".join(f"{entry['key']}: {entry['reason']}" for entry in missing))
    groups = list(dict.fromkeys(item.group for item in items))
    pythons = {each.version: each.release for each in interpreters if each == newest or of_python(each) in groups}
    return Plan(
        items=items,
        allocators={key: each for key, each in table.items() if any(key in item.allocators for item in items)},
        missing=missing,
        pythons=pythons,
        rounds={group: _rounds(options, group, groups) for group in groups},
        optional=[] if options.only or options.rounds else [group for group in map(of_python, others) if group in groups],
        identity=_identity(options, sources, table, pythons, items),
    )


def choose(every, options):
    """Those of the workloads that are to run."""
    usual = [each for each in every if each.group not in ON_REQUEST]
    if options.only:
        return [each for each in every if each.group in options.only or each in usual and each.key in options.only]
    if options.quick:
        return [each for each in usual if not each.group.startswith("py") or each.entry.get("broad")]
    return usual


def _numbers(interpreter):
    """Its version as allocators.for_python takes it."""
    return tuple(map(int, interpreter.version.split(".")))


def _interpreters(options, sources):
    """The CPythons, oldest first, or the one that is named."""
    found = [sources.bodies.named(options.python)] if options.python else sources.bodies.interpreters()
    if not found:
        raise Stop("there is no CPython to measure")
    return found


def _refuse_unknown(what, named, known):
    unknown = [name for name in named if name not in known]
    if unknown:
        raise Stop(f"no {what} is called {' or '.join(unknown)}; there are {', '.join(known)}")


def _wanted(named, groups, known, say):
    """The keys of the allocators that are named, and of those that the ratios need."""
    _refuse_unknown("allocator", named, known)
    added = [key for key in dict.fromkeys(map(baseline_of, groups)) if key not in named]
    if added:
        say(f"Measured as well, since the ratios are to it: {', '.join(added)}")
    return [*named, *added]


def _rounds(options, group, groups):
    if options.rounds:
        return options.rounds
    if options.quick:
        return QUICK_ROUNDS
    if group == "memory":
        return MEMORY_ALONE_ROUNDS if groups == ["memory"] else MEMORY_ROUNDS
    return ROUNDS


def _identity(options, sources, table, pythons, items):
    """By name: what is told to a person when it differs."""
    library = table[OURS].path
    files = [path for part in ("c", "python", "memory") for path in sorted(glob.glob(os.path.join(sources.benches, part, "*.*")))]
    return {
        "options": options._asdict(),
        "library": _hash([library]),
        "allocators": [list(allocator) for allocator in table.values()],
        "CPythons": pythons,
        "workloads": [_hash(files), [list(item) for item in items]],
    }


def _hash(paths):
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
