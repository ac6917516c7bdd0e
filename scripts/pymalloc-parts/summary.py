"""What `pymalloc run --stats` shows: a line for each process, the total, and the tables of the largest.

Owns: nothing but the form. What must hold: what a process shows of itself is printable, and a line of it.
"""

import time

import growth

# Programs that are named as growing.
GROWING = 3
# As many processes get a line, and as many of them their table: the largest.
LINES = 200
TABLES = 8
# A process with less than this part of the largest one's peak has no table.
SMALL = 8
# Seconds before the last end within which the others were still there.
AT_THE_END = 1.0
# Columns of a command line.
COMMAND = 100
COLUMNS = "    pid  parent        up       peak   resident     in use  {:<{}}  command"


def mebibytes(count):
    return f"{count / (1 << 20):,.1f} MiB"


def duration(seconds):
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def ending(program):
    """How it ended, and how old its figures were by then."""
    how = program.how or "still running"
    if program.figures is None:
        return f"{how}, no figures"
    if program.status is None and program.how:
        return f"{how}, figures {duration(program.age())} old"
    return how


def command(program):
    """The command line without the folders of the program, and of the script that it runs."""
    words = program.command.split(" ")
    words[:2] = [word[word.rfind("/") + 1 :] or word for word in words[:2]]
    return " ".join(words)[:COMMAND]


def figures_of(program):
    if program.figures is None:
        return [""] * 3
    return [mebibytes(program.figures[name]) for name in ("peak", "resident", "in_use")]


def line(program, width):
    peak, resident, in_use = figures_of(program)
    return (
        f"{program.pid:7} {program.parent:7} {duration(program.up()):>9} {peak:>10} {resident:>10} {in_use:>10}"
        f"  {ending(program):<{width}}  {command(program)}"
    )


def total(programs, processes):
    """Of the processes, not of the programs that they ran one after the other."""
    last = {program.pid: program for program in programs if program.figures}.values()
    end = max(program.ended or time.time() for program in last)
    there = [program for program in last if program.ended is None or program.ended > end - AT_THE_END]
    sums = [sum(program.figures[name] for program in there) for name in ("resident", "in_use")]
    most = max([processes.most_together, *(program.figures["peak"] for program in last)])
    return f"{'together':>15} {'':>9} {mebibytes(most):>10} {mebibytes(sums[0]):>10} {mebibytes(sums[1]):>10}"


def peak(program):
    return program.figures["peak"] if program.figures else 0


def growing(programs):
    """A line for each of those that grew to their end, fastest first."""
    rates = {program: growth.rate(program.course) for program in programs}
    for program in sorted(filter(rates.get, rates), key=rates.get, reverse=True)[:GROWING]:
        rate = mebibytes(rates[program] * 60)
        yield f"What process {program.pid} had in use grew to the end, by {rate} a minute: a leak, or work that was not done yet."


def largest(programs, count):
    """So many of them, in their order."""
    chosen = sorted(programs, key=peak)[-count:]
    return [program for program in programs if program in chosen]


def make(processes, name):
    """All that is shown, as a text."""
    programs = processes.all_programs()
    if not programs:
        return f"{name}: no figures: none of the processes was on pymalloc\n"
    count = len({program.pid for program in programs}) + processes.left_out
    up = duration(max(program.ended or processes.last for program in programs) - processes.began)
    text = [f"{name}: {count} process{'es' if count != 1 else ''} in {up}, with the figures of the end of each, or the last that came"]
    text += growing(programs)
    shown = largest(programs, LINES)
    width = max(len(ending(program)) for program in shown)
    text.append(COLUMNS.format("ended", width))
    text += [line(program, width) for program in shown]
    if any(program.figures for program in programs):
        text.append(total(programs, processes) + ("  the most at one time, and what was there at the end" if count > 1 else ""))
    left_out = len(programs) + processes.left_out - len(shown)
    if left_out:
        text.append(f"{'':15} {left_out} smaller ones are left out")
    with_table = [program for program in programs if program.table]
    least = max(map(peak, programs)) / SMALL
    tables = largest([program for program in with_table if peak(program) >= least], TABLES)
    for program in tables:
        text += ["", f"pymalloc: statistics of process {program.pid} ({command(program)})"]
        text += program.table.splitlines()[1:]
    others = len(with_table) - len(tables)
    if others:
        text += ["", f"{name}: the table{'s' if others > 1 else ''} of {others} smaller process{'es are' if others > 1 else ' is'} left out"]
    return "\n".join(text) + "\n"
