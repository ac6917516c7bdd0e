"""What a run of the demo has found, in words: the table that `make demo` prints, and the text beside its picture.

Owns the form of docs/demo.json, a result as `demo.measure` makes it: `python`, `machine`, `work` (modules, bytes, passes), `rounds`, each with
seconds, peak and left of both allocators, and where the picture was made too, `waves`: for each allocator its points, [milliseconds, KiB resident].
What must hold: the same result makes the same text, whoever asks; every figure is of the result.
"""

import statistics

OWN, OURS, GLIBC = "CPython's own", "pymalloc", "glibc malloc"


def place(result):
    """Where it was run."""
    return f"CPython {result['python']} on {result['machine']}"


def work(result):
    """What was run, and how often."""
    done, rounds = result["work"], len(result["rounds"])
    return (
        f"A run parses, transforms, unparses and compiles {done['modules']} modules of the standard library ({done['bytes'] / 1e6:.1f} MB), "
        f"{done['passes']} times; {rounds} runs on each allocator, in turns."
    )


def table(result):
    """Medians, their ratio, and the ratios of the single rounds, line by line."""
    rounds = result["rounds"]
    lines = [f"{'':<34}{OWN:>16}{OURS:>13}{'ratio':>8}   of each round"]
    for title, key, unit, scale in [
        ("time, median", "seconds", "s", 1),
        ("peak resident memory", "peak", "MiB", 1 << 20),
        ("resident once the work is dropped", "left", "MiB", 1 << 20),
    ]:
        own, ours = (statistics.median(results[name][key] for results in rounds) / scale for name in (OWN, OURS))
        digits = 2 if unit == "s" else 1
        each = sorted(results[OURS][key] / results[OWN][key] for results in rounds)
        lines.append(
            f"{title:<34}{own:>12.{digits}f} {unit:<3}{ours:>9.{digits}f} {unit:<3}{ours / own:>8.2f}   {each[0]:.2f} to {each[-1]:.2f}"
        )
    return lines


def at_the_end(result, name):
    """MiB resident at the end of the picture's program."""
    return result["waves"][name][-1][1] / 1024


def picture_line(result):
    """What the picture shows, for those who do not see it."""
    most = max(size for _, size in result["waves"][OURS]) / 1024
    others = ", ".join(f"{at_the_end(result, name):.0f} on {name}" for name in (GLIBC, OWN))
    return (
        "Resident memory over time of a CPython program that builds and drops syntax trees three times: after each drop pymalloc's line alone comes down, "
        f"at last from {most:.0f} to {at_the_end(result, OURS):.0f} MiB; the same program ends at {others}"
    )
