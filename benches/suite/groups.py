"""The groups of workloads: their names, and the allocator that the others of a group are compared with.

Groups are c1 (C, one thread), cn (C, all cores), memory, and one for each CPython, such as py3.13.
"""


def of_python(interpreter):
    return f"py{interpreter.version}"


def baseline_of(group):
    """What a program of the group would run on if nobody chose."""
    return "own" if group.startswith("py") else "glibc"
