"""The command line: `python -m suite run ...` and `python -m suite check BASE [NEW]`, which scripts/bench calls.

Owns the options, and that the peers are installed. What must hold: what a person got wrong, and what the machine refuses, is told
in one line, with exit status 2.
"""

import argparse
import os
import subprocess
import sys

from . import plan
from .places import INTERRUPTED, ROOT, TARGET, Output, Stop

OUTPUT = os.path.join(TARGET, "bench")
PAGE = os.path.join(ROOT, "docs", "benchmarks.md")


def _names(text):
    return tuple(dict.fromkeys(name for name in text.replace(",", " ").split()))


def _rounds(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of rounds, 1 or more")
    return int(text)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Stop(f"{message} (--help lists the options)")


def _parser():
    parser = _Parser(prog="bench", description="pymalloc beside its peers.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and write RESULT.json and report.html")
    names = {"type": _names, "default": (), "metavar": "NAMES"}
    run.add_argument("--only", **names, help="these workloads and groups (c1, cn, latency, py3.13, memory; c4, c16, c64: cn with so many threads)")
    run.add_argument("--allocators", **names, help="these allocators, and what the ratios are to")
    run.add_argument("--python", metavar="PROGRAM", help="this CPython alone")
    run.add_argument("--rounds", type=_rounds, metavar="N", help="so many of each")
    run.add_argument("--quick", action="store_true", help="short workloads, one round, one CPython: a look in three minutes")
    run.add_argument("--fresh", action="store_true", help="start anew where a run was interrupted")
    run.add_argument("--docs", action="store_true", help="write the tables of docs/benchmarks.md too")
    run.add_argument("--output", default=OUTPUT, metavar="DIRECTORY", help="where results go")
    check = commands.add_parser("check", help="what got slower or bigger than in an older result; exit status 1 if anything did")
    check.add_argument("base", help="the older RESULT.json")
    check.add_argument("new", nargs="?", default=Output(OUTPUT).result, help="the newer one (the last run's)")
    return parser


def _run(arguments):
    # What a measurement imports is not there where only a check is asked for.
    sys.path[:0] = [os.path.join(ROOT, "scripts"), os.path.join(ROOT, "benches", "python")]
    import allocators
    import bodies

    from . import bench, workloads

    if arguments.python:
        # What bodies.py looks at.
        os.environ["PYTHON"] = arguments.python
    # What is built here and what CPython brings need no installing.
    if not arguments.allocators or set(arguments.allocators) & set(allocators.PEERS):
        subprocess.run([os.path.join(ROOT, "scripts", "install-peers")])
    options = plan.Options(arguments.only, arguments.allocators, arguments.python, arguments.rounds, arguments.quick)
    settings = bench.Settings(Output(arguments.output), arguments.fresh, PAGE if arguments.docs else None)
    sources = workloads.Sources(os.path.join(ROOT, "benches"), os.path.join(TARGET, "benches"), allocators, bodies)
    return bench.bench(options, settings, sources)


def main():
    try:
        arguments = _parser().parse_args()
        if arguments.command == "run":
            return _run(arguments)
        from . import check

        return check.check(arguments.base, arguments.new)
    except Stop as stop:
        print(f"bench: {stop}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # Before the first run there is nothing to keep.
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
