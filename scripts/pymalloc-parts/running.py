"""`pymalloc run`: a command on the library.

Owns: its command line, and the order of what is done. What must hold: the command starts on pymalloc or not at all, unless it is asked for that
pymalloc be off.
"""

import argparse
import errno
import functools
import os
import re

import environment as variables
import programs
from basics import CANNOT_RUN, NOT_FOUND, OWN_FAILURE, Refusal, Speaker, restore_signals

# Seconds from one snapshot to the next.
EVERY = 1.0


# --- What the caller gave


class Arguments(argparse.ArgumentParser):
    def print_help(self, file=None):
        print(self.format_help(), end="", flush=True)

    def error(self, message):
        raise Refusal(OWN_FAILURE, f"{message} ({Speaker.name} --help)")


def setting(text):
    if not re.fullmatch("[a-z_]+=[^,]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return text


def seconds(text):
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0.001 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.001 to 1000000")
    return number


def parser():
    parser = Arguments(
        prog=Speaker.name,
        usage=f"{Speaker.name} [options] [--] COMMAND [ARGUMENT...]",
        description="Starts a command, and all that it starts, on pymalloc; of a Python program the objects too.",
        epilog=f"Exit status: that of the command; {OWN_FAILURE} for a mistake in the call or a missing library, {CANNOT_RUN} for a "
        f"command that cannot be run, or not on pymalloc, {NOT_FOUND} for one that is not there.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--stats", action="store_true", help="tell of each process of the command on stderr when that ends: how it ended, time, memory; the tables of the largest")
    add("--heapmap", metavar="FILE.html", help="draw the heaps of all processes started, over time, as a page for a browser; snapshots are in FILE.html.partial meanwhile")
    add("--every", metavar="SECONDS", type=seconds, help=f"from one snapshot of the page to the next (default: {EVERY:g})")
    add("--watch", action="store_true", help="show the heap live in this terminal, as the command's parent; the output of the command goes to a file")
    add("--conf", metavar="KEY=VALUE", type=setting, action="append", default=[], help="a setting, as resident_budget=16m (docs/settings.md); repeatable")
    add("--no-deepbind", action="store_true", help="take RTLD_DEEPBIND from all that the command opens; done unasked for PHP")
    add("--off", action="store_true", help="start the command without pymalloc, whatever else is asked for; PYMALLOC_CONF=off does the same")
    add("--library", metavar="PATH", help="the libpymalloc.so to use instead of the one that belongs to this program")
    add("--print", action="store_true", help="start nothing; print the variables that would be set, for other tools")
    add("--version", action="store_true", help="print the version of the library and where it is")
    add("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def parse(arguments):
    given = parser()
    options = given.parse_args(arguments)
    if options.command[:1] == ["--"]:
        del options.command[0]
    if options.every and not options.heapmap:
        given.error("--every goes with --heapmap")
    if not (options.command or options.print or options.version):
        given.error("there is no command")
    if options.print and (options.heapmap or options.watch):
        given.error("--print starts nothing that could be drawn or watched")
    return options


# --- Running


def execute(path, command, environment):
    """Becomes the command."""
    try:
        try:
            os.execve(path, command, environment)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a first line that names what runs it.
            os.execve("/bin/sh", ["sh", path, *command[1:]], environment)
    except OSError as error:
        raise Refusal(NOT_FOUND if error.errno == errno.ENOENT else CANNOT_RUN, f"{command[0]}: {error.strerror}") from None


def launch(stats, heap_map, command, environment):
    """Becomes the command, with a collector beside it if there is something to collect."""
    if stats or heap_map:
        import beside

        environment.update(variables.configuration(environment, beside.start(stats, heap_map)))
    execute(*command, environment)


def run(options, command, environment, home, library):
    """Becomes the command, or stays above it where that must be; then gives the exit status."""
    import drawing
    import supervising

    watch = supervising.Watch(home) if options.watch else None
    heap_map, settings = drawing.prepare(options.heapmap, options.every or EVERY) if options.heapmap else (None, [])
    environment.update(variables.configuration(environment, [*settings, *options.conf]))
    become = functools.partial(launch, options.stats, heap_map, command, environment)
    if watch:
        return supervising.watch_it(watch, become, library)
    if os.getpid() == 1 and (options.stats or heap_map):
        return supervising.be_first_process(become)
    return become()


def print_lines(changed):
    print(*(f"{name}={value}" for name, value in changed.items()), sep="\n", flush=True)
    return 0


def run_without(options, command, environment):
    """Becomes the command as if this had not been here."""
    variables.take_off(environment)
    if options.print:
        return print_lines({"LD_PRELOAD": environment.get("LD_PRELOAD", "")})
    return execute(*command, environment)


def main(home, arguments):
    restore_signals()
    environment = variables.callers()
    options = parse(arguments)
    command = options.command and (programs.find(options.command[0]), options.command)
    if not options.version and (options.off or variables.is_off(environment)):
        return run_without(options, command, environment)
    library, elf = programs.find_library(options.library, home)
    if options.version:
        print(f"pymalloc {elf.version} ({library})", flush=True)
        return 0
    program, given = programs.check(command[0], options.command[1:], library, elf) if command else (None, [])
    in_front = programs.against_deepbind(options.no_deepbind, program, library)
    changed = variables.variables(environment, [*in_front, library])
    variables.tell_of_python(changed["PYTHONMALLOC"], program, given)
    if options.print:
        settings = [*(["stats_at_exit=1"] if options.stats else []), *options.conf]
        return print_lines({**changed, **variables.configuration(environment, settings)})
    environment.update(changed)
    return run(options, command, environment, home, library)
