"""Figures and lists in words: what the report writes of a time, a size, a count, a ratio.

What must hold: two figures that a person would call equal are written the same.
"""

MIB = 1 << 20


def seconds(value):
    return f"{value * 1000:.3g} ms" if value < 0.1 else f"{value:.3g} s"


def duration(nanoseconds):
    """With two or three digits and the unit that suits."""
    for unit, of_it in (("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= of_it:
            return f"{nanoseconds / of_it:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def size(value):
    return f"{value / MIB:.1f} MiB" if value < 100 * MIB else f"{value / MIB:.0f} MiB"


def count(value):
    return f"{value:,.0f}"


def ratio(value):
    return f"{value:.2f}" if value < 10 else f"{value:.3g}"


def together(words):
    """One, two and three."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
