"""`pymalloc doctor`: is the library loaded, do Python's objects come from it, and if not what mends it.

Owns: the command line, which processes are looked at, and how it is told. What must hold: nothing of them is changed. The exit status is 0 if there is
no problem, 1 if there is one, and 2 for a mistake in the call or a process that cannot be looked at.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

import environment as variables
import facts
import findings
import programs
from basics import Refusal, Speaker

WELL, ILL, MISTAKE = 0, 1, 2
# The number of the form of --json: it rises when a name goes or means something else.
FORMAT = 1
# Characters of a command line that are shown.
COMMAND = 80
# Processes that are named, of those that cannot be looked at.
NAMED = 5
# What is started to be looked at where no process is named.
WAITING = "import sys; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"


class Arguments(argparse.ArgumentParser):
    def error(self, message):
        raise Refusal(MISTAKE, f"{message} ({Speaker.name} --help)")


def parse(arguments):
    parser = Arguments(
        prog=Speaker.name,
        description="Tells of a process, and of all below it, whether it is on pymalloc; without a process, whether a Python started here would be.",
        epilog=f"Exit status: {WELL} if there is no problem, {ILL} if there is one, {MISTAKE} for a mistake or a process that cannot be looked at.",
        allow_abbrev=False,
    )
    parser.add_argument("pid", metavar="PID", type=int, nargs="*", help="a running process; its workers are looked at too")
    parser.add_argument("--json", action="store_true", help="as a JSON object, for programs")
    parser.add_argument("--python", metavar="PATH", help="without a process: the Python to start (default: the one that pymalloc is installed for, or python3 of PATH)")
    options = parser.parse_args(arguments)
    if options.pid and options.python:
        parser.error("--python goes with no process")
    if any(pid < 1 for pid in options.pid):
        parser.error("a process has a number above 0")
    return options


# --- What is looked at


class Report:
    """What was found of each process, and of the machine."""

    def __init__(self):
        self.examined = []
        # {process: finding}, for those that cannot be looked at.
        self.unreadable = {}
        self.machine = list(findings.of_machine())

    def look(self, pid, home, asked=None):
        """Looks at one, maybe below a program that was asked about; gives its program. Those below that end meanwhile are left out."""
        try:
            process = facts.Process(pid)
            self.examined.append(findings.Examined(process, home, asked))
            return process.exe
        except facts.Unreadable as unreadable:
            if not asked or not unreadable.gone:
                self.unreadable[pid] = findings.of_unreadable(pid, unreadable)
            return None

    def all_findings(self):
        return [*self.machine, *self.unreadable.values(), *(finding for seen in self.examined for finding in seen.findings)]

    def count(self, level):
        return sum(finding.level == level for finding in self.all_findings())

    def status(self):
        return MISTAKE if self.unreadable else ILL if self.count("problem") else WELL


def look_at_families(report, pids, home):
    # Not this one, where it was started by what it looks at.
    seen = {os.getpid()}
    for pid in pids:
        asked = None
        for member in facts.family(pid):
            if member not in seen:
                seen.add(member)
                program = report.look(member, home, asked)
                asked = asked or program


def look_here(report, python, home):
    """Starts a Python as `pymalloc run` would, and looks at it."""
    environment = variables.callers()
    try:
        program = programs.find(python or home.python or shutil.which("python3") or sys.executable)
        library, elf = programs.find_library(None, home)
        programs.check(program, ["-c", WAITING], library, elf)
        environment.update(variables.variables(environment, [library]))
    except Refusal as refusal:
        report.machine.append(findings.of_refusal(refusal))
        return
    process = subprocess.Popen([program, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    with process:
        process.stdout.read(1)
        report.look(process.pid, home)
        process.stdin.close()


# --- What is told


def lines(report):
    for finding in report.machine:
        yield from two_lines(finding, "")
    for seen in report.examined:
        yield f"process {seen.process.pid}: {printable(seen.process.command)[:COMMAND]}"
        for finding in seen.findings:
            yield from two_lines(finding, "  ")
    first, *others = report.unreadable.values() or [None]
    if first:
        yield from two_lines(first, "")
    if others:
        yield f"{'':<8} nor may {len(others)} other{'s' if len(others) > 1 else ''}, among these {', '.join(map(str, [*report.unreadable][1 : 1 + NAMED]))}"
    yield summary(report)


def two_lines(finding, indent):
    level = "ok" if finding.level == "note" and not finding.mend else finding.level
    yield f"{indent}{level:<8} {printable(finding.text)}"
    if finding.mend:
        yield f"{indent}{'':<8} -> {printable(finding.mend)}"


def summary(report):
    count = len(report.examined)
    loaded = sum(seen.path is not None for seen in report.examined)
    pythons = [seen for seen in report.examined if seen.python is not None]
    text = f"{count} process{'es' if count != 1 else ''}, {loaded} on pymalloc"
    if pythons:
        text += f"; Python's objects in {sum(bool(seen.objects()) for seen in pythons)} of {len(pythons)}"
    return f"{text}; problems: {report.count('problem')}, warnings: {report.count('warning')}"


def printable(text):
    """What a process says of itself is no more than a text."""
    return "".join(character if character.isprintable() else "?" for character in text)


def as_object(report):
    def plain(finding):
        return {"level": finding.level, "name": finding.name, "text": finding.text, "mend": finding.mend}

    return {
        "format": FORMAT,
        "status": report.status(),
        "machine": [plain(finding) for finding in report.machine],
        "processes": [
            {
                "pid": seen.process.pid,
                "parent": seen.process.parent,
                "command": seen.process.command,
                "library": seen.path,
                "version": seen.version,
                "python": seen.python,
                "objects": seen.objects(),
                "findings": [plain(finding) for finding in seen.findings],
            }
            for seen in report.examined
        ],
        "unreadable": [{"pid": pid, **plain(finding)} for pid, finding in report.unreadable.items()],
    }


def main(home, arguments):
    options = parse(arguments)
    report = Report()
    if options.pid:
        look_at_families(report, options.pid, home)
    else:
        look_here(report, options.python, home)
    if options.json:
        print(json.dumps(as_object(report)), flush=True)
    else:
        print(*lines(report), sep="\n", flush=True)
    return report.status()
