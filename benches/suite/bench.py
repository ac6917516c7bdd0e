"""One `make bench`, from the choice to the report.

Owns RESULT.json: what is in it and that it is written however the run ends, an interrupt included. The same goes for the report.
"""

import datetime
import os
import signal
import subprocess
from typing import NamedTuple, Optional

from . import build, machine, measuring, plan, running, workloads
from .places import INTERRUPTED, ROOT, Output, Stop, reason
from .progress import duration, say
from .storing import Journal, write_json

FORMAT = 1


class Settings(NamedTuple):
    output: Output
    fresh: bool = False
    page: Optional[str] = None  # to write the tables into, its picture beside it
    limit: float = running.LIMIT


def bench(options, settings, sources):
    """The exit status."""
    began = _now()
    facts = machine.describe(build.compiler())
    made = plan.make(options, sources, say)
    runner = running.Runner(workloads.launcher(sources), settings.output.directory, settings.limit)
    journal = Journal(settings.output.runs, made.identity, began, settings.fresh)
    if journal.began:
        say(journal.began)
    rounds = ", ".join(f"{group} {number}" for group, number in made.rounds.items())
    say(f"{len(made.steps())} runs: {len(made.items)} workloads on up to {len(made.allocators)} allocators; rounds: {rounds}")
    interrupted = False
    # A run that is told to end does what it does at an interrupt from the keyboard.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measuring.measure(made, runner, journal)
        finished = _now()
    except KeyboardInterrupt:
        interrupted, finished = True, None
    result = _result(options, facts, made, journal, finished)
    write_json(settings.output.result, result)
    _show(result, settings)
    if finished:
        # Only now: had anything not been written, the same command would go on, and do that alone.
        journal.note(finished=finished)
    journal.close()
    if interrupted:
        say(f"Interrupted: {len(journal.runs)} runs are kept, and the same command goes on")
    say(f"{os.path.relpath(settings.output.report)}, {os.path.relpath(settings.output.result)}")
    return INTERRUPTED if interrupted else 0


def _now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _commit():
    asked = ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _result(options, facts, made, journal, finished):
    left_out = journal.notes.get("left_out", [])
    no_time = [{"key": group, "reason": f"no time for it in {duration(measuring.BUDGET)}"} for group in left_out]
    return {
        "format": FORMAT,
        "started": journal.started,
        "finished": finished,
        "quick": options.quick,
        "machine": facts,
        "commit": _commit(),
        "pythons": {version: release for version, release in made.pythons.items() if f"py{version}" not in left_out},
        "allocators": [{"key": allocator.key, "name": allocator.name} for allocator in made.allocators.values()],
        "missing": made.missing + no_time,
        "workloads": [
            {"key": item.key, "group": item.group, "title": item.title, "after": item.after}
            for item in made.items
            if item.group not in left_out
        ],
        "runs": journal.runs,
    }


def _show(result, settings):
    """To a person: as a page, and in short on the terminal."""
    # Here, since importing what draws takes a second and memory, while processes are measured.
    from . import report, terminal

    path = settings.output.report
    try:
        report.write(result, path)
        if settings.page and result["finished"]:
            path = settings.page
            report.write_page(result, path, os.path.splitext(path)[0] + ".svg")
    except (OSError, ValueError) as error:
        raise Stop(f"{os.path.relpath(path)}: {reason(error)}; {os.path.relpath(settings.output.result)} is written") from error
    terminal.show(result)
