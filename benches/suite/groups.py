"""The groups of workloads: their names, and the allocator that the others of a group are compared with.

Groups are c1 (C, one thread), cn (C, all cores), c4, c16 and c64 (the programs of cn with so many threads), latency (single calls), memory, and one
for each CPython, such as py3.13.
"""


# Those that run only where they are named, since they take as long as cn each: how many threads each has.
ON_REQUEST = {"c4": 4, "c16": 16, "c64": 64}


def of_python(interpreter):
    return f"py{interpreter.version}"


def baseline_of(group):
    """What a program of the group would run on if nobody chose."""
    return "own" if group.startswith("py") else "glibc"
